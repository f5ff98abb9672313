//! The floor over HTTP: the least that an application needs to answer the same requests with the same bytes from
//! bare `rusqlite`. No cancelling, no resuming, no recovery, no limits, no metrics.

mod keep;
mod server;
mod wire;

pub(crate) use keep::{create, n_turns};
pub(super) use server::serve;
