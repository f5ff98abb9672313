//! Removing what nothing reaches any more: turns, histories, segments.
//!
//! Sessions and named checkpoints keep turns alive; automatic checkpoints only those in segments whose owner lives. Only what
//! a deletion touched is looked at, and the segments of that are locked since the change began (`locks.rs`).

use std::collections::{BTreeMap, BTreeSet};

use membrane_core::history::{Cut, Slice, Span};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::merge::subtract;
use membrane_core::turn::Totals;
use membrane_store::StoreError;

use super::tx::Tx;
use crate::read::histories;
use crate::rows::{self, get, unsigned};
use crate::value::values;

/// What a deletion may have made unreachable.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    spans: BTreeMap<SegmentId, Vec<Span>>,
    histories: BTreeSet<HistoryId>,
    /// All that the histories read from.
    segments: BTreeSet<SegmentId>,
}

impl Candidates {
    /// The turns of cuts, and their histories.
    pub(super) async fn add_cuts(&mut self, tx: &mut Tx<'_>, cuts: &[Cut]) -> Result<(), StoreError> {
        let ids: BTreeSet<HistoryId> = cuts.iter().map(|cut| cut.history).collect();
        let found = histories::find_all(tx.db().await?, ids.iter().copied()).await?;
        let found: BTreeMap<_, _> = ids.iter().copied().zip(found).collect();
        for cut in cuts {
            self.histories.insert(cut.history);
            let Some(Some(history)) = found.get(&cut.history) else { continue };
            self.segments.extend(history.slices.iter().map(|slice| slice.segment));
            for span in history.spans(cut.turn_count) {
                self.spans.entry(span.segment).or_default().push(span);
            }
        }
        Ok(())
    }

    /// What a session and its checkpoints see, and all of the segments that it owns: automatic checkpoints of others no longer
    /// hold them.
    pub(super) async fn add_session<'a>(
        &mut self,
        tx: &mut Tx<'a>,
        id: &'a SessionId,
        cut: Cut,
    ) -> Result<(), StoreError> {
        let found = tx
            .ask(
                "read what a session holds",
                "SELECT session_id, history_id, turn_count FROM chat_checkpoints WHERE session_id = $1 \
                 UNION ALL SELECT owner_id, id, NULL FROM segments WHERE owner_id = $1",
                values![id.as_str()],
            )
            .await?;
        let mut cuts = vec![cut];
        for row in &found {
            let (held, turn_count) = rows::read("chat_checkpoints", row, |row| {
                Ok((get::<i64>(row, 1)?, get::<Option<i64>>(row, 2)?))
            })?;
            if let Some(turn_count) = turn_count {
                cuts.push(Cut { history: HistoryId(held), turn_count: unsigned(turn_count) });
            } else {
                let segment = SegmentId(held);
                self.spans.entry(segment).or_default().push(Span { segment, from: 0, to: i64::MAX });
            }
        }
        self.add_cuts(tx, &cuts).await
    }

    /// Deletes what of it nothing reaches. Sessions and checkpoints that go are gone from the tables.
    pub(super) async fn purge(self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let mut reached = reached(tx, self.spans.keys().copied()).await?;
        for (segment, spans) in &self.spans {
            for doomed in subtract(spans, &reached.remove(segment).unwrap_or_default()) {
                delete_turns(tx, doomed);
            }
        }
        for history in self.histories {
            drop_history_if_unused(tx, history);
        }
        let segments: BTreeSet<_> = self.spans.into_keys().chain(self.segments).collect();
        for segment in segments {
            drop_segment_if_unused(tx, segment);
        }
        Ok(())
    }
}

