//! Puts what was noted into order: which rows count, which are kept aside, and what comes after what.

use membrane_store::kgents::{Oddity, SourceError};
use rusqlite::Connection;

use super::asides;
use super::failure::failed;
use super::index::Counts;
use super::row::Kind;

/// A row number each, in the order in which a session's turns and things are given.
const TABLES: &str = "
    CREATE TEMP TABLE kg_turn_rows (session INTEGER NOT NULL, place INTEGER NOT NULL, data_row INTEGER NOT NULL,
        PRIMARY KEY (session, place)) WITHOUT ROWID;
    CREATE TEMP TABLE kg_thing_rows (kind INTEGER NOT NULL, session INTEGER NOT NULL, place INTEGER NOT NULL,
        data_row INTEGER NOT NULL, PRIMARY KEY (kind, session, place)) WITHOUT ROWID;
    CREATE TEMP TABLE kg_queue (place INTEGER PRIMARY KEY, session INTEGER NOT NULL UNIQUE);";

/// Turns with a rank among those of the same words: the newest first, with the earliest row that holds it, whose
/// end is nearest the truth.
const RANKED_TURNS: &str = "SELECT *, row_number() OVER
    (PARTITION BY session, turn_number, started, words ORDER BY last DESC, last_row DESC) AS rank FROM temp.kg_turns";

/// Crystals and checkpoints with a rank among those of the same id: the newest first.
const RANKED_THINGS: &str = "SELECT *, row_number() OVER
    (PARTITION BY kind, session, id ORDER BY last DESC, last_row DESC) AS rank FROM temp.kg_things";

const IS_THERE: &str = "session IN (SELECT number FROM temp.kg_sessions WHERE data_row IS NOT NULL)";

/// Decides which rows count and in which order, and keeps aside what does not but is worth keeping. Gives the number of
/// rows of each kind that say nothing new.
pub(super) fn arrange(conn: &Connection, counts: &Counts) -> Result<Vec<(Kind, u64)>, SourceError> {
    arrange_rows(conn).map_err(failed)?;
    let copies = copies(conn, counts).map_err(failed)?;
    conn.execute_batch("DROP TABLE temp.kg_turns; DROP TABLE temp.kg_things;").map_err(failed)?;
    queue(conn).map_err(failed)?;
    Ok(copies)
}

fn arrange_rows(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(TABLES)?;
    conn.execute_batch(&format!(
        "INSERT INTO temp.kg_turn_rows (session, place, data_row)
             SELECT session, row_number() OVER (PARTITION BY session ORDER BY turn_number, started, first_row), first_row
             FROM ({RANKED_TURNS}) WHERE rank = 1 AND {IS_THERE};
         INSERT INTO temp.kg_thing_rows (kind, session, place, data_row)
             SELECT kind, session, row_number() OVER (PARTITION BY kind, session ORDER BY made, first_row), last_row
             FROM ({RANKED_THINGS}) WHERE rank = 1 AND {IS_THERE};"
    ))?;
    // Rows whose session is gone, and versions of a row that another one follows.
    for (table, kind, data_row) in [
        (RANKED_TURNS, Kind::Turn.code().to_string(), "first_row"),
        (RANKED_THINGS, "kind".to_owned(), "last_row"),
    ] {
        conn.execute_batch(&format!(
            "INSERT INTO temp.kg_aside (session, kind, data_row, oddity, what)
                 SELECT s.id, {kind}, {data_row},
                     CASE WHEN s.data_row IS NULL THEN {orphan} ELSE {duplicate} END,
                     CASE WHEN s.data_row IS NULL THEN 'its session is not in the file; kept aside'
                         ELSE 'an older version of a row that was written again; kept aside' END
                 FROM ({table}) r JOIN temp.kg_sessions s ON s.number = r.session
                 WHERE s.data_row IS NULL OR r.rank > 1
                 ORDER BY s.number, r.{data_row}",
            orphan = asides::code(Oddity::Orphan),
            duplicate = asides::code(Oddity::Duplicate),
        ))?;
    }
    Ok(())
}

/// How many rows of each kind only repeat another one; of sessions, how many are not the newest.
fn copies(conn: &Connection, counts: &Counts) -> rusqlite::Result<Vec<(Kind, u64)>> {
    let mut copies = Vec::new();
    for kind in Kind::ALL {
        let distinct = match kind {
            Kind::Session => "temp.kg_sessions WHERE data_row IS NOT NULL".to_owned(),
            Kind::Turn => "temp.kg_turns".to_owned(),
            Kind::Crystal | Kind::Checkpoint => format!("temp.kg_things WHERE kind = {}", kind.code()),
        };
        let distinct: i64 =
            conn.query_row(&format!("SELECT count(*) FROM {distinct}"), [], |row| row.get(0))?;
        copies.push((kind, counts.noted(kind).saturating_sub(u64::try_from(distinct).unwrap_or(0))));
    }
    Ok(copies)
}

/// Puts the sessions into a queue, parents before children. Where parents go round in a circle, the session that was
/// met first goes first.
fn queue(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "CREATE INDEX temp.kg_sessions_parent ON kg_sessions (parent);
         INSERT INTO temp.kg_queue (session)
             SELECT number FROM temp.kg_sessions s
             WHERE data_row IS NOT NULL AND (parent IS NULL OR parent = id OR NOT EXISTS
                 (SELECT 1 FROM temp.kg_sessions p WHERE p.id = s.parent AND p.data_row IS NOT NULL))
             ORDER BY number",
    )?;
    let mut children = conn.prepare(
        "INSERT INTO temp.kg_queue (session)
             SELECT c.number FROM temp.kg_queue q
                 CROSS JOIN temp.kg_sessions p ON p.number = q.session
                 CROSS JOIN temp.kg_sessions c ON c.parent = p.id
             WHERE q.place > ?1 AND c.data_row IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM temp.kg_queue k WHERE k.session = c.number)
             ORDER BY q.place, c.number",
    )?;
    let mut one_of_a_circle = conn.prepare(
        "INSERT INTO temp.kg_queue (session)
             SELECT number FROM temp.kg_sessions s
             WHERE number > ?1 AND data_row IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM temp.kg_queue k WHERE k.session = s.number)
             ORDER BY number LIMIT 1",
    )?;
    let (mut done, mut last_of_circles) = (0_i64, 0_i64);
    loop {
        let end: i64 = conn
            .prepare_cached("SELECT coalesce(max(place), 0) FROM temp.kg_queue")?
            .query_row([], |row| row.get(0))?;
        if children.execute([done])? == 0 {
            if one_of_a_circle.execute([last_of_circles])? == 0 {
                return Ok(());
            }
            last_of_circles = conn
                .prepare_cached("SELECT session FROM temp.kg_queue ORDER BY place DESC LIMIT 1")?
                .query_row([], |row| row.get(0))?;
        }
        done = end;
    }
}
