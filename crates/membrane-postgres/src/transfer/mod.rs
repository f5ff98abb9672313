//! A keep's side of a copy into another database, or from one (`membrane-store`'s `transfer`).

mod identity;
pub(crate) mod mark;
mod rows;
mod sink;
mod source;

pub use identity::Identity;
pub use sink::PostgresSink;
pub use source::PostgresSource;

use crate::options::{Pooler, PostgresOptions};

/// For one connection that is kept for the whole copy: past the pooler, if there is a way.
pub(crate) fn for_copy(options: &PostgresOptions) -> PostgresOptions {
    let mut options = PostgresOptions { pool_size: 1, ..options.clone() };
    if let Some(url) = options.direct_url.take() {
        options.url = url;
        options.pooler = Pooler::None;
    }
    options
}

/// A transaction of a copy waits for the other side, and goes through everything.
pub(crate) const PATIENT: &str =
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
