//! Removing what nothing reaches any more: turns, histories, segments.
//!
//! Sessions and named checkpoints keep turns alive; automatic checkpoints only those in segments whose
//! owner lives. Only what a deletion touched is looked at.

use std::collections::{BTreeMap, BTreeSet};

use membrane_core::history::{Cut, Slice, Span};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::merge::subtract;
use membrane_core::turn::Totals;
use membrane_store::StoreError;
use rusqlite::{Connection, params};

use crate::counts::Tally;
use crate::error::Doing;
use crate::read::histories;
use crate::rows::{self, unsigned};

/// What a deletion may have made unreachable.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    spans: BTreeMap<SegmentId, Vec<Span>>,
    histories: BTreeSet<HistoryId>,
}

impl Candidates {
    /// The turns of a cut, and its history.
    pub(super) fn add_cut(&mut self, conn: &Connection, cut: Cut) -> Result<(), StoreError> {
        self.histories.insert(cut.history);
        if let Some(history) = histories::find(conn, cut.history)? {
            for span in history.spans(cut.turn_count) {
                self.spans.entry(span.segment).or_default().push(span);
            }
        }
        Ok(())
    }

    /// What a session's checkpoints see.
    pub(super) fn add_checkpoints_of(&mut self, conn: &Connection, id: &SessionId) -> Result<(), StoreError> {
        let doing = "read a session's checkpoints";
        let cuts = {
            let mut statement = conn
                .prepare_cached("SELECT history_id, turn_count FROM chat_checkpoints WHERE session_id = ?1")
                .doing(doing)?;
            let mut found = statement.query([id.as_str()]).doing(doing)?;
            rows::collect(&mut found, |row| {
                let history = HistoryId(row.get(0).doing(doing)?);
                Ok(Cut { history, turn_count: unsigned(row.get(1).doing(doing)?) })
            })?
        };
        cuts.into_iter().try_for_each(|cut| self.add_cut(conn, cut))
    }

    /// All of the segments that a session owns: automatic checkpoints of others no longer hold them.
    pub(super) fn add_segments_of(&mut self, conn: &Connection, id: &SessionId) -> Result<(), StoreError> {
        let doing = "read a session's segments";
        let mut statement =
            conn.prepare_cached("SELECT id FROM segments WHERE owner_id = ?1").doing(doing)?;
        let mut found = statement.query([id.as_str()]).doing(doing)?;
        for segment in rows::collect(&mut found, |row| row.get(0).doing(doing))? {
            let segment = SegmentId(segment);
            self.spans.entry(segment).or_default().push(Span { segment, from: 0, to: i64::MAX });
        }
        Ok(())
    }

    /// Deletes what of it nothing reaches. Sessions and checkpoints that go are gone from the tables.
    pub(super) fn purge(self, conn: &Connection, tally: &mut Tally) -> Result<(), StoreError> {
        for (segment, spans) in &self.spans {
            let reached = reached(conn, *segment)?;
            let mut is_torn = false;
            for doomed in subtract(spans, &reached) {
                is_torn |= delete_turns(conn, doomed, tally)?;
            }
            if is_torn {
                execute(conn, "UPDATE segments SET has_gaps = 1 WHERE id = ?1", segment.0)?;
            }
        }
        self.histories.iter().try_for_each(|history| drop_history_if_unused(conn, *history, tally))?;
        self.spans.keys().try_for_each(|segment| drop_segment_if_unused(conn, *segment, tally))
    }
}

