//! Membrane over HTTP beside its floor: both serve from a process of their own and are asked by this one.
//!
//! [`child`] holds the processes, [`membrane`], [`floor`] and [`relay`] are what runs in them, [`client`] asks, and
//! [`rounds`] asks both in turn. What is asked and what comes of it is in `send` and `json`.

pub(crate) mod child;
mod client;
pub(crate) mod floor;
mod membrane;
mod relay;
pub(crate) mod rounds;
