//! Machinery for trying what no ordinary test reaches: power that goes away, disks that are full, and other
//! processes that are killed.
//!
//! - [`recording`] keeps everything that SQLite writes and syncs, in order, with the application's own marks;
//! - [`image`] makes of a recording what a disk would hold if the power went at a given point;
//! - [`campaign`] drives a store with concurrent writers under a recording, cuts the power at many points,
//!   and judges what survives;
//! - [`small_disk`] runs a test on a file system of a few MiB;
//! - [`universe`] writes old files for those who know no SQL;
//! - [`child`] runs a test a second time as another process, which can be killed;
//! - [`old_files`] makes files as kgents left them, damages them, and judges what an upgrade made of them.
//!
//! Not here: any store. A store is tested by implementing [`campaign::Target`] in this crate's tests.
//! This is the one crate that may hold `unsafe` code, and only its module `vfs` does.

pub mod campaign;
pub mod child;
pub mod cuts;
pub mod entry;
pub mod image;
pub mod old_files;
pub mod recording;
pub mod report;
pub mod seed;
pub mod settings;
pub mod small_disk;
pub mod universe;
mod vfs;
