//! Which sessions are exported, and in which order: parents before their children, the oldest first.
//!
//! The list stands in temporary tables of the file's connection, which SQLite keeps on the disk when there are many.

use membrane_core::ids::SessionId;
use membrane_core::session::Session;
use membrane_store::StoreError;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Doing;
use crate::rows;

const TABLES: &str = "
    CREATE TEMP TABLE plan (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        parent_id TEXT,
        created_at INTEGER NOT NULL,
        depth INTEGER
    );
    CREATE INDEX temp.plan_parent_idx ON plan (parent_id);
    CREATE INDEX temp.plan_depth_idx ON plan (depth, created_at, id);
    CREATE TEMP TABLE queue (position INTEGER PRIMARY KEY, id TEXT NOT NULL);";

/// The rest of them, whose parents go round in a circle, hangs on the oldest of it.
const UNREACHED: &str = "SELECT number FROM plan WHERE depth IS NULL ORDER BY created_at, id LIMIT 1";

pub(super) fn prepare(conn: &Connection) -> Result<(), StoreError> {
    conn.execute_batch(TABLES).doing("list what is to be exported")
}

/// Adds sessions; those that are in the list stay as they are. Gives, for each, whether it is new.
pub(super) fn add(conn: &Connection, sessions: &[Session]) -> Result<Vec<bool>, StoreError> {
    let doing = "list what is to be exported";
    let sql = "INSERT OR IGNORE INTO plan (id, parent_id, created_at) VALUES (?1, ?2, ?3)";
    let mut statement = conn.prepare_cached(sql).doing(doing)?;
    let added = sessions.iter().map(|session| {
        let parent = session.parent_id.as_ref().map(SessionId::as_str);
        let values = params![session.id.as_str(), parent, session.created_at.as_micros()];
        statement.execute(values).map(|n_rows| n_rows > 0).doing(doing)
    });
    added.collect()
}

/// Puts the list in order; nothing is added any more.
pub(super) fn order(conn: &Connection) -> Result<(), StoreError> {
    let doing = "put what is to be exported in order";
    conn.execute(
        "UPDATE plan SET depth = 0 WHERE parent_id IS NULL \
         OR NOT EXISTS (SELECT 1 FROM plan parent WHERE parent.id = plan.parent_id)",
        [],
    )
    .doing(doing)?;
    // The sign keeps SQLite from going through all that are left at each step.
    let mut children = conn
        .prepare(
            "UPDATE plan SET depth = ?1 + 1 WHERE +depth IS NULL \
             AND parent_id IN (SELECT id FROM plan WHERE depth = ?1)",
        )
        .doing(doing)?;
    let mut depth = 0_i64;
    loop {
        if children.execute([depth]).doing(doing)? > 0 {
            depth += 1;
            continue;
        }
        let unreached: Option<i64> =
            conn.query_row(UNREACHED, [], |row| row.get(0)).optional().doing(doing)?;
        let Some(number) = unreached else { break };
        depth += 1;
        conn.execute("UPDATE plan SET depth = ?2 WHERE number = ?1", [number, depth]).doing(doing)?;
    }
    conn.execute_batch(
        "INSERT INTO queue (id) SELECT id FROM plan ORDER BY depth, created_at, id; DROP TABLE plan;",
    )
    .doing(doing)
}

/// The next of them after a place in the order, each with its own.
pub(super) fn next(conn: &Connection, after: i64, limit: u32) -> Result<Vec<(i64, SessionId)>, StoreError> {
    let doing = "read what is to be exported";
    let mut statement = conn
        .prepare_cached("SELECT position, id FROM queue WHERE position > ?1 ORDER BY position LIMIT ?2")
        .doing(doing)?;
    let mut found = statement.query(params![after, limit]).doing(doing)?;
    rows::collect(&mut found, |row| {
        rows::read("queue", row, |row| Ok((row.get(0)?, SessionId::from_stored(rows::text(row, 1)?))))
    })
}

#[cfg(test)]
mod tests {
    use membrane_core::evidence::LegacyTotals;
    use membrane_core::history::Cut;
    use membrane_core::ids::HistoryId;
    use membrane_core::json::Json;
    use membrane_core::state::State;
    use membrane_core::time::Timestamp;
    use membrane_core::turn::Totals;

    use super::*;

    fn session(id: &str, parent: Option<&str>, created_at: i64) -> Session {
        Session {
            id: SessionId::from_stored(id),
            family: SessionId::from_stored(id),
            project_id: None,
            parent_id: parent.map(SessionId::from_stored),
            fork_point: None,
            branch_name: String::new(),
            title: None,
            tags: Vec::new(),
            pinned: false,
            archived: false,
            trailing: false,
            metadata: Json::empty_object(),
            state: State::Idle,
            is_merged: false,
            merged_into: None,
            version: 1,
            cut: Cut { history: HistoryId(1), turn_count: 0 },
            totals: Totals::ZERO,
            flipped: 0,
            legacy: LegacyTotals::default(),
            created_at: Timestamp::from_micros(created_at),
            last_active: Timestamp::from_micros(created_at),
        }
    }

    fn ordered(sessions: &[Session]) -> Vec<String> {
        let conn = Connection::open_in_memory().unwrap();
        prepare(&conn).unwrap();
        assert!(add(&conn, sessions).unwrap().iter().all(|is_new| *is_new));
        assert!(add(&conn, sessions).unwrap().iter().all(|is_new| !is_new));
        order(&conn).unwrap();
        let mut ids = Vec::new();
        let mut after = 0;
        loop {
            let page = next(&conn, after, 2).unwrap();
            let Some((last, _)) = page.last() else { return ids };
            after = *last;
            ids.extend(page.into_iter().map(|(_, id)| id.to_string()));
        }
    }

    #[test]
    fn parents_come_before_children_whatever_their_times_say_and_the_oldest_first() {
        let sessions = [
            session("grandchild", Some("child"), 1),
            session("child", Some("root"), 2),
            session("late", None, 4),
            session("root", None, 3),
            session("orphan", Some("gone"), 0),
        ];
        assert_eq!(ordered(&sessions), ["orphan", "root", "late", "child", "grandchild"]);
    }

    #[test]
    fn a_circle_and_a_session_that_is_its_own_parent_hide_nobody() {
        let sessions = [
            session("x", Some("y"), 2),
            session("y", Some("x"), 1),
            session("z", Some("x"), 3),
            session("self", Some("self"), 0),
        ];
        assert_eq!(ordered(&sessions), ["self", "y", "x", "z"]);
    }

    #[test]
    fn a_long_line_of_forks_is_put_in_order_without_a_scan_for_each() {
        let ids: Vec<String> = (0..3000).map(|n| format!("s{n}")).collect();
        let parents = std::iter::once(None).chain(ids.iter().map(|id| Some(id.as_str())));
        let sessions: Vec<Session> = ids
            .iter()
            .zip(parents)
            .zip((0..3000).rev())
            .map(|((id, parent), created_at)| session(id, parent, created_at))
            .collect();
        assert_eq!(ordered(&sessions), ids);
    }
}
