//! The laws of the design, each tried on random histories.
//!
//! `ops` says what may happen, `world` does it by calling the rules, `plain` does it with copied lists, and
//! `played` does both side by side. The laws stand in `agreement`, `evidence`, `merging`, `cutting`,
//! `comparing` and `identity`. Nothing here touches a store.

mod agreement;
mod campaign;
mod comparing;
mod cutting;
mod drafts;
mod evidence;
mod identity;
mod merging;
mod ops;
mod plain;
mod played;
mod world;
