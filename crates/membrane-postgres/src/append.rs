//! Appends as one statement, on condition that their sessions are what this store last knew of them.
//!
//! All that the rows derive is computed here, by core's rules, before the statement is sent. A session that is not as it was
//! then gets nothing: its row is not updated, and its turns are not inserted.

use membrane_core::history::{Head, TurnRef};
use membrane_core::ids::SessionId;
use membrane_core::time::Timestamp;
use membrane_store::{Change, Receipt, Requirement, Write};
use tokio_postgres::{Error, Row};

use crate::apply::{Prepared, Record, TurnRows, extend, turn_columns};
use crate::db::{Db, Statement};
use crate::rows::signed;
use crate::value::{Value, escape, values};

/// The session that a change appends to, if that is all it does.
pub(crate) fn target(change: &Change) -> Option<&SessionId> {
    let [Write::AppendTurns { session, turns }] = change.writes.as_slice() else { return None };
    let is_about_it = |requirement: &Requirement| match requirement {
        Requirement::Allows { session: other, .. } | Requirement::Version { session: other, .. } => {
            other == session
        }
        _ => false,
    };
    (change.key.is_none() && !turns.is_empty() && change.require.iter().all(is_about_it)).then_some(session)
}

/// Appends to one session, one after the other, as one update of its row.
#[derive(Debug)]
pub(crate) struct Chain {
    before: Record,
    after: Record,
    head: Head,
    /// The time of the last change.
    now: Timestamp,
    /// The first turn, by which it can be told later whether the statement was carried out.
    first: (TurnRef, String),
    receipts: Vec<Receipt>,
}

impl Chain {
    /// Chains as many of the changes as the record allows to know the outcome of, and says how many turns they are. `None`: not
    /// even the first.
    pub(crate) fn of<'a>(
        record: Record,
        changes: impl Iterator<Item = &'a Prepared>,
        place: usize,
        rows: &mut TurnRows<'a>,
    ) -> Option<Self> {
        let place = i64::try_from(place).ok()?;
        let head = record.head?;
        let (mut after, mut first, mut now, mut receipts) = (record.clone(), None, None, Vec::new());
        for prepared in changes {
            let change = &prepared.change;
            let ([Write::AppendTurns { turns, .. }], [measured]) =
                (change.writes.as_slice(), prepared.turns.as_slice())
            else {
                break;
            };
            let (Some(turn), Some(end), true) = (turns.first(), after.head, holds(&after, change)) else {
                break;
            };
            extend(&mut after, end, place, turns, measured, rows);
            after.version += 1;
            after.touch(&change.now.to_string());
            receipts.push(Receipt { sessions: vec![after.stamp()], result: String::new(), replayed: false });
            first.get_or_insert_with(|| turn.id.to_string());
            now = Some(change.now);
        }
        let at = TurnRef { segment: head.segment, position: head.position };
        Some(Self { before: record, after, head, now: now?, first: (at, first?), receipts })
    }

    /// How many changes it is.
    pub(crate) fn len(&self) -> usize {
        self.receipts.len()
    }

    /// How many turns it adds.
    pub(crate) fn n_turns(&self) -> i64 {
        signed(self.after.cut.turn_count) - signed(self.before.cut.turn_count)
    }

    /// The session as it is once this is committed, and each change's answer.
    pub(crate) fn into_done(self) -> (Record, Vec<Receipt>) {
        (self.after, self.receipts)
    }
}

/// Whether the change's requirements hold for the record.
fn holds(record: &Record, change: &Change) -> bool {
    change.require.iter().all(|requirement| match requirement {
        Requirement::Version { version, .. } => record.version == *version,
        Requirement::Allows { session, action } => record.state.require(session, *action).is_ok(),
        _ => false,
    })
}

/// The statement that carries chains out: each only if its session is as expected. Sent twice, it is carried out once.
pub(crate) fn statement<'a>(chains: &'a [Chain], rows: TurnRows<'a>) -> Statement<'a> {
    let now = chains.iter().map(|chain| chain.now).max().map_or(0, Timestamp::as_micros);
    let (sql, mut values) = match chains {
        [chain] if rows.len() == 1 => {
            let mut values = one(chain);
            values.extend(rows.into_first());
            (ONE, values)
        }
        _ => {
            let sql = if chains.len() == rows.len() { EACH } else { MANY };
            (sql, vec![Value::Rows(chains.iter().map(end).collect()), rows.into_value()])
        }
    };
    values.push(Value::from(now));
    Statement { sql, values }
}

