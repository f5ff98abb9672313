//! The PostgreSQL backend of the keep.
//!
//! Appends that wait at the same moment go as one statement (`batch.rs`), which is conditional on what the sessions'
//! rows were when this store last saw them; whatever that does not fit is carried out in a transaction of its own
//! (`apply/`), as every other change is. Either way the answer is given after the commit.
//!
//! Locks are taken in one order: sessions by id, then segments by number: `FOR SHARE` by what adds a pointer at turns,
//! `FOR UPDATE` by what removes one or changes what hangs on turns. A pointer is removed before the segments are
//! locked and what reaches them is looked at after, so that of two deletions at once the later one sees both.
//!
//! What a change means is said by `membrane-store`; what operations decide, by `membrane-core`.

mod advisory;
mod append;
mod apply;
mod batch;
mod check;
mod commit;
mod connect;
mod counts;
mod db;
pub mod doctor;
mod error;
mod herald;
mod hosts;
mod instances;
mod listener;
pub mod migrations;
mod open;
mod options;
mod pool;
mod read;
mod ready;
mod records;
mod refusal;
mod rights;
mod rows;
mod store;
mod tally;
pub mod telemetry;
mod tls;
pub mod transfer;
pub mod v1;
mod value;
mod wakeup;

pub use error::OpenError;
pub use options::{Pooler, PostgresOptions, SslMode};
pub use store::PostgresStore;
