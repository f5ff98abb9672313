//! Running totals, places in time and `facts`, segment by segment.
//!
//! Where a stretch of a segment begins is known for one into which a session may append: it goes on from the turns
//! before it in its history. Any other begins where most of its turns say that it does; slices are fitted to that.

use std::collections::BTreeMap;

use membrane_core::ids::SegmentId;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Linearity, Totals, TurnStatus};
use membrane_store::StoreError;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::run::Log;
use crate::error::Doing;
use crate::facts::Facts;

/// How many turns are read before what is wrong with them is written.
const CHUNK: i64 = 2000;

/// How many different beginnings are told apart; a stretch in which more are claimed is all wrong.
const MAX_CLAIMS: usize = 10_000;

/// The small columns of a turn. What is of another type counts as wrong.
struct Small {
    number: i64,
    position: i64,
    started_at: Option<i64>,
    completed_at: Option<i64>,
    order_at: Option<i64>,
    own: Totals,
    sums: Option<Totals>,
    /// Status and both linearities, if all are known words.
    words: Option<(TurnStatus, Linearity, Linearity)>,
    has_rare: bool,
    observes_nothing: bool,
    facts: Option<String>,
}

const SMALL: &str = "number, position, observes, own_tool_calls, own_tokens, own_chars, own_code_blocks, \
     sum_succeeded, sum_failed, sum_tool_calls, sum_tokens, sum_chars, sum_code_blocks, order_at, started_at, \
     completed_at, status, user_linearity, assistant_linearity, \
     tools_json IS NOT NULL OR extra_json IS NOT NULL, facts";

fn small(row: &Row<'_>) -> rusqlite::Result<Small> {
    let number = |column| row.get::<_, i64>(column).ok();
    let word = |column| row.get::<_, String>(column).ok();
    let observes = number(2);
    let sums = (|| {
        Some(Totals {
            succeeded: number(7)?,
            failed: number(8)?,
            tool_calls: number(9)?,
            tokens: number(10)?,
            chars: number(11)?,
            code_blocks: number(12)?,
        })
    })();
    let words = (|| {
        Some((
            TurnStatus::parse(&word(16)?).ok()?,
            Linearity::parse(&word(17)?).ok()?,
            Linearity::parse(&word(18)?).ok()?,
        ))
    })();
    Ok(Small {
        number: row.get(0)?,
        position: row.get(1)?,
        own: Totals {
            succeeded: i64::from(observes == Some(1)),
            failed: i64::from(observes == Some(0)),
            tool_calls: number(3).unwrap_or(0),
            tokens: number(4).unwrap_or(0),
            chars: number(5).unwrap_or(0),
            code_blocks: number(6).unwrap_or(0),
        },
        sums,
        order_at: number(13),
        started_at: number(14),
        completed_at: number(15),
        words,
        has_rare: row.get(19)?,
        observes_nothing: observes.is_none(),
        facts: word(20),
    })
}