/// Sends it. Says for each chain whether it was carried out.
pub(crate) async fn send(
    db: Db<'_>,
    chains: &[Chain],
    statement: &Statement<'_>,
) -> Result<Vec<bool>, Error> {
    let moved = db.query(statement.sql, &statement.values).await?;
    places(&moved, chains.len())
}

/// Which places rows name.
fn places(found: &[Row], n_places: usize) -> Result<Vec<bool>, Error> {
    let mut is_named = vec![false; n_places];
    for row in found {
        let place = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(usize::MAX);
        if let Some(is_named) = is_named.get_mut(place) {
            *is_named = true;
        }
    }
    Ok(is_named)
}

/// Says for each chain whether its first turn is where it was to be.
pub(crate) async fn look(db: Db<'_>, chains: &[Chain]) -> Result<Vec<bool>, Error> {
    let turns = || chains.iter().map(|chain| &chain.first);
    let found = db
        .query(
            "SELECT at.place - 1 FROM unnest($1, $2, $3) WITH ORDINALITY AS at (segment_id, position, id, place) \
             JOIN turns t USING (segment_id, position, id)",
            &[
                Value::Ints(turns().map(|(at, _)| at.segment.0).collect()),
                Value::Ints(turns().map(|(at, _)| at.position).collect()),
                Value::Texts(turns().map(|(_, id)| escape(id)).collect()),
            ],
        )
        .await?;
    places(&found, chains.len())
}

/// What the row must be: id, version, state, flips, count of turns, end.
fn condition(chain: &Chain) -> [i64; 5] {
    let before = &chain.before;
    [
        signed(before.version),
        before.flipped,
        signed(before.cut.turn_count),
        chain.head.segment.0,
        chain.head.position,
    ]
}

/// What the row becomes, but for texts.
fn outcome(chain: &Chain) -> [i64; 10] {
    let (after, totals) = (&chain.after, chain.after.totals);
    [
        signed(after.version),
        signed(after.cut.turn_count),
        after.head.map_or(0, |head| head.position),
        after.last_order_at.map_or(0, Timestamp::as_micros),
        totals.succeeded,
        totals.failed,
        totals.tool_calls,
        totals.tokens,
        totals.chars,
        totals.code_blocks,
    ]
}

fn one(chain: &Chain) -> Vec<Value<'_>> {
    let texts = values![
        chain.before.id.as_str(),
        chain.before.state.as_str(),
        chain.after.evidence_json(chain.now),
        chain.after.last_active.as_str(),
    ];
    let [version, flipped, turn_count, ..] = condition(chain);
    texts.into_iter().chain([version, flipped, turn_count].map(Value::from)).collect()
}

/// One turn for one session. Where the turn goes, and the totals with it, are the session's, too.
const ONE: &str = concat!(
    "WITH moved AS ( \
         UPDATE chat_sessions SET evidence_json = $3, last_active = $4, active_slot = left($4, 18), \
             version = version + 1, \
             turn_count = turn_count + 1, head_position = head_position + 1, last_order_at = $10, \
             sum_succeeded = $17, sum_failed = $18, sum_tool_calls = $19, context_size = $20, sum_chars = $21, \
             sum_code_blocks = $22 \
         WHERE id = $1 AND state = $2 AND version = $5 AND flipped = $6 AND turn_count = $7 \
             AND head_segment_id = $8 AND head_position = $9 \
         RETURNING version), \
     added AS (INSERT INTO turns (",
    turn_columns!(),
    ") SELECT $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, \
         $30, $31 FROM moved), \
     told AS (INSERT INTO told_events (kinds, session_ids, versions, at) \
         SELECT '{turn.added}', ARRAY[$1], ARRAY[version], $32 FROM moved) \
     SELECT 0::BIGINT FROM moved"
);

/// The fields of a `membrane_session_end`.
macro_rules! end_columns {
    () => {
        "session_id, was_state, evidence_json, last_active, was_version, was_flipped, was_turn_count, was_segment, \
         was_position, is_version, is_turn_count, is_position, is_order_at, is_succeeded, is_failed, is_tool_calls, \
         is_context_size, is_chars, is_code_blocks"
    };
}

