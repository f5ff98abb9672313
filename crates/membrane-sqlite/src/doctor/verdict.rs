//! What one check says: the same for every backend.
//!
//! Not here: what it means, which is said where it is made.

pub(super) use membrane_store::doctor::size;
pub use membrane_store::doctor::{Check, Status};
