//! Old data: sessions as kgents' files hold them become sessions of a keep.
//!
//! A [`Source`] reads a file and says what is in it, as it is there. A [`Sink`] carries out changes.
//! [`load()`] stands between them and decides: what a time without a zone means, what a fork shares with its parent,
//! what old evidence becomes, what cannot be understood and is therefore kept aside, word for word. Nothing is
//! dropped in silence: whatever is odd is in the [`Report`], and for each table the rows that were read and those
//! that were skipped add up to all rows.
//!
//! Everything here is synchronous and does no I/O of its own. What the tables look like is CONTRACT's section 5 in
//! short: sessions, turns, checkpoints and crystals, with times as text without a zone and nested values as JSON text.

pub mod columns;
pub mod digest;
pub mod dump;
pub mod extras;
pub mod fields;
pub mod json;
pub mod load;
pub mod old;
pub mod report;

pub use digest::digest;
pub use dump::DumpSource;
pub use fields::Fields;
pub use load::{LoadError, LoadOptions, UpgradeOptions, load};
pub use old::{
    OldCheckpoint, OldCrystal, OldRow, OldSession, OldTurn, Place, Sink, Source, SourceError, StoredTurn,
};
pub use report::{Finding, Oddity, Report, TableCount};
