//! A keep copied from a file into a database and back.
//!
//! What both kinds of copies have in common is tried on files alone, by `membrane-sqlite`.

mod cut;
mod stage;
mod whole;

pub(crate) use stage::until_nobody_is_there;
