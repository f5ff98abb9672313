//! What a keep shows, in lines that can be compared with those of another keep.
//!
//! Not here: how a keep stores it; two that show the same may store it differently.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::{Connection, params_from_iter};
use serde_json::Value;

use super::cell::Cell;
use super::oracle::SEEN;
use crate::campaign::Failure;

/// What one keep shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Likeness {
    lines: BTreeSet<String>,
}

impl Likeness {
    /// Takes it from an upgraded file.
    pub fn of(conn: &Connection) -> Result<Self, Failure> {
        let mut lines = BTreeSet::new();
        let sessions = rows(
            conn,
            "SELECT id, project_id, parent_id, fork_point, branch_name, state, turn_count, context_size, metadata_json, \
                 is_merged, merged_into, created_at, last_active, evidence_json FROM chat_sessions",
            &[],
        )?;
        for mut session in sessions {
            // The object's own id and times are made anew; what it adds up to is not.
            let evidence =
                session.pop().and_then(|cell| cell.as_text().map(str::to_owned)).unwrap_or_default();
            let evidence: Value = serde_json::from_str(&evidence)?;
            let total =
                ["prior_alpha", "prior_beta", "tools_succeeded", "tools_failed"].map(|key| evidence.get(key));
            let id = session.first().cloned().unwrap_or(Cell::Null);
            let turns = rows(
                conn,
                "SELECT turn_number, user_message, assistant_response, user_linearity, assistant_linearity, tools_json, \
                     started_at, completed_at FROM chat_turns WHERE session_id = ?1 ORDER BY turn_number",
                std::slice::from_ref(&id),
            )?;
            lines.insert(format!(
                "session {} evidence {total:?}, {} turns {}",
                brief(&session),
                turns.len(),
                hash(&turns)
            ));
        }
        for checkpoint in rows(
            conn,
            "SELECT history_id, turn_count, id, session_id, name, kind, created_at FROM chat_checkpoints",
            &[],
        )? {
            let (place, names) = checkpoint.split_at(2);
            let seen = rows(conn, SEEN, place)?;
            lines.insert(format!("checkpoint {} sees {} turns {}", brief(names), seen.len(), hash(&seen)));
        }
        for crystal in rows(
            conn,
            "SELECT session_id, title, summary, key_decisions_json, artifacts_json, final_evidence_json, final_turn_count, \
                 created_at FROM chat_crystals",
            &[],
        )? {
            lines.insert(format!("crystal {}, {}", brief(&crystal), hash(&[crystal])));
        }
        Ok(Self { lines })
    }

    /// What the other one does not show alike, at most `limit` lines of each side.
    pub fn differences(&self, other: &Self, limit: usize) -> Vec<String> {
        let only = |mark: &'static str, a: &BTreeSet<String>, b: &BTreeSet<String>| {
            a.difference(b).take(limit).map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
        };
        [only("-", &self.lines, &other.lines), only("+", &other.lines, &self.lines)].concat()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

fn rows(conn: &Connection, sql: &str, parameters: &[Cell]) -> Result<Vec<Vec<Cell>>, Failure> {
    let mut statement = conn.prepare_cached(sql)?;
    let n_columns = statement.column_count();
    let rows = statement.query_map(params_from_iter(parameters), |row| {
        (0..n_columns).map(|index| row.get_ref(index).map(Cell::read)).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn brief(cells: &[Cell]) -> String {
    let cells: Vec<_> = cells.iter().map(Cell::brief).collect();
    cells.join(" ")
}

fn hash(rows: &[Vec<Cell>]) -> String {
    let mut hasher = DefaultHasher::new();
    for cell in rows.iter().flatten() {
        match cell {
            Cell::Real(number) => number.to_bits().hash(&mut hasher),
            Cell::Int(number) => number.hash(&mut hasher),
            other => other.bytes().hash(&mut hasher),
        }
    }
    format!("{:016x}", hasher.finish())
}
