//! Values and rules of a kept conversation.
//!
//! This crate decides what an operation does to a session; it never carries it out. It knows no
//! async, no SQL, no HTTP and no environment: time and identifiers come in through [`time::Clock`]
//! and [`ids::IdSource`].
//!
//! The model in one paragraph: a *turn* is one exchange. Finished turns live in *segments*,
//! append-only runs; a turn's identity is [`history::TurnRef`], its segment and its position there.
//! A [`history::History`] is an ordered list of [`history::Slice`]s over segments. A session and a
//! checkpoint each point at a [`history::Cut`]: a history and how many of its turns they see.
//! Forking, rewinding, checkpointing and restoring therefore write one pointer; merging writes a list
//! of slices; no turn is ever copied or moved.

pub mod branches;
pub mod checkpoint;
pub mod crystal;
pub mod diff;
pub mod error;
pub mod event;
pub mod evidence;
pub mod history;
pub mod ids;
pub mod json;
pub mod merge;
pub mod page;
pub mod role;
pub mod run;
pub mod session;
pub mod state;
pub mod text;
pub mod time;
pub mod tool;
pub mod turn;
pub mod usage;

mod words;
