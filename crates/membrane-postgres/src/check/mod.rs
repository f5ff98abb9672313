//! Rows that contradict each other, theme by theme. Only reads, in one snapshot.
//!
//! Most checks are queries whose rows are their findings (`queries.rs`); what follows from a turn's content or is nested
//! text is read row by row (`rows.rs`).

mod content;
mod queries;
mod report;
mod rows;
mod run;

pub(crate) use run::{check, check_database};
