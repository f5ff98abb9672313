//! Lists of sessions. Each filter has an index by slots of time (migration 1006), so that a page costs its own length and
//! the other sessions of the slots that it touches, and a count scans one index.

use membrane_core::page::{Cursor, PageRequest, SessionFilter, SessionPage};
use membrane_core::session::MAIN_BRANCH;
use membrane_store::StoreError;

use crate::db::Db;
use crate::error::Doing;
use crate::rows::{self, SESSION_COLUMNS, get, signed, unsigned};
use crate::value::Value;

/// How many characters of `last_active` are its slot, `active_slot`, as in migration 1006.
pub(crate) const SLOT: u32 = 18;

/// One page, newest first, and how many there are in all: one statement, so that both are of one moment.
pub(crate) async fn page(
    db: Db<'_>,
    filter: &SessionFilter,
    page: &PageRequest,
) -> Result<SessionPage, StoreError> {
    let doing = "list sessions";
    let mut conditions = Conditions::of(filter);
    let total = conditions.count(filter);
    if let Some(cursor) = &page.after {
        let last_active = conditions.value(cursor.last_active.to_string().into());
        let id = conditions.value(cursor.id.as_str().into());
        conditions.terms.push(format!(
            "(active_slot, last_active, id) < (left({last_active}, {SLOT}), {last_active}, {id})"
        ));
    }
    // One more than asked for tells whether there is a next page.
    let limit = conditions.value((i64::from(page.limit) + 1).into());
    let offset = if page.after.is_some() { 0 } else { signed(page.offset) };
    let offset = conditions.value(offset.into());
    let sql = format!(
        "SELECT page.*, total.n FROM ({total}) total LEFT JOIN ( \
             SELECT {SESSION_COLUMNS} FROM chat_sessions {} \
             ORDER BY active_slot DESC, last_active DESC, id DESC \
             LIMIT {limit} OFFSET {offset}) page ON TRUE \
         ORDER BY page.last_active DESC, page.id DESC",
        conditions.sql()
    );
    let found = db.query(&sql, &conditions.values).await.doing(doing)?;
    let column = SESSION_COLUMNS.split(',').count();
    let total = found.first().map(|row| row.try_get(column)).transpose().doing(doing)?.map_or(0, unsigned);
    let is_there = |row: &&tokio_postgres::Row| !matches!(row.try_get::<_, Option<&str>>(0), Ok(None));
    let mut sessions = found
        .iter()
        .filter(is_there)
        .map(|row| rows::read("chat_sessions", row, rows::session))
        .collect::<Result<Vec<_>, _>>()?;
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
pub(crate) async fn count(db: Db<'_>, filter: &SessionFilter) -> Result<u64, StoreError> {
    let doing = "count sessions";
    let conditions = Conditions::of(filter);
    let sql = conditions.count(filter);
    let found = db.find(&sql, &conditions.values).await.doing(doing)?;
    found
        .map(|row| rows::read("chat_sessions", &row, |row| get(row, 0)))
        .transpose()
        .map(|count| count.map_or(0, unsigned))
}

/// The conditions of a filter and their values, in order.
#[derive(Default)]
struct Conditions<'a> {
    terms: Vec<String>,
    values: Vec<Value<'a>>,
}

impl<'a> Conditions<'a> {
    fn of(filter: &'a SessionFilter) -> Self {
        let mut conditions = Self::default();
        if let Some(project_id) = &filter.project_id {
            let project_id = conditions.value(project_id.into());
            conditions.terms.push(format!("project_id = {project_id}"));
        }
        match &filter.branch_name {
            Some(name) if name == MAIN_BRANCH => conditions.terms.push("branch_name = 'main'".to_owned()),
            // The index of branches leaves `main` out; saying so lets PostgreSQL use it.
            Some(name) => {
                let name = conditions.value(name.into());
                conditions.terms.push(format!("branch_name <> 'main' AND branch_name = {name}"));
            }
            None => {}
        }
        conditions
    }

    /// Adds a value, and gives its place in the statement.
    fn value(&mut self, value: Value<'a>) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn sql(&self) -> String {
        if self.terms.is_empty() { String::new() } else { format!("WHERE {}", self.terms.join(" AND ")) }
    }

    /// Counts what the filter finds, as `n`.
    fn count(&self, filter: &SessionFilter) -> String {
        // The index of branches leaves `main` out, which most sessions are on: count the others instead.
        if filter.branch_name.as_deref() == Some(MAIN_BRANCH) && filter.project_id.is_none() {
            return "SELECT (SELECT count(*) FROM chat_sessions) \
                    - (SELECT count(*) FROM chat_sessions WHERE branch_name <> 'main') AS n"
                .to_owned();
        }
        format!("SELECT count(*) AS n FROM chat_sessions {}", self.sql())
    }
}
