//! Appends as one statement, on condition that their sessions are what this store last knew of them.
//!
//! All that the rows derive is computed here, by core's rules, before the statement is sent. A session that is not as it was
//! then gets nothing: its row is not updated, and its turns are not inserted.

use std::borrow::Cow;

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
        rows: &mut Rows<'a>,
    ) -> Option<Self> {
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
            extend(&mut after, end, turns, measured, &mut rows.turns);
            rows.places.extend(turns.iter().map(|_| i64::try_from(place).unwrap_or(i64::MAX)));
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

/// The turns of a statement, each with the place of its chain.
#[derive(Debug, Default)]
pub(crate) struct Rows<'a> {
    places: Vec<i64>,
    turns: TurnRows<'a>,
}

/// The statement that carries chains out: each only if its session is as expected. Sent twice, it is carried out once.
pub(crate) fn statement<'a>(chains: &'a [Chain], rows: Rows<'a>) -> Statement<'a> {
    let now = chains.iter().map(|chain| chain.now).max().map_or(0, Timestamp::as_micros);
    let (sql, mut values) = match chains {
        [chain] if rows.places.len() == 1 => {
            let mut values = one(chain);
            values.extend(rows.turns.into_first());
            (ONE, values)
        }
        _ if chains.len() == rows.places.len() => {
            let mut values = each(chains);
            values.extend(rows.turns.into_values());
            (EACH, values)
        }
        _ => {
            let mut values = many(chains);
            values.push(Value::Ints(rows.places));
            values.extend(rows.turns.into_values());
            (MANY, values)
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
         UPDATE chat_sessions SET evidence_json = $3, last_active = $4, version = version + 1, \
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
     told AS (INSERT INTO events (kind, session_id, version, at) SELECT 'turn.added', $1, version, $32 FROM moved) \
     SELECT 0::BIGINT FROM moved"
);

fn each(chains: &[Chain]) -> Vec<Value<'_>> {
    let mut values = texts(chains);
    values.extend(columns(chains.iter().map(condition)).into_iter().take(3).map(Value::Ints));
    values
}

/// One turn for each of several sessions. Rows are locked in the order of their ids, as everywhere, before any of them is
/// updated; what is to be written comes along, so that nothing is joined but sessions by their key.
///
/// `(SELECT $1)` hides from the planner how long the arrays are. Else a plan for so few rows seems cheaper than the one for
/// any number, and PostgreSQL plans anew each time, which takes longer than carrying it out.
const EACH: &str = concat!(
    "WITH locked AS MATERIALIZED ( \
         SELECT s.ctid AS at, i.* FROM unnest((SELECT $1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
             $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31) WITH ORDINALITY AS i (session_id, \
             was_state, evidence_json, last_active, was_version, was_flipped, was_turn_count, ",
    turn_columns!(),
    ", place) JOIN chat_sessions s ON s.id = i.session_id AND s.state = i.was_state AND s.version = i.was_version \
             AND s.flipped = i.was_flipped AND s.turn_count = i.was_turn_count \
             AND s.head_segment_id = i.segment_id AND s.head_position = i.position \
         ORDER BY s.id FOR NO KEY UPDATE OF s), \
     moved AS ( \
         UPDATE chat_sessions s SET evidence_json = l.evidence_json, last_active = l.last_active, \
             version = s.version + 1, turn_count = s.turn_count + 1, head_position = s.head_position + 1, \
             last_order_at = l.order_at, sum_succeeded = l.sum_succeeded, sum_failed = l.sum_failed, \
             sum_tool_calls = l.sum_tool_calls, context_size = l.sum_tokens, sum_chars = l.sum_chars, \
             sum_code_blocks = l.sum_code_blocks \
         FROM locked l WHERE s.ctid = l.at RETURNING l.*), \
     added AS (INSERT INTO turns (",
    turn_columns!(),
    ") SELECT ",
    turn_columns!(),
    " FROM moved), \
     told AS (INSERT INTO events (kind, session_id, version, at) \
         SELECT 'turn.added', session_id, was_version + 1, $32 FROM moved) \
     SELECT place - 1 FROM moved"
);

fn evidence(chain: &Chain) -> Cow<'static, str> {
    Cow::Owned(escape(&chain.after.evidence_json(chain.now)).into_owned())
}

fn texts(chains: &[Chain]) -> Vec<Value<'_>> {
    vec![
        Value::Texts(chains.iter().map(|chain| escape(chain.before.id.as_str())).collect()),
        Value::Texts(chains.iter().map(|chain| Cow::Borrowed(chain.before.state.as_str())).collect()),
        Value::Texts(chains.iter().map(|chain| evidence(chain)).collect()),
        Value::Texts(chains.iter().map(|chain| Cow::Borrowed(chain.after.last_active.as_str())).collect()),
    ]
}

fn columns<const N: usize>(rows: impl Iterator<Item = [i64; N]>) -> [Vec<i64>; N] {
    let mut columns = std::array::from_fn(|_| Vec::new());
    for row in rows {
        columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
    }
    columns
}

fn many(chains: &[Chain]) -> Vec<Value<'_>> {
    let mut values = texts(chains);
    values.extend(columns(chains.iter().map(condition)).map(Value::Ints));
    values.extend(columns(chains.iter().map(outcome)).map(Value::Ints));
    values
}

/// Any number of turns for each of several sessions.
const MANY: &str = concat!(
    "WITH input AS ( \
         SELECT *, ordinality - 1 AS place FROM unnest((SELECT $1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
             $15, $16, $17, $18, $19) WITH ORDINALITY AS input (id, state, evidence_json, last_active, was_version, \
             was_flipped, was_turn_count, was_segment, was_position, version, turn_count, position, last_order_at, \
             succeeded, failed, tool_calls, tokens, chars, code_blocks)), \
     locked AS MATERIALIZED ( \
         SELECT s.id FROM input i JOIN chat_sessions s ON s.id = i.id AND s.state = i.state \
             AND s.version = i.was_version AND s.flipped = i.was_flipped AND s.turn_count = i.was_turn_count \
             AND s.head_segment_id = i.was_segment AND s.head_position = i.was_position \
         ORDER BY s.id FOR NO KEY UPDATE OF s), \
     moved AS ( \
         UPDATE chat_sessions s SET evidence_json = i.evidence_json, last_active = i.last_active, \
             version = i.version, turn_count = i.turn_count, head_position = i.position, \
             last_order_at = i.last_order_at, sum_succeeded = i.succeeded, sum_failed = i.failed, \
             sum_tool_calls = i.tool_calls, context_size = i.tokens, sum_chars = i.chars, \
             sum_code_blocks = i.code_blocks \
         FROM input i JOIN locked USING (id) WHERE s.id = i.id RETURNING i.place), \
     added AS (INSERT INTO turns (",
    turn_columns!(),
    ") SELECT ",
    turn_columns!(),
    " FROM unnest((SELECT $20), $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, \
         $40, $41, $42, $43, $44) AS turns (place, ",
    turn_columns!(),
    ") JOIN moved USING (place)), \
     told AS (INSERT INTO events (kind, session_id, version, at) \
         SELECT 'turn.added', i.id, each.version, $45 FROM input i JOIN moved USING (place), \
             generate_series(i.was_version + 1, i.version) AS each (version) \
         ORDER BY i.place, each.version) \
     SELECT place FROM moved"
);