/// What sessions and checkpoints reach of a segment.
fn reached(conn: &Connection, segment: SegmentId) -> Result<Vec<Span>, StoreError> {
    let doing = "look for what reaches a segment";
    let mut statement = conn
        .prepare_cached(
            "SELECT sl.start, sl.stop, sl.segment_offset, max(s.turn_count) \
             FROM slices sl JOIN chat_sessions s ON s.history_id = sl.history_id \
             WHERE sl.segment_id = ?1 GROUP BY sl.history_id, sl.start \
             UNION ALL \
             SELECT sl.start, sl.stop, sl.segment_offset, max(c.turn_count) \
             FROM slices sl JOIN chat_checkpoints c ON c.history_id = sl.history_id \
             WHERE sl.segment_id = ?1 AND (c.kind = 'named' \
                 OR (SELECT owner_id FROM segments WHERE id = ?1) IS NOT NULL) \
             GROUP BY sl.history_id, sl.start",
        )
        .doing(doing)?;
    let mut found = statement.query([segment.0]).doing(doing)?;
    let spans = rows::collect(&mut found, |row| {
        let slice = Slice {
            start: unsigned(row.get(0).doing(doing)?),
            stop: row.get::<_, Option<i64>>(1).doing(doing)?.map(unsigned),
            segment,
            offset: row.get(2).doing(doing)?,
            base: Totals::ZERO,
        };
        Ok(slice.span_until(unsigned(row.get(3).doing(doing)?)))
    })?;
    Ok(spans.into_iter().flatten().collect())
}

/// Deletes turns and what hangs on their identity; says whether there were any.
fn delete_turns(conn: &Connection, span: Span, tally: &mut Tally) -> Result<bool, StoreError> {
    let mut deleted = 0;
    for sql in [
        "DELETE FROM turn_signals WHERE segment_id = ?1 AND position >= ?2 AND position < ?3",
        "DELETE FROM flipped_turns WHERE segment_id = ?1 AND position >= ?2 AND position < ?3",
        "DELETE FROM turns WHERE segment_id = ?1 AND position >= ?2 AND position < ?3",
    ] {
        deleted = conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![span.segment.0, span.from, span.to]))
            .doing("delete turns")?;
    }
    tally.turns -= i64::try_from(deleted).unwrap_or(i64::MAX);
    Ok(deleted > 0)
}

/// Drops a history that no session and no checkpoint points at, and segments that only it read from.
pub(super) fn drop_history_if_unused(
    conn: &Connection,
    history: HistoryId,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let doing = "drop a history";
    let is_used: bool = conn
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM chat_sessions WHERE history_id = ?1) \
             OR EXISTS (SELECT 1 FROM chat_checkpoints WHERE history_id = ?1)",
        )
        .and_then(|mut statement| statement.query_row([history.0], |row| row.get(0)))
        .doing(doing)?;
    if is_used {
        return Ok(());
    }
    let segments = {
        let mut statement = conn
            .prepare_cached("SELECT DISTINCT segment_id FROM slices WHERE history_id = ?1")
            .doing(doing)?;
        let mut found = statement.query([history.0]).doing(doing)?;
        rows::collect(&mut found, |row| row.get(0).doing(doing))?
    };
    execute(conn, "DELETE FROM slices WHERE history_id = ?1", history.0)?;
    execute(conn, "DELETE FROM legacy_sets WHERE history_id = ?1", history.0)?;
    execute(conn, "DELETE FROM histories WHERE id = ?1", history.0)?;
    segments.into_iter().try_for_each(|segment| drop_segment_if_unused(conn, SegmentId(segment), tally))
}

/// Drops a segment that no history reads from; its turns, if any are left, were reached by nothing.
fn drop_segment_if_unused(
    conn: &Connection,
    segment: SegmentId,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let is_used: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM slices WHERE segment_id = ?1)")
        .and_then(|mut statement| statement.query_row([segment.0], |row| row.get(0)))
        .doing("drop a segment")?;
    if is_used {
        return Ok(());
    }
    delete_turns(conn, Span { segment, from: 0, to: i64::MAX }, tally)?;
    execute(conn, "DELETE FROM segments WHERE id = ?1", segment.0)
}

fn execute(conn: &Connection, sql: &'static str, id: i64) -> Result<(), StoreError> {
    conn.prepare_cached(sql).and_then(|mut statement| statement.execute([id])).map(|_| ()).doing(sql)
}
