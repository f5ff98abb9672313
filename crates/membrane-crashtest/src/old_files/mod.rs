//! Old files from a seed, damage to them, and what must be there after an upgrade.
//!
//! - [`v1`] and [`universe`] say what is in a file, [`layout`] how it is laid out; [`big`] makes long ones;
//! - [`damage`] breaks bytes and puts strange files beside;
//! - [`table`] reads a file plainly, as the `sqlite3` shell would;
//! - [`oracle`] holds an upgraded file against the rows that went in, with SQL alone: it shares no code with
//!   whatever did the upgrade;
//! - [`campaign`] and [`imports`] put these together and count.
//!
//! Not here: any store. What opens a file comes in as a [`campaign::Upgrader`] or an [`imports::Importer`].

pub mod big;
pub mod campaign;
pub mod cell;
pub mod damage;
pub mod foreign;
pub mod imports;
pub mod kept;
pub mod layout;
pub mod likeness;
pub mod oracle;
pub mod table;
pub mod texts;
pub mod times;
pub mod universe;
pub mod v1;
