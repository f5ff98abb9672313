//! URLs of servers: of a PostgreSQL database, of a cache. They may hold a password, so nothing here shows one,
//! neither in an error nor in `Debug`.
//!
//! A parser of our own, since PostgreSQL's form with several hosts, or with the folder of a socket for a host, is no
//! valid URL to others. Not here: SQLite's paths (`database.rs`), which are not encoded.

mod cache;
mod parameters;
mod parts;
mod postgres;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use cache::CacheUrl;
pub(super) use cache::FORM as CACHE_FORM;
pub(super) use postgres::FORM as POSTGRES_FORM;
pub(crate) use postgres::{PostgresUrl, RootCert, SslMode};
pub(super) use text::encode_reserved;
