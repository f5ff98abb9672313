//! A keep's side of a copy into another database, or from one (`membrane-store`'s `transfer`).

mod facts;
mod lane;
pub(crate) mod mark;
mod rows;
mod sink;
mod source;

pub use sink::SqliteSink;
pub use source::SqliteSource;
