//! What is kept aside, in the order in which it was met. It waits in a temporary table: of a damaged file it may be
//! nearly everything.

use membrane_store::kgents::{Finding, Oddity, OldRow, Place, SourceError};
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::failed;
use super::row::{self, Kind};

/// The table. A whole row is named by its `data_row` and read when its turn comes; of a part of one, everything is here.
pub(super) const TABLE: &str =
    "CREATE TEMP TABLE kg_aside (number INTEGER PRIMARY KEY, session TEXT, kind INTEGER NOT NULL,
    data_row INTEGER, source TEXT, row_key TEXT, value TEXT, oddity INTEGER NOT NULL, what TEXT NOT NULL)";

/// The kinds of odd things that stand in the table, by number.
const ODDITIES: [Oddity; 8] = [
    Oddity::Orphan,
    Oddity::Duplicate,
    Oddity::NoId,
    Oddity::NotText,
    Oddity::BadJson,
    Oddity::WrongType,
    Oddity::UnknownWord,
    Oddity::UnknownField,
];

/// How the table names a kind of odd things. Those that a source does not know are no concern of this table.
pub(super) fn code(oddity: Oddity) -> i64 {
    let at = ODDITIES.iter().position(|known| *known == oddity);
    at.and_then(|at| i64::try_from(at).ok()).unwrap_or(i64::MAX)
}

fn oddity(code: i64) -> Oddity {
    usize::try_from(code).ok().and_then(|at| ODDITIES.get(at)).copied().unwrap_or(Oddity::WrongType)
}

/// Keeps a whole row aside.
pub(super) fn put_row(
    conn: &Connection,
    (kind, data_row): (Kind, i64),
    session: Option<&str>,
    odd: Oddity,
    what: &str,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO temp.kg_aside (session, kind, data_row, oddity, what) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![session, kind.code(), data_row, code(odd), what])?;
    Ok(())
}

/// Keeps parts of a row aside.
pub(super) fn put_parts(
    conn: &Connection,
    kind: Kind,
    parts: Vec<(OldRow, Finding)>,
) -> Result<(), SourceError> {
    for (part, finding) in parts {
        conn.prepare_cached(
            "INSERT INTO temp.kg_aside (session, kind, source, row_key, value, oddity, what)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .and_then(|mut insert| {
            insert.execute(params![
                part.session,
                kind.code(),
                part.source,
                part.row,
                part.value,
                code(finding.oddity),
                finding.what
            ])
        })
        .map_err(failed)?;
    }
    Ok(())
}

/// Where the reader of the table stands.
#[derive(Debug, Default)]
pub(super) struct Asides {
    last: i64,
}

impl Asides {
    /// The next one.
    pub(super) fn next(&mut self, conn: &Connection) -> Result<Option<(OldRow, Finding)>, SourceError> {
        self.find_next(conn).map_err(failed)
    }

    fn find_next(&mut self, conn: &Connection) -> rusqlite::Result<Option<(OldRow, Finding)>> {
        let found = conn
            .prepare_cached(
                "SELECT number, session, kind, data_row, source, row_key, value, oddity, what
                 FROM temp.kg_aside WHERE number > ?1 ORDER BY number LIMIT 1",
            )?
            .query_row([self.last], |row| {
                let kind = Kind::of_code(row.get(2)?);
                let (source, key, value): (Option<String>, Option<String>, Option<String>) =
                    (row.get(4)?, row.get(5)?, row.get(6)?);
                let what: String = row.get(8)?;
                let old = OldRow {
                    session: row.get(1)?,
                    source: source.unwrap_or_else(|| kind.schema().to_owned()),
                    row: key.unwrap_or_default(),
                    value: value.unwrap_or_default(),
                    reason: what.clone(),
                };
                let place = Place { table: kind.schema(), row: old.row.clone() };
                let finding = Finding { oddity: oddity(row.get(7)?), place, what };
                Ok((row.get(0)?, row.get(3)?, kind, old, finding))
            })
            .optional()?;
        let Some((number, data_row, kind, mut old, mut finding)): Option<(i64, Option<i64>, _, _, _)> = found
        else {
            return Ok(None);
        };
        self.last = number;
        if let Some(data_row) = data_row {
            old.value = row::whole(conn, data_row)?;
            finding.place = conn
                .prepare_cached("SELECT id FROM main.data WHERE rowid = ?1")?
                .query_row([data_row], |found| Ok(row::place(kind, found.get_ref(0)?, data_row)))?;
            old.row.clone_from(&finding.place.row);
        }
        Ok(Some((old, finding)))
    }
}
