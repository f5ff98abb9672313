//! The cache from outside: the suite that every store passes, and what only a cache can get wrong.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod foreign;
mod instances;
mod memory;
mod stage;
mod traffic;