/// Where the row of a session lies, and that it is what a `membrane_session_end` expects.
///
/// Rows are looked up one after the other, so that they are locked as they were sent: in another order two servers could wait
/// for each other, until PostgreSQL sends one of them back. What is expected is asked of the row that is written, since
/// PostgreSQL asks that again of one that somebody changed meanwhile; and of what comes with the place, in words by which no
/// join can be made, so that nothing is joined before the place is known.
macro_rules! found {
    () => {
        ", LATERAL (SELECT c.ctid AS at, i.was_state, i.was_version, i.was_flipped, i.was_turn_count, i.was_segment, \
             i.was_position FROM chat_sessions c WHERE c.id = i.session_id OFFSET 0) AS found \
         WHERE s.ctid = found.at AND s.state IS NOT DISTINCT FROM found.was_state \
             AND s.version IS NOT DISTINCT FROM found.was_version AND s.flipped IS NOT DISTINCT FROM found.was_flipped \
             AND s.turn_count IS NOT DISTINCT FROM found.was_turn_count \
             AND s.head_segment_id IS NOT DISTINCT FROM found.was_segment \
             AND s.head_position IS NOT DISTINCT FROM found.was_position"
    };
}

/// A `membrane_session_end`.
fn end(chain: &Chain) -> Vec<Value<'_>> {
    let texts = values![
        chain.before.id.as_str(),
        chain.before.state.as_str(),
        chain.after.evidence_json(chain.now),
        chain.after.last_active.as_str(),
    ];
    let ints = condition(chain).into_iter().chain(outcome(chain)).map(Value::from);
    texts.into_iter().chain(ints).collect()
}

/// One turn for each of several sessions, which are sent in the order of their ids, in which rows are locked everywhere.
/// What is to be written comes along, so that nothing is joined but sessions.
///
/// `(SELECT $1)` hides from the planner how long the arrays are. Else a plan for so few rows seems cheaper than the one for
/// any number, and PostgreSQL plans anew each time, which takes longer than carrying it out.
const EACH: &str = concat!(
    "WITH moved AS ( \
         UPDATE chat_sessions s SET evidence_json = i.evidence_json, last_active = i.last_active, \
             active_slot = left(i.last_active, 18), version = s.version + 1, turn_count = s.turn_count + 1, head_position = s.head_position + 1, \
             last_order_at = i.order_at, sum_succeeded = i.sum_succeeded, sum_failed = i.sum_failed, \
             sum_tool_calls = i.sum_tool_calls, context_size = i.sum_tokens, sum_chars = i.sum_chars, \
             sum_code_blocks = i.sum_code_blocks \
         FROM unnest((SELECT $1::membrane_session_end[]), $2::membrane_turn_row[]) AS i (",
    end_columns!(),
    ", place, ",
    turn_columns!(),
    ")",
    found!(),
    " RETURNING i.session_id, i.is_version, i.place, ",
    turn_columns!("i."),
    "), \
     added AS (INSERT INTO turns (",
    turn_columns!(),
    ") SELECT ",
    turn_columns!(),
    " FROM moved), \
     told AS (INSERT INTO told_events (kinds, session_ids, versions, at) \
         SELECT '{turn.added}', array_agg(session_id), array_agg(is_version), $3 FROM moved HAVING count(*) > 0) \
     SELECT place FROM moved"
);

/// Any number of turns for each of several sessions.
const MANY: &str = concat!(
    "WITH moved AS ( \
         UPDATE chat_sessions s SET evidence_json = i.evidence_json, last_active = i.last_active, \
             active_slot = left(i.last_active, 18), version = i.is_version, turn_count = i.is_turn_count, head_position = i.is_position, \
             last_order_at = i.is_order_at, sum_succeeded = i.is_succeeded, sum_failed = i.is_failed, \
             sum_tool_calls = i.is_tool_calls, context_size = i.is_context_size, sum_chars = i.is_chars, \
             sum_code_blocks = i.is_code_blocks \
         FROM unnest((SELECT $1::membrane_session_end[])) WITH ORDINALITY AS i (",
    end_columns!(),
    ", ordinality)",
    found!(),
    " RETURNING i.session_id, i.was_version, i.is_version, i.ordinality - 1 AS place), \
     added AS (INSERT INTO turns (",
    turn_columns!(),
    ") SELECT ",
    turn_columns!("t."),
    " FROM unnest((SELECT $2::membrane_turn_row[])) AS t JOIN moved USING (place)), \
     told AS (INSERT INTO told_events (kinds, session_ids, versions, at) \
         SELECT '{turn.added}', array_agg(session_id ORDER BY place, each.version), \
             array_agg(each.version ORDER BY place, each.version), $3 \
         FROM moved, generate_series(was_version + 1, is_version) AS each (version) HAVING count(*) > 0) \
     SELECT place FROM moved"
);
