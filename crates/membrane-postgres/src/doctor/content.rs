//! How much there is, whether any of it is of tomorrow, and whether it agrees with itself.

use membrane_core::time::Timestamp;
use membrane_store::StoreError;
use membrane_store::doctor::Check;

use super::examine::ask;
use crate::check::check;
use crate::db::Db;
use crate::error::{Doing, whole};

/// How far a session may be ahead before it is told.
const TOLERANCE_MICROS: i64 = 5 * 60 * 1_000_000;

/// How many findings are shown.
const MAX_SHOWN: usize = 3;

/// Counts, and the newest session.
pub(super) async fn sessions(db: Db<'_>, now: Timestamp) -> Result<Vec<Check>, StoreError> {
    let doing = "count sessions";
    let sql = "SELECT (SELECT count(*) FROM chat_sessions), (SELECT count(*) FROM turns), \
               (SELECT count(*) FROM runs), (SELECT max(last_active) FROM chat_sessions)";
    let row = ask(db, sql, doing).await?;
    let count = |column: usize| row.try_get::<_, i64>(column).doing(doing);
    let (sessions, turns, runs) = (count(0)?, count(1)?, count(2)?);
    let found = format!(
        "sessions: {sessions}, turns: {turns} stored once each, turns under way: {runs}; \"membrane check\" looks \
         whether they contradict"
    );
    let mut checks = vec![Check::ok("sessions", found)];
    let newest: Option<String> = row.try_get(3).doing(doing)?;
    if let Some(newest) = newest.and_then(|text| Timestamp::parse(&text).ok())
        && newest.as_micros() - now.as_micros() > TOLERANCE_MICROS
    {
        let found = format!(
            "the newest session was active at {newest}, and now it is {now}: a clock is or was wrong"
        );
        checks.push(Check::note("clock", found).with_remedy("set the clock: timedatectl set-ntp true"));
    }
    Ok(checks)
}

/// The keep's own check.
pub(super) async fn keep(db: Db<'_>) -> Check {
    const NAME: &str = "keep";
    let remedy = "see them all with \"membrane check\"; what is lost comes back from a dump, with pg_restore";
    match check(db).await {
        Ok(lines) if lines.is_empty() => Check::ok(NAME, "no row contradicts another"),
        Ok(lines) => {
            let shown: Vec<&str> = lines.iter().map(String::as_str).take(MAX_SHOWN).collect();
            let more = if lines.len() > MAX_SHOWN { "; …" } else { "" };
            Check::problem(NAME, format!("{} findings: {}{more}", lines.len(), shown.join("; ")), remedy)
        }
        Err(error) => Check::problem(NAME, format!("it cannot be checked: {}", whole(&error)), remedy),
    }
}
