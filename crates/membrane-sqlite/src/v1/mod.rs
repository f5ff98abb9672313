//! kgents' V1 files: what they look like, how they are read, how one becomes a keep in place.
//!
//! `shape.rs` tells one from other files, `source.rs` reads it (`order.rs` in which order, `values.rs` a column at a
//! time, whatever is in it), `upgrade.rs` makes it a keep, `sink.rs` is where what is read goes.

mod order;
mod shape;
mod sink;
mod source;
mod upgrade;
mod values;

pub use membrane_store::kgents::UpgradeOptions;
pub(crate) use shape::{Found, Shape, find_hindrances};
pub use source::V1Source;
pub use upgrade::Upgrade;
pub(crate) use upgrade::upgrade;
