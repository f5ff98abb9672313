//! The suite that every backend passes, written once against the trait.
//!
//! A case is a plain `pub async fn` that takes a fresh, empty store; its name is the sentence that it
//! checks. The macro `conformance_tests!` makes a named test of each for one backend,
//! so that none can be skipped by accident. After each case the store's own
//! [`check`](crate::Store::check) must find nothing. Needs the feature `conformance`.
//!
//! Nothing about a particular database is here, and no case is about speed.

#![cfg_attr(
    feature = "conformance",
    expect(clippy::unwrap_used, clippy::expect_used, reason = "a case fails by panicking")
)]

#[cfg(feature = "conformance")]
pub use suite::run;

#[cfg(feature = "conformance")]
pub mod chaos;
#[cfg(feature = "conformance")]
pub mod checkpoints;
#[cfg(feature = "conformance")]
pub mod deletes;
#[cfg(feature = "conformance")]
pub mod events;
#[cfg(feature = "conformance")]
pub mod everything;
#[cfg(feature = "conformance")]
pub mod fixture;
#[cfg(feature = "conformance")]
pub mod forks;
#[cfg(feature = "conformance")]
pub mod gauges;
#[cfg(feature = "conformance")]
pub mod instances;
#[cfg(feature = "conformance")]
pub mod keys;
#[cfg(feature = "conformance")]
pub mod leaders;
#[cfg(feature = "conformance")]
pub mod limits;
#[cfg(feature = "conformance")]
pub mod lists;
#[cfg(feature = "conformance")]
pub mod located;
#[cfg(feature = "conformance")]
pub mod merges;
#[cfg(feature = "conformance")]
pub mod past;
#[cfg(feature = "conformance")]
pub mod races;
#[cfg(feature = "conformance")]
pub mod requirements;
#[cfg(feature = "conformance")]
pub mod rewinds;
#[cfg(feature = "conformance")]
pub mod runs;
#[cfg(feature = "conformance")]
pub mod sessions;
#[cfg(feature = "conformance")]
pub mod shared_runs;
#[cfg(feature = "conformance")]
pub mod signals;
#[cfg(feature = "conformance")]
pub mod snapshot;
#[cfg(feature = "conformance")]
pub mod stats;
#[cfg(feature = "conformance")]
mod suite;
#[cfg(feature = "conformance")]
pub mod text;
#[cfg(feature = "conformance")]
pub mod turns;
