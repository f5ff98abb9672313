//! kgents' Universe: what its chat really wrote. One table `data` of JSON documents, to which each save adds the
//! session and all of its turns once more.
//!
//! [`UniverseSource`] reads such a file once from end to end and notes in temporary tables which row is which
//! (`index.rs`): the newest row of each session, each turn once, in the order of the conversation, parents before their
//! children (`order.rs`). Then it gives them one after the other and reads their documents again, so that no more than
//! a page of row numbers is in memory, however great the file is. The file is never written to; temporary tables are
//! files of their own, in the folder that SQLite uses for such (`SQLITE_TMPDIR`, `TMPDIR`, `/var/tmp`).

mod asides;
mod convert;
mod failure;
mod index;
mod order;
mod row;
mod source;

pub use source::UniverseSource;
