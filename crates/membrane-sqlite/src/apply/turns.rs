//! Appending finished turns.

use membrane_core::history::{Head, Placement, Slice};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::turn::{Totals, Turn};
use membrane_store::codec::{self, TurnText};
use membrane_store::{StoreError, Subject};
use rusqlite::{Connection, params};

use crate::apply::purge;
use crate::apply::record::{Dirty, Tx, family_of};
use crate::error::Doing;
use crate::facts::Facts;
use crate::read::histories;
use crate::rows::signed;

/// What of a turn's row follows from the turn alone.
#[derive(Debug)]
pub(super) struct MeasuredTurn {
    text: TurnText,
    own: Totals,
    observes: Option<bool>,
}

impl MeasuredTurn {
    pub(super) fn new(turn: &Turn) -> Result<Self, StoreError> {
        Ok(Self { text: codec::encode_turn(turn)?, own: turn.measures(), observes: turn.observes_success() })
    }
}

/// Appends at the session's end: in place while it has a head, else into a fresh segment.
pub(super) fn append(
    tx: &mut Tx<'_>,
    session: &SessionId,
    turns: &[Turn],
    measured: &[MeasuredTurn],
) -> Result<(), StoreError> {
    let conn = tx.conn;
    if turns.is_empty() {
        return tx.record(session).map(|_| ());
    }
    let head = match tx.record(session)?.head {
        Some(head) => head,
        None => open_head(tx, session)?,
    };
    let now = tx.now_text.clone();
    let record = tx.record(session)?;
    let mut tip = record.tip();
    let mut position = head.position;
    for (turn, measured) in turns.iter().zip(measured) {
        let placement = tip.push_measured(turn.started_at, measured.own);
        insert(conn, Head { position, ..head }, turn, measured, &placement)?;
        position += 1;
    }
    record.cut.turn_count = tip.turn_count;
    record.totals = tip.totals;
    record.last_order_at = tip.last_order_at;
    record.head = Some(Head { position, ..head });
    record.touch(&now);
    record.mark(Dirty::InPlace);
    tx.tally.turns += position - head.position;
    tx.raise(session)
}

/// Gives a session a new history: its prefix's slices, then a fresh segment of its own.
fn open_head(tx: &mut Tx<'_>, session: &SessionId) -> Result<Head, StoreError> {
    let conn = tx.conn;
    let record = tx.record(session)?;
    let (number, cut) = (record.number, record.cut);
    let family = family_of(conn, number)?;
    let old = histories::find(conn, cut.history)?
        .ok_or_else(|| StoreError::not_found(Subject::History, cut.history.0))?;
    let segment = insert_segment(conn, &family, session)?;
    let history = insert_history(conn, &family)?;
    let branch = old.branch(cut.turn_count, segment);
    branch.slices.iter().try_for_each(|slice| insert_slice(conn, history, slice))?;
    copy_legacy(conn, cut.history, history)?;
    let head = Head { segment, position: 0 };
    let record = tx.record(session)?;
    record.cut.history = history;
    record.head = Some(head);
    record.mark(Dirty::Moved);
    tx.flush()?;
    purge::drop_history_if_unused(conn, cut.history, &mut tx.tally)?;
    Ok(head)
}

const INSERT: &str = "INSERT INTO turns (segment_id, position, id, status, user_linearity, \
     assistant_linearity, observes, order_at, started_at, completed_at, own_tool_calls, own_tokens, \
     own_chars, own_code_blocks, sum_succeeded, sum_failed, sum_tool_calls, sum_tokens, sum_chars, \
     sum_code_blocks, facts, tools_json, extra_json, user_message, assistant_response) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
     ?21, ?22, ?23, ?24, ?25)";

fn insert(
    conn: &Connection,
    at: Head,
    turn: &Turn,
    measured: &MeasuredTurn,
    placement: &Placement,
) -> Result<(), StoreError> {
    let (text, own, sums) = (&measured.text, placement.own, placement.sums);
    let has_rare = text.tools_json.is_some() || text.extra_json.is_some();
    let facts = Facts::of(turn, placement, has_rare);
    conn.prepare_cached(INSERT)
        .and_then(|mut statement| {
            statement.execute(params![
                at.segment.0,
                at.position,
                turn.id.as_str(),
                turn.status.as_str(),
                turn.user.linearity.as_str(),
                turn.assistant.linearity.as_str(),
                measured.observes,
                placement.order_at.as_micros(),
                turn.started_at.as_micros(),
                turn.completed_at.as_micros(),
                own.tool_calls,
                own.tokens,
                own.chars,
                own.code_blocks,
                sums.succeeded,
                sums.failed,
                sums.tool_calls,
                sums.tokens,
                sums.chars,
                sums.code_blocks,
                facts.encode(),
                text.tools_json,
                text.extra_json,
                turn.user.content,
                turn.assistant.content,
            ])
        })
        .doing("insert a turn")?;
    Ok(())
}

/// A fresh segment that the session owns and that nobody else appends to.
pub(super) fn insert_segment(
    conn: &Connection,
    family: &str,
    owner: &SessionId,
) -> Result<SegmentId, StoreError> {
    conn.prepare_cached("INSERT INTO segments (family_id, owner_id) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.insert([family, owner.as_str()]))
        .map(SegmentId)
        .doing("insert a segment")
}

/// A history without slices yet.
pub(super) fn insert_history(conn: &Connection, family: &str) -> Result<HistoryId, StoreError> {
    conn.prepare_cached("INSERT INTO histories (family_id) VALUES (?1)")
        .and_then(|mut statement| statement.insert([family]))
        .map(HistoryId)
        .doing("insert a history")
}

/// One slice of a history.
pub(super) fn insert_slice(conn: &Connection, history: HistoryId, slice: &Slice) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO slices (history_id, start, stop, segment_id, segment_offset, base_succeeded, \
         base_failed, base_tool_calls, base_tokens, base_chars, base_code_blocks) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            history.0,
            signed(slice.start),
            slice.stop.map(signed),
            slice.segment.0,
            slice.offset,
            slice.base.succeeded,
            slice.base.failed,
            slice.base.tool_calls,
            slice.base.tokens,
            slice.base.chars,
            slice.base.code_blocks,
        ])
    })
    .doing("insert a slice")?;
    Ok(())
}

fn copy_legacy(conn: &Connection, from: HistoryId, to: HistoryId) -> Result<(), StoreError> {
    conn.prepare_cached(
        "INSERT INTO legacy_sets (history_id, origin_id, alpha, beta) \
         SELECT ?2, origin_id, alpha, beta FROM legacy_sets WHERE history_id = ?1",
    )
    .and_then(|mut statement| statement.execute([from.0, to.0]))
    .doing("copy legacy observations")?;
    Ok(())
}
