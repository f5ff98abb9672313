//! The library's calls on every store: each case is written once and runs on all of them. `laws` are the
//! design's laws on random histories, through the library down to each store.

#[cfg(test)]
mod keep;

#[cfg(test)]
mod append;
#[cfg(test)]
mod branches;
#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod diff;
#[cfg(test)]
mod feedback;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod leading;
#[cfg(test)]
mod meddling;
#[cfg(test)]
mod merge;
#[cfg(test)]
mod races;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod save;
#[cfg(test)]
mod sessions;
