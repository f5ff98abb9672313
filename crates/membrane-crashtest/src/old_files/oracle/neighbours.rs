//! What others keep in the same file is as it was.
//!
//! Not here: the chat's tables.

use super::super::cell::Cell;
use super::super::foreign::Standing;
use super::super::table::Contents;
use super::{CHAT_TABLES, Judge};
use crate::campaign::Failure;

impl Judge<'_> {
    pub(super) fn neighbours(&mut self) -> Result<(), Failure> {
        let after = Contents::read(self.conn)?;
        let before = self.before.contents;
        for entry in &before.schema {
            let (kind, name, table, _) = entry;
            let is_chats = CHAT_TABLES.contains(&table.as_str());
            // Views may name the chat's tables; indexes of theirs go with them.
            if (is_chats && kind != "view" && kind != "trigger") || table == "schema_version" {
                continue;
            }
            // A trigger goes with its table, if the upgrade was forced and says so.
            let is_told =
                kind == "trigger" && is_chats && self.account.findings.iter().any(|line| line.contains(name));
            if !after.schema.contains(entry) && !is_told {
                self.problem(format!("the {kind} {name:?} of others is gone or changed"));
            }
        }
        for table in before.tables.values() {
            if CHAT_TABLES.contains(&table.name.as_str()) {
                continue;
            }
            let Some(found) = after.table(&table.name) else {
                self.problem(format!("the table {:?} of others is gone", table.name));
                continue;
            };
            let is_versions = table.name == "schema_version";
            let n_missing = table.rows.iter().filter(|row| {
                let mut same = found.rows.iter().filter(|other| other.rowid == row.rowid);
                !same.any(|other| other.cells.iter().zip(&row.cells).all(|(a, b)| is_same(a, b)))
            });
            let n_missing = n_missing.count();
            if n_missing > 0 || (!is_versions && !table.is_cut && found.rows.len() != table.rows.len()) {
                self.problem(format!(
                    "the table {:?} of others: {n_missing} rows are gone or changed",
                    table.name
                ));
            }
        }
        for foreign in self.before.foreign {
            if foreign.standing == Standing::RefersToTurns && self.account.findings.is_empty() {
                self.problem(format!("{} refers to turns, and nothing is said about it", foreign.name));
            }
        }
        Ok(())
    }
}

fn is_same(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Real(a), Cell::Real(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}
