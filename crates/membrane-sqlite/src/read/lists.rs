//! Lists of sessions. Each filter has an index that is in the list's order, so that a page costs its own
//! length and a count scans one index.

use membrane_core::page::{Cursor, PageRequest, SessionFilter, SessionPage};
use membrane_core::session::MAIN_BRANCH;
use membrane_store::StoreError;
use rusqlite::{Connection, ToSql};

use crate::error::Doing;
use crate::rows::{self, SESSION_COLUMNS, signed, unsigned};

/// One page, newest first, and how many there are in all.
pub(crate) fn page(
    conn: &Connection,
    filter: &SessionFilter,
    page: &PageRequest,
) -> Result<SessionPage, StoreError> {
    let doing = "list sessions";
    let total = count(conn, filter)?;
    let after = page.after.as_ref().map(|cursor| (cursor.last_active.to_string(), cursor.id.as_str()));
    let mut conditions = Conditions::of(filter);
    if let Some((last_active, id)) = &after {
        conditions.add("(last_active, id) < (?, ?)", [last_active as &dyn ToSql, id]);
    }
    // One more than asked for tells whether there is a next page.
    let limit = i64::from(page.limit) + 1;
    let offset = if after.is_some() { 0 } else { signed(page.offset) };
    let sql = format!(
        "SELECT {SESSION_COLUMNS} FROM chat_sessions {} ORDER BY last_active DESC, id DESC LIMIT ? OFFSET ?",
        conditions.sql()
    );
    conditions.values.extend([&limit as &dyn ToSql, &offset]);
    let mut statement = conn.prepare_cached(&sql).doing(doing)?;
    let mut found = statement.query(conditions.values.as_slice()).doing(doing)?;
    let mut sessions = rows::collect(&mut found, |row| rows::read("chat_sessions", row, rows::session))?;
    let has_more = sessions.len() > usize::try_from(page.limit).unwrap_or(usize::MAX);
    if has_more {
        sessions.pop();
    }
    let next = if has_more {
        sessions.last().map(|last| Cursor { last_active: last.last_active, id: last.id.clone() })
    } else {
        None
    };
    Ok(SessionPage { sessions, total, next })
}

/// How many sessions a filter finds.
pub(crate) fn count(conn: &Connection, filter: &SessionFilter) -> Result<u64, StoreError> {
    // The index of branches leaves `main` out, which most sessions are on: count the others instead.
    if filter.branch_name.as_deref() == Some(MAIN_BRANCH) && filter.project_id.is_none() {
        let all = count_where(conn, &Conditions::default())?;
        let mut others = Conditions::default();
        others.add("branch_name <> 'main'", []);
        return Ok(all.saturating_sub(count_where(conn, &others)?));
    }
    count_where(conn, &Conditions::of(filter))
}

fn count_where(conn: &Connection, conditions: &Conditions<'_>) -> Result<u64, StoreError> {
    let sql = format!("SELECT count(*) FROM chat_sessions {}", conditions.sql());
    conn.prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row(conditions.values.as_slice(), |row| row.get(0)))
        .map(unsigned)
        .doing("count sessions")
}

/// The conditions of a filter and their values, in order.
#[derive(Default)]
struct Conditions<'a> {
    terms: Vec<&'static str>,
    values: Vec<&'a dyn ToSql>,
}

impl<'a> Conditions<'a> {
    fn of(filter: &'a SessionFilter) -> Self {
        let mut conditions = Self::default();
        if let Some(project_id) = &filter.project_id {
            conditions.add("project_id = ?", [project_id as &dyn ToSql]);
        }
        match &filter.branch_name {
            Some(name) if name == MAIN_BRANCH => conditions.add("branch_name = 'main'", []),
            // The index of branches leaves `main` out; saying so lets SQLite use it.
            Some(name) => {
                conditions.add("branch_name <> 'main' AND branch_name = ?", [name as &dyn ToSql]);
            }
            None => {}
        }
        conditions
    }

    fn add<const N: usize>(&mut self, term: &'static str, values: [&'a dyn ToSql; N]) {
        self.terms.push(term);
        self.values.extend(values);
    }

    fn sql(&self) -> String {
        if self.terms.is_empty() { String::new() } else { format!("WHERE {}", self.terms.join(" AND ")) }
    }
}
