//! Rows that contradict each other, theme by theme, and what a schema lacks. Only reads.
//!
//! Most checks are queries whose rows are their findings (`queries.rs`); what follows from a turn's content or is
//! nested text is read row by row (`rows.rs`). Putting things right is in `repair/`.

mod content;
mod queries;
mod report;
mod rows;
mod run;
mod schema;

pub(crate) use content::{CONTENT, content};
pub(crate) use queries::{HISTORY_ENDS, UNREACHED};
pub use report::{CheckReport, Finding, Theme};
pub(crate) use rows::says;
pub use run::{CheckError, check_file};
pub(crate) use run::{check_conn, check_with, expect_keep};
pub(crate) use schema::SchemaState;
