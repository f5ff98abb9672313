//! Appending finished turns.

use membrane_core::history::{Head, Placement, Slice};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::turn::{Totals, Turn};
use membrane_store::codec::{self, TurnText};
use membrane_store::{StoreError, Subject};

use super::purge;
use super::record::{Dirty, Record};
use super::tx::Tx;
use crate::read::histories;
use crate::rows::signed;
use crate::value::{Value, values};

/// What of a turn's row follows from the turn alone.
#[derive(Debug)]
pub(crate) struct MeasuredTurn {
    text: TurnText,
    own: Totals,
    observes: Option<bool>,
}

impl MeasuredTurn {
    pub(crate) fn new(turn: &Turn) -> Result<Self, StoreError> {
        Ok(Self { text: codec::encode_turn(turn)?, own: turn.measures(), observes: turn.observes_success() })
    }
}

/// Rows of turns, each as a `membrane_turn_row`.
#[derive(Debug, Default)]
pub(crate) struct TurnRows<'a>(Vec<Vec<Value<'a>>>);

/// The columns of a row, in order; where there are two of a name, after the name of what they are of.
macro_rules! turn_columns {
    () => {
        $crate::apply::turn_columns!("")
    };
    ($of:literal) => {
        $crate::apply::turn_columns!($of:
            "segment_id" "position" "order_at" "started_at" "completed_at"
            "own_tool_calls" "own_tokens" "own_chars" "own_code_blocks" "sum_succeeded"
            "sum_failed" "sum_tool_calls" "sum_tokens" "sum_chars" "sum_code_blocks"
            "observes" "id" "status" "user_linearity" "assistant_linearity"
            "tools_json" "extra_json" "user_message" "assistant_response"
        )
    };
    ($of:literal: $first:literal $($column:literal)*) => {
        concat!($of, $first $(, ", ", $of, $column)*)
    };
}
pub(crate) use turn_columns;

impl<'a> TurnRows<'a> {
    /// Adds the row of a turn, which belongs to a statement's session at this place.
    fn push(
        &mut self,
        place: i64,
        at: Head,
        turn: &'a Turn,
        measured: &'a MeasuredTurn,
        placement: &Placement,
    ) {
        let (own, sums) = (placement.own, placement.sums);
        let text = &measured.text;
        self.0.push(
            values![
                place,
                at.segment.0,
                at.position,
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
                measured.observes,
                turn.id.as_str(),
                turn.status.as_str(),
                turn.user.linearity.as_str(),
                turn.assistant.linearity.as_str(),
                &text.tools_json,
                &text.extra_json,
                &turn.user.content,
                &turn.assistant.content,
            ]
            .into(),
        );
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn into_value(self) -> Value<'a> {
        Value::Rows(self.0)
    }

    /// The columns of the first row, without its place.
    pub(crate) fn into_first(self) -> impl Iterator<Item = Value<'a>> {
        self.0.into_iter().next().into_iter().flatten().skip(1)
    }
}

/// Puts turns at the end of a record that has a head.
pub(crate) fn extend<'a>(
    record: &mut Record,
    head: Head,
    place: i64,
    turns: &'a [Turn],
    measured: &'a [MeasuredTurn],
    rows: &mut TurnRows<'a>,
) {
    let mut tip = record.tip();
    let mut position = head.position;
    for (turn, measured) in turns.iter().zip(measured) {
        let placement = tip.push_measured(turn.started_at, measured.own);
        rows.push(place, Head { position, ..head }, turn, measured, &placement);
        position += 1;
    }
    record.cut.turn_count = tip.turn_count;
    record.totals = tip.totals;
    record.last_order_at = tip.last_order_at;
    record.head = Some(Head { position, ..head });
}