/// Goes through a segment's turns in order, a chunk at a time, so that each chunk may be written to.
fn walk(
    conn: &Connection,
    segment: SegmentId,
    mut visit: impl FnMut(Vec<Small>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let doing = "read a segment's totals";
    let sql = format!(
        "SELECT {SMALL} FROM turns WHERE segment_id = ?1 AND position > ?2 ORDER BY position LIMIT ?3"
    );
    let mut after = i64::MIN;
    loop {
        let chunk: Vec<Small> = {
            let mut statement = conn.prepare_cached(&sql).doing(doing)?;
            let rows = statement.query_map([segment.0, after, CHUNK], small).doing(doing)?;
            rows.collect::<rusqlite::Result<_>>().doing(doing)?
        };
        let Some(last) = chunk.last() else { return Ok(()) };
        after = last.position;
        visit(chunk)?;
    }
}

/// Repairs all segments.
pub(super) fn repair(conn: &Connection, log: &mut Log) -> Result<(), StoreError> {
    let doing = "repair running totals";
    let segments: Vec<i64> = {
        let mut statement = conn.prepare("SELECT DISTINCT segment_id FROM turns ORDER BY 1").doing(doing)?;
        let rows = statement.query_map([], |row| row.get(0)).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)?
    };
    let (mut n_sums, mut n_orders, mut n_facts) = (0, 0, 0);
    for segment in segments {
        let segment = SegmentId(segment);
        let begins = beginnings(conn, segment)?;
        let mut state: Option<(i64, Totals, Option<i64>)> = None;
        walk(conn, segment, |chunk| {
            for turn in chunk {
                let before = state.filter(|(position, ..)| position + 1 == turn.position);
                let start = before.map_or_else(
                    || begins.get(&turn.position).copied().unwrap_or(Totals::ZERO),
                    |(_, sums, _)| sums,
                );
                let sums = start + turn.own;
                let order_at = order_at(&turn, before.and_then(|(_, _, order_at)| order_at));
                state = Some((turn.position, sums, order_at));
                let facts = facts(&turn, order_at, sums);
                let is_sum_wrong = turn.sums != Some(sums);
                let is_order_wrong = turn.order_at != order_at;
                let is_facts_wrong = facts.is_some() && facts != turn.facts;
                if is_sum_wrong || is_order_wrong || is_facts_wrong {
                    write(conn, &turn, sums, order_at, facts.as_deref())?;
                }
                n_sums += usize::from(is_sum_wrong);
                n_orders += usize::from(is_order_wrong);
                n_facts += usize::from(is_facts_wrong);
            }
            Ok(())
        })?;
    }
    log.done(n_sums, "turn", "turns", "its running totals were added up again");
    log.done(n_orders, "turn", "turns", "its place in time was worked out again");
    log.done(n_facts, "turn", "turns", "facts was written again");
    Ok(())
}

fn write(
    conn: &Connection,
    turn: &Small,
    sums: Totals,
    order_at: Option<i64>,
    facts: Option<&str>,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE turns SET sum_succeeded = ?2, sum_failed = ?3, sum_tool_calls = ?4, sum_tokens = ?5, \
         sum_chars = ?6, sum_code_blocks = ?7, order_at = coalesce(?8, order_at), facts = coalesce(?9, facts) \
         WHERE number = ?1",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            turn.number,
            sums.succeeded,
            sums.failed,
            sums.tool_calls,
            sums.tokens,
            sums.chars,
            sums.code_blocks,
            order_at,
            facts,
        ])
    })
    .map(|_| ())
    .doing("write running totals")
}

/// A turn's place in time: its start, or just after the turn before. The first turn of a stretch is placed by what
/// the session did before, which may be gone: then by whichever of its two records can be right.
fn order_at(turn: &Small, before: Option<i64>) -> Option<i64> {
    let started_at = turn.started_at?;
    if let Some(before) = before {
        return Some(started_at.max(before.saturating_add(1)));
    }
    let in_facts =
        turn.facts.as_deref().and_then(Facts::decode).and_then(|facts| {
            (facts.started_at.as_micros() == started_at).then(|| facts.order_at.as_micros())
        });
    let possible = |claim: &i64| *claim >= started_at;
    let claims = [turn.order_at.filter(possible), in_facts.filter(possible)];
    // A clock that was set back is rarer than one that goes on: of two claims the earlier one.
    claims.into_iter().flatten().min().or(Some(started_at))
}

fn facts(turn: &Small, order_at: Option<i64>, sums: Totals) -> Option<String> {
    let (status, user_linearity, assistant_linearity) = turn.words?;
    let at = Timestamp::from_micros;
    let facts = Facts {
        status,
        is_legacy: turn.observes_nothing && status == TurnStatus::Complete,
        user_linearity,
        assistant_linearity,
        has_rare: turn.has_rare,
        order_at: at(order_at?),
        started_at: at(turn.started_at?),
        completed_at: at(turn.completed_at?),
        sums,
    };
    Some(facts.encode())
}

