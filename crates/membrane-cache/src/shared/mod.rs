//! The pages that instances share, in a Redis or Valkey.
//!
//! Nothing here fails: what cannot be had is not there, and what cannot be put is not put. `client.rs` asks and gives up,
//! `breaker.rs` says when not to ask, `wire.rs` says what a value looks like.

mod breaker;
mod client;
mod wire;

pub(crate) use client::Shared;
