//! kgents' V1 tables: what they look like, how they are read, how a keep comes in their place.
//!
//! `shape.rs` tells them from other tables, `others.rs` what of others hangs on them; `source.rs` reads them (`order.rs` in
//! which order, `cells.rs` a column at a time, whatever its type is), `upgrade.rs` puts a keep in their place, `sink.rs` is
//! where what is read goes. What a value means is said by `membrane-store`'s `kgents`.

mod cells;
mod order;
mod others;
mod shape;
mod sink;
mod source;
mod upgrade;

pub(crate) use shape::{Found, find};
pub use upgrade::Upgrade;
pub(crate) use upgrade::upgrade;