/// Appends at the session's end: in place while it has a head, else into a fresh segment.
pub(super) async fn append<'a>(
    tx: &mut Tx<'a>,
    session: &SessionId,
    turns: &'a [Turn],
    measured: &'a [MeasuredTurn],
) -> Result<(), StoreError> {
    if turns.is_empty() {
        return tx.record(session).map(|_| ());
    }
    let head = match tx.record(session)?.head {
        Some(head) => head,
        None => open_head(tx, session).await?,
    };
    let now = tx.now_text.clone();
    let record = tx.record(session)?;
    let mut rows = TurnRows::default();
    extend(record, head, 0, turns, measured, &mut rows);
    record.touch(&now);
    record.mark(Dirty::All);
    tx.put("insert a turn", INSERT, [rows.into_value()]);
    tx.tally.turns += i64::try_from(turns.len()).unwrap_or(i64::MAX);
    tx.raise(session)
}

const INSERT: &str = concat!(
    "INSERT INTO turns (",
    turn_columns!(),
    ") SELECT ",
    turn_columns!(),
    " FROM unnest($1::membrane_turn_row[])"
);

/// Gives a session a new history: its prefix's slices, then a fresh segment of its own.
async fn open_head(tx: &mut Tx<'_>, session: &SessionId) -> Result<Head, StoreError> {
    let record = tx.record(session)?;
    let (family, cut) = (record.family.clone(), record.cut);
    tx.put("lock a history's segments", SHARE_SEGMENTS_OF, values![cut.history.0]);
    let old = histories::find(tx.db().await?, cut.history)
        .await?
        .ok_or_else(|| StoreError::not_found(Subject::History, cut.history.0))?;
    let segment = insert_segment(tx, &family, session).await?;
    let history = insert_history(tx, &family).await?;
    for slice in &old.branch(cut.turn_count, segment).slices {
        insert_slice(tx, history, slice);
    }
    tx.put(
        "copy legacy observations",
        "INSERT INTO legacy_sets (history_id, origin_id, alpha, beta) \
         SELECT $2, origin_id, alpha, beta FROM legacy_sets WHERE history_id = $1",
        values![cut.history.0, history.0],
    );
    let head = Head { segment, position: 0 };
    let record = tx.record(session)?;
    record.cut.history = history;
    record.head = Some(head);
    record.mark(Dirty::All);
    tx.flush();
    purge::drop_history_if_unused(tx, cut.history);
    for slice in &old.slices {
        purge::drop_segment_if_unused(tx, slice.segment);
    }
    Ok(head)
}

const SHARE_SEGMENTS_OF: &str = "SELECT id FROM segments \
     WHERE id = ANY(ARRAY(SELECT segment_id FROM slices WHERE history_id = $1)) ORDER BY id FOR SHARE";

/// A fresh segment that the session owns and that nobody else appends to.
pub(super) async fn insert_segment(
    tx: &mut Tx<'_>,
    family: &SessionId,
    owner: &SessionId,
) -> Result<SegmentId, StoreError> {
    let id = number(tx, family).await?;
    tx.put(
        "insert a segment",
        "INSERT INTO segments (id, family_id, owner_id) VALUES ($1, $2, $3)",
        values![id, family.to_string(), owner.to_string()],
    );
    Ok(SegmentId(id))
}

/// A history without slices yet.
pub(super) async fn insert_history(tx: &mut Tx<'_>, family: &SessionId) -> Result<HistoryId, StoreError> {
    let id = number(tx, family).await?;
    tx.put(
        "insert a history",
        "INSERT INTO histories (id, family_id) VALUES ($1, $2)",
        values![id, family.to_string()],
    );
    Ok(HistoryId(id))
}

async fn number(tx: &Tx<'_>, family: &SessionId) -> Result<i64, StoreError> {
    let numbers = tx.numbers(family, 1).await?;
    numbers
        .first()
        .copied()
        .ok_or_else(|| StoreError::inconsistent("membrane_numbers", family, "it gives none"))
}

/// One slice of a history.
pub(super) fn insert_slice(tx: &mut Tx<'_>, history: HistoryId, slice: &Slice) {
    tx.put(
        "insert a slice",
        "INSERT INTO slices (history_id, start, stop, segment_id, segment_offset, base_succeeded, \
         base_failed, base_tool_calls, base_tokens, base_chars, base_code_blocks) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        values![
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
        ],
    );
}
