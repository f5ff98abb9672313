//! An export of a keep, and both files side by side.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use membrane_core::ids::SessionId;
use membrane_sqlite::export::{ExportError, ExportOptions, ExportReport, Selection, export_v1};
use membrane_store::Store;
use membrane_store::conformance::fixture::Fixture;
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::keep::{Keep, column, value};

pub(super) fn everything() -> ExportOptions {
    ExportOptions { naive_zone: TimeZone::UTC, selection: Selection::All }
}

pub(super) async fn export(store: &dyn Store, out: &Path) -> Result<ExportReport, ExportError> {
    export_v1(store, out, everything()).await
}

/// An exported file.
pub(super) struct Exported {
    pub(super) report: ExportReport,
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
}

impl Exported {
    /// Exports what must succeed, in UTC, and looks at what must hold of every file.
    pub(super) async fn of(f: &Fixture, folder: &Path) -> Self {
        Self::with(f, folder, everything()).await
    }

    pub(super) async fn with(f: &Fixture, folder: &Path, options: ExportOptions) -> Self {
        let path = folder.join(format!("v1-{}.db", f.session_id()));
        let report = export_v1(&*f.store, &path, options).await.unwrap();
        let conn = Connection::open(&path).unwrap();
        assert_eq!(value::<String>(&conn, "PRAGMA integrity_check", []), "ok");
        assert_eq!(column::<String>(&conn, "PRAGMA foreign_key_check", []), Vec::<String>::new());
        for (table, n_rows) in [
            ("chat_sessions", report.sessions),
            ("chat_turns", report.turns),
            ("chat_checkpoints", report.checkpoints),
            ("chat_crystals", report.crystals),
        ] {
            let counted: i64 = value(&conn, &format!("SELECT count(*) FROM {table}"), []);
            assert_eq!(counted, n_rows.cast_signed(), "{table}");
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), report.bytes);
        Self { report, conn, path }
    }

    /// One text of a session's row.
    pub(super) fn text(&self, id: &SessionId, column: &str) -> Option<String> {
        value(&self.conn, &format!("SELECT {column} FROM chat_sessions WHERE id = ?1"), [id.as_str()])
    }
}

/// V1's columns of a turn but the number of its row.
const TURNS: &str = "SELECT session_id, turn_number, user_message, assistant_response, user_linearity, \
     assistant_linearity, tools_json, started_at, completed_at, confidence \
     FROM chat_turns ORDER BY session_id, turn_number";

/// What a turn changed. It is not known of a turn that an old file knew in a total alone.
const DELTAS: &str = "SELECT session_id, turn_number, evidence_delta_json ->> 'tools_executed', \
     evidence_delta_json ->> 'tools_succeeded', evidence_delta_json ->> 'confidence_change' FROM chat_turns \
     WHERE user_message NOT LIKE 'legacy%' ORDER BY session_id, turn_number";

const SESSIONS: &str = "SELECT id, project_id, fork_point, branch_name, turn_count, context_size, metadata_json, \
     is_merged, merged_into, created_at, last_active, evidence_json ->> 'id', evidence_json ->> 'should_stop', \
     evidence_json ->> 'tools_succeeded', evidence_json ->> 'tools_failed', evidence_json ->> 'ashc_equivalence', \
     evidence_json ->> 'metadata', evidence_json ->> 'prior_alpha', evidence_json ->> 'prior_beta', \
     evidence_json ->> 'confidence' FROM chat_sessions ORDER BY id";

const CRYSTALS: &str = "SELECT session_id, title, summary, key_decisions_json, artifacts_json, final_evidence_json, \
     final_turn_count, created_at FROM chat_crystals ORDER BY session_id";

const CHECKPOINTS: &str = "SELECT id, session_id, turn_count, created_at, evidence_json ->> 'id', \
     evidence_json ->> 'should_stop' FROM chat_checkpoints ORDER BY id";

/// Reads the same of the keep and of an export of all of it in UTC, as SQL readers do, and compares row by row.
pub(super) fn same_in_sql(keep: &Keep, exported: &Exported) {
    for sql in [TURNS, DELTAS, SESSIONS, CRYSTALS, CHECKPOINTS] {
        let (theirs, ours) = (rows(&keep.plain(), sql), rows(&exported.conn, sql));
        assert_eq!(theirs.len(), ours.len(), "{sql}");
        for (there, here) in theirs.iter().zip(&ours) {
            assert_eq!(there.len(), here.len());
            assert!(
                there.iter().zip(here).all(|(a, b)| is_same(a, b)),
                "{sql}\nin the keep: {there:?}\nexported: {here:?}"
            );
        }
    }
}

/// All rows of all tables, but the numbers of turns' rows.
pub(super) fn all_rows(conn: &Connection) -> Vec<Vec<Vec<Value>>> {
    let tables = ["chat_sessions", "chat_turns", "chat_checkpoints", "chat_crystals"];
    let all = tables.map(|table| rows(conn, &format!("SELECT * FROM {table} ORDER BY 1")));
    all.into_iter().collect()
}

fn rows(conn: &Connection, sql: &str) -> Vec<Vec<Value>> {
    let mut statement = conn.prepare(sql).unwrap();
    let n_columns = statement.column_count();
    let read = statement.query_map([], |row| (0..n_columns).map(|column| row.get(column)).collect()).unwrap();
    read.collect::<rusqlite::Result<_>>().unwrap()
}

/// Times are compared as UTC with or without zone and fraction; numbers to twelve places.
fn is_same(there: &Value, here: &Value) -> bool {
    match (there, here) {
        (Value::Text(there), Value::Text(here)) => {
            there == here
                || there
                    .strip_suffix('Z')
                    .is_some_and(|time| time.strip_suffix(".000000").unwrap_or(time) == here)
        }
        _ => match (number(there), number(here)) {
            (Some(there), Some(here)) => (there - here).abs() < 1e-12,
            _ => there == here,
        },
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(integer) => i32::try_from(*integer).ok().map(f64::from),
        Value::Real(real) => Some(*real),
        _ => None,
    }
}
