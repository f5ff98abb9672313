//! Real servers for tests: PostgreSQL, PgBouncer, and Redis or Valkey. They are the machine's own programs,
//! started privately, with throwaway data, on a free port of 127.0.0.1.
//!
//! - [`Postgres`] is a cluster of its own, which can be stopped, killed, paused and started again; most tests need
//!   only [`Postgres::shared`] and a [`Database`] of their own on it;
//! - [`PgBouncer`] stands before any PostgreSQL;
//! - [`Redis`] is a cache that can be emptied, paused and stopped;
//! - [`model::ModelServer`] is no program of the machine, but a model that says what its test tells it to.
//!
//! A server is ready when its `start` returns, is gone with its folder when its value is dropped, and a moment
//! after its process when that one is killed. A program that is not installed is an error which names
//! the package ([`programs`]). All calls block, and none for long.
//!
//! Not here: any product code, and installing programs (`cargo xtask test` does that).

mod error;
mod folder;
mod guard;
pub mod model;
mod net;
mod pgbouncer;
mod postgres;
mod process;
pub mod programs;
mod redis;
mod resp;
mod table;
mod user;

pub use error::ServerError;
pub use pgbouncer::{PgBouncer, PoolMode};
pub use postgres::{Database, Databases, Postgres, PostgresOptions, SHARED_URL};
pub use redis::{Redis, RedisOptions};
