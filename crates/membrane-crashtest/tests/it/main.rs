//! Power loss and full disks, tried on real files.
//!
//! Not here: the machinery, which is the library of this crate.

mod bare;
mod full_disk;
mod image;
mod power_loss;
mod recording;
