//! Durable, branching chat sessions.
//!
//! A conversation is data, not state that dies with the process: it has turns, branches, evidence and a
//! summary, and what a call has acknowledged is still there after a restart, a crash or a power loss.
//! [`Chat`] is the handle; it works on any [`Store`].
//!
//! ```
//! use std::sync::Arc;
//! use membrane::Chat;
//! use membrane_sqlite::{SqliteOptions, SqliteStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("membrane.db");
//!
//! let chat = Chat::create(Arc::new(SqliteStore::open(SqliteOptions::at(&path)).await?));
//! let mut session = chat.new_session();
//! session.add_turn("Hello", "Hi there!");
//! chat.save_session(&mut session).await?;
//! chat.close().await?; // the process ends here
//!
//! let chat = Chat::create(Arc::new(SqliteStore::open(SqliteOptions::at(&path)).await?));
//! let survivor = chat.load_session(session.id()).await?.expect("a session survives a restart");
//! assert_eq!(survivor.turns[0].assistant.content, "Hi there!");
//! # Ok(())
//! # }
//! ```
//!
//! Two ways of working with a session go together: edit a [`ChatSession`] and [save it](Chat::save_session),
//! which commits the difference; or write one thing at a time:
//!
//! ```
//! # use std::sync::Arc;
//! use membrane::{Chat, ForkOptions, MergeOptions, NewSessionOptions, NewTurn, WriteOptions};
//! # use membrane::{core::time::SystemClock, store::memory::MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), membrane::ChatError> {
//! # let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
//! let chat = Chat::create(store);
//! let main = chat.create_session(NewSessionOptions::default()).await?;
//! chat.append(&main.id, NewTurn::new("2 + 2?", "4"), WriteOptions::default()).await?;
//!
//! let fork = chat.fork(&main.id, ForkOptions::default()).await?;
//! chat.append(&fork.id, NewTurn::new("and 3 + 3?", "6"), WriteOptions::default()).await?;
//! assert_eq!(chat.diff(&main.id, &fork.id).await?.only_right.len(), 1);
//!
//! let merged = chat.merge(&main.id, &fork.id, MergeOptions::default()).await?;
//! assert_eq!(merged.turn_count(), 2);
//! let shorter = chat.rewind(&merged.id, 1, WriteOptions::default()).await?;
//! assert_eq!(shorter.turn_count(), 1);
//! let checkpoint = &chat.list_checkpoints(&merged.id).await?[0]; // left by the rewind
//! assert_eq!(chat.restore(&merged.id, &checkpoint.id, None).await?.session.turn_count(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! A message is answered by a [`Responder`]; by the echo, unless [`ChatBuilder::responder`] names another. The turn
//! goes on whether anybody reads or not:
//!
//! ```
//! # use std::sync::Arc;
//! use membrane::{Chat, NewSessionOptions, RunEvent, SendOptions};
//! # use membrane::{core::time::SystemClock, store::memory::MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), membrane::ChatError> {
//! # let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
//! let chat = Chat::create(store);
//! let session = chat.create_session(NewSessionOptions::default()).await?;
//! let mut answer = chat.send(&session.id, SendOptions::new("hi")).await?.reader; // "hi" is durable
//! while let Some((_, event)) = answer.next().await {
//!     match event {
//!         RunEvent::Piece(_) => {} // more of the answer
//!         RunEvent::Waiting(_) => {} // the model called tools, and waits for their results
//!         RunEvent::Ended(_) => {} // the turn is durable
//!     }
//! }
//! assert_eq!(chat.load_session(&session.id).await?.map(|session| session.turns.len()), Some(1));
//! # Ok(())
//! # }
//! ```
//!
//! A [`ClientKey`] makes any writing call happen once, however often it is sent. A version, or the
//! session that [`Chat::load_session`] gave, guards against writing over somebody else's change.
//!
//! This crate puts operations together and knows no database, no JSON shape, no HTTP and no
//! environment: what an operation does is decided in [`core`], made durable by a [`store`].

pub use membrane_core as core;
pub use membrane_responder as responder;
pub use membrane_store as store;

mod alternatives;
mod append;
mod branches;
mod chat;
mod chat_session;
mod checkpoints;
mod crystals;
mod diff;
mod error;
mod events;
mod feedback;
mod import;
mod lead;
mod limits;
mod merge;
mod new_turn;
mod options;
mod runs;
mod save;
mod sessions;
mod snapshot;
mod turns;

pub use alternatives::Alternative;
pub use append::Appended;
pub use branches::ForkOptions;
pub use chat::{Chat, ChatBuilder};
pub use chat_session::ChatSession;
pub use checkpoints::Restored;
pub use crystals::{CrystalDraft, Significance, significance};
pub use diff::SessionDiff;
pub use error::ChatError;
pub use events::{EventFollower, Told};
pub use feedback::FeedbackResult;
pub use limits::Limits;
pub use merge::MergeOptions;
pub use new_turn::NewTurn;
pub use options::{ClientKey, WriteOptions};
pub use runs::{
    EditOptions, EventId, FinishedTurn, PendingTurn, RecoveryGauges, RegenerateOptions, RunEvent, RunOutcome,
    RunReader, RunSettings, SendOptions, Sent, ToolAnswer, ToolDecision,
};
pub use save::Saved;
pub use sessions::NewSessionOptions;
pub use snapshot::Snapshot;
pub use turns::Turns;

pub use membrane_core::branches::{BranchNode, Tombstone};
pub use membrane_core::checkpoint::{Checkpoint, CheckpointKind};
pub use membrane_core::crystal::Crystal;
pub use membrane_core::error::{DomainError, ValueError};
pub use membrane_core::evidence::Evidence;
pub use membrane_core::ids::{CheckpointId, IdSource, RandomIds, SessionId, TurnId};
pub use membrane_core::json::Json;
pub use membrane_core::merge::{MergeStrategy, Pick};
pub use membrane_core::page::{Cursor, PageRequest, SessionFilter, SessionPage};
pub use membrane_core::role::Role;
pub use membrane_core::session::{Session, SessionPatch};
pub use membrane_core::state::{Action, State};
pub use membrane_core::time::{Clock, SystemClock, Timestamp};
pub use membrane_core::tool::{Consent, ConsentKind, ToolCall, ToolEffect, ToolSpec, ToolUse};
pub use membrane_core::turn::{
    Item, KeptTurn, Linearity, Message, Signal, SignalKind, Turn, TurnError, TurnStatus,
};
pub use membrane_responder::{ModelChoice, Responder};
pub use membrane_store::{ConnectionGauges, Store, StoreError, StoreGauges, StoreStats, Subject, Thread};