/// The totals before each stretch of a segment without gaps, by the position at which it begins.
fn beginnings(conn: &Connection, segment: SegmentId) -> Result<BTreeMap<i64, Totals>, StoreError> {
    let mut begins = BTreeMap::new();
    let mut claims = Claims::default();
    let mut stretch: Option<(i64, i64, Totals)> = None;
    walk(conn, segment, |chunk| {
        for turn in chunk {
            let (from, _, added) = match stretch {
                Some((from, last, added)) if last + 1 == turn.position => (from, last, added),
                _ => {
                    if let Some((from, ..)) = stretch {
                        begins.insert(from, claims.take());
                    }
                    (turn.position, turn.position, Totals::ZERO)
                }
            };
            let added = added + turn.own;
            if let Some(sums) = turn.sums {
                claims.add(sums - added);
            }
            stretch = Some((from, turn.position, added));
        }
        Ok(())
    })?;
    if let Some((from, ..)) = stretch {
        begins.insert(from, claims.take());
    }
    if let (Some(first), Some(totals)) = (begins.get_mut(&0), before_open_slice(conn, segment)?) {
        *first = totals;
    }
    Ok(begins)
}

/// How often each beginning is claimed.
#[derive(Default)]
struct Claims(BTreeMap<[i64; 6], usize>);

impl Claims {
    fn add(&mut self, totals: Totals) {
        let Totals { succeeded, failed, tool_calls, tokens, chars, code_blocks } = totals;
        let claim = [succeeded, failed, tool_calls, tokens, chars, code_blocks];
        if self.0.len() < MAX_CLAIMS || self.0.contains_key(&claim) {
            *self.0.entry(claim).or_default() += 1;
        }
    }

    /// The claim of most, each column by itself where there is none of two turns or more.
    fn take(&mut self) -> Totals {
        let claims = std::mem::take(&mut self.0);
        let whole = claims.iter().max_by_key(|(_, count)| **count);
        let [succeeded, failed, tool_calls, tokens, chars, code_blocks] = match whole {
            Some((claim, count)) if *count > 1 || claims.len() == 1 => *claim,
            _ => std::array::from_fn(|column| {
                let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
                for (claim, count) in &claims {
                    *counts.entry(claim[column]).or_default() += count;
                }
                counts.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(value, _)| value)
            }),
        };
        Totals { succeeded, failed, tool_calls, tokens, chars, code_blocks }
    }
}

/// What a history adds up to before the open slice that reads this segment; `None` if there is none, or turns before
/// it are gone.
fn before_open_slice(conn: &Connection, segment: SegmentId) -> Result<Option<Totals>, StoreError> {
    let doing = "add up a history";
    let open: Option<(i64, i64)> = conn
        .prepare_cached(
            "SELECT history_id, start FROM slices WHERE segment_id = ?1 AND stop IS NULL AND segment_offset = 0",
        )
        .and_then(|mut statement| {
            statement.query_row([segment.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .doing(doing)?;
    let Some((history, start)) = open else { return Ok(None) };
    let (count, totals) = conn
        .prepare_cached(
            "SELECT count(*), coalesce(sum(t.observes IS 1), 0), coalesce(sum(t.observes IS 0), 0), \
             coalesce(sum(t.own_tool_calls), 0), coalesce(sum(t.own_tokens), 0), coalesce(sum(t.own_chars), 0), \
             coalesce(sum(t.own_code_blocks), 0) FROM slices sl JOIN turns t ON t.segment_id = sl.segment_id \
             AND t.position >= sl.segment_offset AND t.position < sl.segment_offset - sl.start + sl.stop \
             WHERE sl.history_id = ?1 AND sl.start < ?2",
        )
        .and_then(|mut statement| {
            statement.query_row([history, start], |row| {
                let totals = Totals {
                    succeeded: row.get(1)?,
                    failed: row.get(2)?,
                    tool_calls: row.get(3)?,
                    tokens: row.get(4)?,
                    chars: row.get(5)?,
                    code_blocks: row.get(6)?,
                };
                Ok((row.get::<_, i64>(0)?, totals))
            })
        })
        .doing(doing)?;
    Ok((count == start).then_some(totals))
}
