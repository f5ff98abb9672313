//! Turns under way: what readers hear, what is kept, and what is left when something breaks. `stage` has the
//! responder whose every word a case gives it.

mod branch;
mod elsewhere;
mod flow;
mod keys;
mod readers;
mod recovery;
mod send;
mod stage;
mod stopping;
mod tools;
mod trouble;
