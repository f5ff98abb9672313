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
mod killed_upgrades;
mod old_files;
mod oracle;
mod power_loss;
mod recording;
mod round_trip;
mod trials;
mod twins;
mod two_processes;
mod universe_files;
mod upgrader;
mod writing_process;
