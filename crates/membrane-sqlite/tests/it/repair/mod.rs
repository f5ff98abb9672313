//! Checking a file and putting it right: whatever is damaged of what is derived comes back as it was, and what is lost
//! is named.

mod damage;
mod lost;
mod repaired;
mod world;