/// What sessions and checkpoints reach of segments.
async fn reached(
    tx: &mut Tx<'_>,
    segments: impl Iterator<Item = SegmentId>,
) -> Result<BTreeMap<SegmentId, Vec<Span>>, StoreError> {
    let found = tx
        .ask(
            "look for what reaches a segment",
            "SELECT sl.segment_id, sl.start, sl.stop, sl.segment_offset, max(s.turn_count) \
             FROM slices sl JOIN chat_sessions s ON s.history_id = sl.history_id \
             WHERE sl.segment_id = ANY($1) GROUP BY sl.history_id, sl.start \
             UNION ALL \
             SELECT sl.segment_id, sl.start, sl.stop, sl.segment_offset, max(c.turn_count) \
             FROM slices sl JOIN chat_checkpoints c ON c.history_id = sl.history_id \
             JOIN segments g ON g.id = sl.segment_id \
             WHERE sl.segment_id = ANY($1) AND (c.kind = 'named' OR g.owner_id IS NOT NULL) \
             GROUP BY sl.history_id, sl.start",
            [crate::value::Value::Ints(segments.map(|segment| segment.0).collect())],
        )
        .await?;
    let mut reached: BTreeMap<SegmentId, Vec<Span>> = BTreeMap::new();
    for row in &found {
        let span = rows::read("slices", row, |row| {
            let slice = Slice {
                start: unsigned(get(row, 1)?),
                stop: get::<Option<i64>>(row, 2)?.map(unsigned),
                segment: SegmentId(get(row, 0)?),
                offset: get(row, 3)?,
                base: Totals::ZERO,
            };
            Ok(slice.span_until(unsigned(get(row, 4)?)))
        })?;
        if let Some(span) = span {
            reached.entry(span.segment).or_default().push(span);
        }
    }
    Ok(reached)
}

/// Deletes turns and what hangs on their identity; a segment that loses some has gaps.
fn delete_turns(tx: &mut Tx<'_>, span: Span) {
    for sql in [
        "DELETE FROM turn_signals WHERE segment_id = $1 AND position >= $2 AND position < $3",
        "DELETE FROM flipped_turns WHERE segment_id = $1 AND position >= $2 AND position < $3",
    ] {
        tx.put("delete turns", sql, values![span.segment.0, span.from, span.to]);
    }
    tx.put_deletion(
        "WITH gone AS ( \
             DELETE FROM turns WHERE segment_id = $1 AND position >= $2 AND position < $3 RETURNING 1), \
         torn AS ( \
             UPDATE segments SET has_gaps = TRUE \
             WHERE id = $1 AND NOT has_gaps AND EXISTS (SELECT 1 FROM gone) RETURNING 1) \
         SELECT count(*) FROM gone",
        values![span.segment.0, span.from, span.to],
    );
}

/// Drops a history that no session and no checkpoint points at. Whoever begins to point at it waits for the lock on its row, and
/// of two that turn away from it at once the later one sees both.
pub(super) fn drop_history_if_unused(tx: &mut Tx<'_>, history: HistoryId) {
    let doing = "drop a history";
    for sql in [
        "SELECT 1 FROM histories WHERE id = $1 FOR UPDATE",
        "DELETE FROM slices WHERE history_id = $1 \
         AND NOT EXISTS (SELECT 1 FROM chat_sessions WHERE history_id = $1) \
         AND NOT EXISTS (SELECT 1 FROM chat_checkpoints WHERE history_id = $1)",
        "DELETE FROM legacy_sets WHERE history_id = $1 \
         AND NOT EXISTS (SELECT 1 FROM chat_sessions WHERE history_id = $1) \
         AND NOT EXISTS (SELECT 1 FROM chat_checkpoints WHERE history_id = $1)",
        "DELETE FROM histories WHERE id = $1 \
         AND NOT EXISTS (SELECT 1 FROM chat_sessions WHERE history_id = $1) \
         AND NOT EXISTS (SELECT 1 FROM chat_checkpoints WHERE history_id = $1)",
    ] {
        tx.put(doing, sql, values![history.0]);
    }
}

/// Drops a segment that no history reads from; its turns, if any are left, were reached by nothing.
pub(super) fn drop_segment_if_unused(tx: &mut Tx<'_>, segment: SegmentId) {
    for sql in [
        "DELETE FROM turn_signals WHERE segment_id = $1 \
         AND NOT EXISTS (SELECT 1 FROM slices WHERE segment_id = $1)",
        "DELETE FROM flipped_turns WHERE segment_id = $1 \
         AND NOT EXISTS (SELECT 1 FROM slices WHERE segment_id = $1)",
    ] {
        tx.put("drop a segment", sql, values![segment.0]);
    }
    tx.put_deletion(
        "WITH gone AS ( \
             DELETE FROM turns WHERE segment_id = $1 \
             AND NOT EXISTS (SELECT 1 FROM slices WHERE segment_id = $1) RETURNING 1) \
         SELECT count(*) FROM gone",
        values![segment.0],
    );
    tx.put(
        "drop a segment",
        "DELETE FROM segments WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM slices WHERE segment_id = $1)",
        values![segment.0],
    );
}
