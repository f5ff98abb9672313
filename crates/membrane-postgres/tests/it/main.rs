//! The PostgreSQL backend from outside, on real servers: the suite that every backend passes, opening, what is PostgreSQL's
//! own, and what other SQL readers see.
//!
//! What a session means is not tested here; `membrane-core` and the suite do that.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod copies;
mod doctor;
mod failover;
mod held_open;
mod instances;
mod keep;
mod opening;
mod outages;
mod partitions;
mod poolers;
mod readiness;
mod refusals;
mod schema;
mod sql_readers;
mod texts;
mod tls;
mod two_tls;
mod v1;
mod wakeups;
