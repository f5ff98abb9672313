//! A server that is killed again and again while many clients use it: what was acknowledged is there, once, in
//! order, and nobody waits for what died.
//!
//! [`campaign`] kills and judges, [`client`] is one client, [`book`] what a client was told of a session of its
//! own, [`shared`] what all were told of one that they share, [`stage`] where they meet.

mod book;
mod campaign;
mod client;
mod findings;
mod shared;
mod stage;
