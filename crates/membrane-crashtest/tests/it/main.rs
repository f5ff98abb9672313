//! Power loss, full disks and second processes, tried on real files.
//!
//! Not here: the machinery, which is the library of this crate.

mod bare;
mod branching;
mod full_disk;
mod full_keep;
mod held_keep;
mod image;
mod keep;
mod keep_target;
mod killed_instances;
mod power_loss;
mod recording;
mod two_processes;
mod writing_process;
