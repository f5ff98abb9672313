//! What a turn adds, measured again from its content.

use membrane_store::StoreError;
use rusqlite::{Connection, Row, params};

use super::run::Log;
use crate::check::{CONTENT, content};
use crate::error::Doing;
use crate::facts::Facts;

/// How many turns are read before what is wrong with them is written.
const CHUNK: i64 = 500;

/// Writes `observes` and `own_*` where they are not what the content says. A turn that cannot be read stays as it is.
pub(super) fn measure(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let doing = "measure turns";
    let sql = format!(
        "SELECT number, observes, own_tool_calls, own_tokens, own_chars, own_code_blocks, {CONTENT}, facts, \
         sum_succeeded + sum_failed - (SELECT p.sum_succeeded + p.sum_failed FROM turns p \
             WHERE p.segment_id = turns.segment_id AND p.position = turns.position - 1) FROM turns \
         WHERE number > ?1 ORDER BY number LIMIT ?2"
    );
    let mut select = conn.prepare(&sql).doing(doing)?;
    let mut update = conn
        .prepare(
            "UPDATE turns SET observes = ?2, own_tool_calls = ?3, own_tokens = ?4, own_chars = ?5, \
             own_code_blocks = ?6 WHERE number = ?1",
        )
        .doing(doing)?;
    let (mut after, mut changed) = (i64::MIN, 0);
    loop {
        let mut wrong = Vec::new();
        let mut n_rows = 0;
        {
            let mut found = select.query([after, CHUNK]).doing(doing)?;
            while let Some(row) = found.next().doing(doing)? {
                n_rows += 1;
                after = row.get(0).doing(doing)?;
                let Ok(turn) = content(row, 6, is_legacy(row)) else { continue };
                let own = turn.measures();
                let right = (
                    turn.observes_success().map(i64::from),
                    [own.tool_calls, own.tokens, own.chars, own.code_blocks],
                );
                let stored = (|| {
                    let own: [i64; 4] = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
                    Ok::<_, rusqlite::Error>((row.get::<_, Option<i64>>(1)?, own))
                })();
                if !stored.is_ok_and(|stored| stored == right) {
                    wrong.push((after, right));
                }
            }
        }
        for (number, (observes, [tools, tokens, chars, blocks])) in &wrong {
            update.execute(params![number, observes, tools, tokens, chars, blocks]).doing(doing)?;
        }
        changed += wrong.len();
        if n_rows < CHUNK {
            break;
        }
    }
    log.done(changed, "turn", "turns", "what it adds was measured again");
    Ok(())
}

/// Whether what a complete turn showed is part of an old total, and it observes nothing itself: told by `observes`, by
/// `facts` and by the running totals, of which two decide.
fn is_legacy(row: &Row<'_>) -> bool {
    let by_observes = row.get::<_, Option<i64>>(1).is_ok_and(|observes| observes.is_none());
    let facts = row.get::<_, String>(16).ok();
    // Facts that are wrong elsewhere have no say.
    let is_plausible = |facts: &Facts| {
        row.get::<_, String>(7).is_ok_and(|status| status == facts.status.as_str())
            && row.get::<_, i64>(10).is_ok_and(|at| at == facts.started_at.as_micros())
            && row.get::<_, i64>(11).is_ok_and(|at| at == facts.completed_at.as_micros())
    };
    let by_facts = facts.as_deref().and_then(Facts::decode).filter(is_plausible).map(|facts| facts.is_legacy);
    let step = row.get::<_, Option<i64>>(17).ok().flatten();
    let by_sums = step.filter(|step| (0..=1).contains(step)).map(|step| step == 0);
    match (by_facts, by_sums) {
        (Some(facts), Some(sums)) if facts == sums => facts,
        (Some(facts), None) => facts,
        (None, Some(sums)) if sums != by_observes => false,
        _ => by_observes,
    }
}
