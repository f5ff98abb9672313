//! The JSON of kgents' in-memory router: sessions with their turns in them, as `GET /api/chat/sessions` answers them.
//!
//! [`DumpSource`] takes a list of sessions, `{"sessions": […]}`, one session, or one session after the other (a line
//! each), and any number of these. It looks for the places of the sessions first (`scan.rs`), then reads one at a time,
//! parents before children: more than two sessions are never in memory.

mod convert;
mod scan;
mod source;
#[cfg(test)]
mod tests;

pub use source::DumpSource;
