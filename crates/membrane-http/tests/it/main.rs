//! The HTTP interface as its clients meet it: over a socket, on a real keep. How requests are read is tested in
//! `request/`, where it stands.

#[cfg(test)]
mod app;
#[cfg(test)]
mod client;
#[cfg(test)]
mod events;
#[cfg(test)]
mod prometheus;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod script;
#[cfg(test)]
mod shape;

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod branching;
#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod delta;
#[cfg(test)]
mod docs_page;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod instead;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod merging;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod odd_paths;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod other_origins;
#[cfg(test)]
mod races;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod slow_clients;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod under_way;
