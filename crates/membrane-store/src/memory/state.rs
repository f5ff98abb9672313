//! The tables, and what follows from them without changing them.

use std::collections::BTreeSet;
use std::sync::Arc;

use membrane_core::branches::Tombstone;
use membrane_core::checkpoint::Checkpoint;
use membrane_core::crystal::Crystal;
use membrane_core::evidence::{LegacyTotals, is_flipped};
use membrane_core::history::{Cut, Head, History, Span, Tip, TurnMark, TurnRef};
use membrane_core::ids::{CheckpointId, HistoryId, InstanceId, RunId, SegmentId, SessionId};
use membrane_core::role::Role;
use membrane_core::run::{EndedRun, PieceBody, Run};
use membrane_core::session::Session;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Signal, Totals, Turn};

use super::events::EventLog;
use super::keys::{KeyName, KeyRow};
use super::table::Table;
use crate::{OldRow, StoreError, Subject};

/// An append-only run of turns.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// The session that may append to it, while that lives.
    pub(super) owner: Option<SessionId>,
    /// The position that the next turn gets. Never goes down.
    pub(super) next_position: i64,
}

/// A finished turn.
#[derive(Debug, Clone)]
pub(super) struct TurnRow {
    pub(super) turn: Arc<Turn>,
    pub(super) order_at: Timestamp,
    /// What it adds.
    pub(super) own: Totals,
    /// The segment's running totals with it.
    pub(super) sums: Totals,
}

/// A checkpoint and its place in the order of making.
#[derive(Debug, Clone)]
pub(super) struct CheckpointRow {
    pub(super) checkpoint: Checkpoint,
    pub(super) number: u64,
}

/// An unfinished turn.
#[derive(Debug, Clone)]
pub(super) struct RunRow {
    pub(super) run: Run,
    /// When its lease expires, by the store's clock; `None` while it waits for a tool.
    pub(super) lease_until: Option<Timestamp>,
    /// Whether somebody asked for it to stop.
    pub(super) is_to_stop: bool,
}

/// Who has a role.
#[derive(Debug, Clone)]
pub(super) struct LeaderRow {
    pub(super) instance: InstanceId,
    /// When its lease expires, by the store's clock.
    pub(super) until: Timestamp,
}

/// What points at a history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum User {
    Session(SessionId),
    Checkpoint(CheckpointId),
}

/// What a cut adds up to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) tip: Tip,
    /// Successes that count as failures because of a signal.
    pub(super) flipped: i64,
    pub(super) legacy: LegacyTotals,
}

/// All that a keep holds. Tables that end in `_of` are indexes: they hold keys of other tables.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Sessions. What is derived (totals, flips, legacy) is left at zero and filled in by [`State::view`].
    pub(super) sessions: Table<SessionId, Session>,
    /// Sessions in the order of lists.
    pub(super) activity_of: Table<(Timestamp, SessionId), ()>,
    /// Sessions by family.
    pub(super) members_of: Table<(SessionId, SessionId), ()>,
    /// Deleted sessions of families of which others live.
    pub(super) tombstones: Table<SessionId, Tombstone>,
    /// Tombstones by family.
    pub(super) graves_of: Table<(SessionId, SessionId), ()>,
    pub(super) histories: Table<HistoryId, Arc<History>>,
    /// What points at a history.
    pub(super) users_of: Table<(HistoryId, User), ()>,
    pub(super) segments: Table<SegmentId, Segment>,
    /// Which segments a session owns.
    pub(super) segments_of: Table<(SessionId, SegmentId), ()>,
    /// Which histories read from a segment.
    pub(super) readers_of: Table<(SegmentId, HistoryId), ()>,
    pub(super) turns: Table<TurnRef, TurnRow>,
    /// Signals on a turn, oldest first.
    pub(super) signals: Table<TurnRef, Vec<Signal>>,
    pub(super) checkpoints: Table<CheckpointId, CheckpointRow>,
    /// A session's checkpoints in the order of making.
    pub(super) checkpoints_of: Table<(SessionId, u64), CheckpointId>,
    pub(super) crystals: Table<SessionId, Crystal>,
    /// What old files held beyond the rest, in the order in which it was kept.
    pub(super) old_rows: Table<i64, OldRow>,
    /// Old rows by the session that they name.
    pub(super) old_rows_of: Table<(SessionId, i64), ()>,
    /// Unfinished turns by their session, which has at most one.
    pub(super) runs: Table<SessionId, RunRow>,
    /// The session of a run.
    pub(super) session_of_run: Table<RunId, SessionId>,
    pub(super) pieces: Table<(RunId, u64), PieceBody>,
    /// How the runs came that ended last, by their session.
    pub(super) ended_runs: Table<SessionId, EndedRun>,
    pub(super) keys: Table<KeyName, KeyRow>,
    /// Keys by the sessions with which they go.
    pub(super) keys_of: Table<(SessionId, KeyName), ()>,
    /// Who has a role.
    pub(super) leaders: Table<Role, LeaderRow>,
    /// The instances that are alive; no part of any change.
    pub(super) held: BTreeSet<InstanceId>,
    /// What happened; only changes that went well get there.
    pub(super) events: EventLog,
    /// The last number that was given to a segment, a history or a checkpoint.
    pub(super) last_number: i64,
}

/// Applies one method to every table.
macro_rules! each_table {
    ($state:expr, $method:ident) => {{
        $state.sessions.$method();
        $state.activity_of.$method();
        $state.members_of.$method();
        $state.tombstones.$method();
        $state.graves_of.$method();
        $state.histories.$method();
        $state.users_of.$method();
        $state.segments.$method();
        $state.segments_of.$method();
        $state.readers_of.$method();
        $state.turns.$method();
        $state.signals.$method();
        $state.checkpoints.$method();
        $state.checkpoints_of.$method();
        $state.crystals.$method();
        $state.old_rows.$method();
        $state.old_rows_of.$method();
        $state.runs.$method();
        $state.session_of_run.$method();
        $state.pieces.$method();
        $state.ended_runs.$method();
        $state.keys.$method();
        $state.keys_of.$method();
        $state.leaders.$method();
    }};
}

impl State {
    /// Ends a change that went well.
    pub(super) fn keep(&mut self) {
        each_table!(self, keep);
    }

    /// Ends a change that failed.
    pub(super) fn take_back(&mut self) {
        each_table!(self, take_back);
    }

    /// A number that was never given before; a change that fails may leave a hole.
    pub(super) fn next_number(&mut self) -> i64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn session(&self, id: &SessionId) -> Result<&Session, StoreError> {
        self.sessions.get(id).ok_or_else(|| StoreError::not_found(Subject::Session, id))
    }

    /// A session with all that is derived.
    pub(super) fn view(&self, record: &Session) -> Result<Session, StoreError> {
        let standing = self
            .standing(record.cut)
            .map_err(|missing| StoreError::inconsistent("sessions", &record.id, missing))?;
        Ok(Session {
            totals: standing.tip.totals,
            flipped: standing.flipped,
            legacy: standing.legacy,
            ..record.clone()
        })
    }

    pub(super) fn history(&self, id: HistoryId) -> Result<Arc<History>, StoreError> {
        self.histories.get(&id).cloned().ok_or_else(|| StoreError::not_found(Subject::History, id.0))
    }

    /// What a cut adds up to, from its last turn and the signals in it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the history or its last seen turn is not there.
    pub(super) fn standing(&self, cut: Cut) -> Result<Standing, StoreError> {
        let history = self.history(cut.history)?;
        let legacy = LegacyTotals::of(&history.legacy);
        let Some(last) = cut.turn_count.checked_sub(1) else {
            return Ok(Standing { tip: Tip::EMPTY, flipped: 0, legacy });
        };
        let missing =
            || StoreError::not_found(Subject::Turn, format_args!("{last} of history {}", cut.history.0));
        let row = history.locate(last).and_then(|at| self.turns.get(&at)).ok_or_else(missing)?;
        let totals = history.totals_after(last, row.sums).ok_or_else(missing)?;
        let tip = Tip { turn_count: cut.turn_count, totals, last_order_at: Some(row.order_at) };
        Ok(Standing { tip, flipped: self.count_flips(&history, cut.turn_count), legacy })
    }

    /// How many of the first `turn_count` turns count as failures because of a signal.
    pub(super) fn count_flips(&self, history: &History, turn_count: u64) -> i64 {
        let spans = history.spans(turn_count).into_iter();
        let flips = spans.flat_map(|span| self.signals.range(bounds(span))).filter(|(at, _)| self.flips(at));
        i64::try_from(flips.count()).unwrap_or(i64::MAX)
    }

    /// Whether a turn that observed a success counts as a failure.
    pub(super) fn flips(&self, at: &TurnRef) -> bool {
        let latest = self.signals.get(at).and_then(|signals| signals.last()).map(|signal| signal.kind);
        let observes = self.turns.get(at).and_then(|row| row.turn.observes_success());
        is_flipped(observes, latest)
    }

    /// Where the session may append in place: the open end of a segment that it owns, if it stands there.
    pub(super) fn head(&self, session: &Session) -> Option<Head> {
        let history = self.histories.get(&session.cut.history)?;
        let open = history.slices.last().filter(|slice| slice.stop.is_none())?;
        let segment = self.segments.get(&open.segment)?;
        let position = open.offset.checked_add_unsigned(session.cut.turn_count.checked_sub(open.start)?)?;
        let is_head = segment.owner.as_ref() == Some(&session.id) && segment.next_position == position;
        is_head.then_some(Head { segment: open.segment, position })
    }

    pub(super) fn mark(&self, at: TurnRef) -> Option<TurnMark> {
        let row = self.turns.get(&at)?;
        Some(TurnMark { at, order_at: row.order_at, sums: row.sums, own: row.own })
    }

    /// What points at a history.
    pub(super) fn users(&self, history: HistoryId) -> impl Iterator<Item = &User> {
        let first = (history, User::Session(SessionId::from_stored("")));
        self.users_of
            .range(first..)
            .map(|(key, ())| key)
            .take_while(move |key| key.0 == history)
            .map(|key| &key.1)
    }

    /// The histories that read from a segment.
    pub(super) fn readers(&self, segment: SegmentId) -> impl Iterator<Item = HistoryId> {
        let all = (segment, HistoryId(i64::MIN))..=(segment, HistoryId(i64::MAX));
        self.readers_of.range(all).map(|(key, ())| key.1)
    }

    /// A session's checkpoints in the order of making.
    pub(super) fn checkpoints(&self, session: &SessionId) -> impl DoubleEndedIterator<Item = &Checkpoint> {
        self.checkpoints_of
            .range((session.clone(), 0)..=(session.clone(), u64::MAX))
            .filter_map(|(_, id)| self.checkpoints.get(id))
            .map(|row| &row.checkpoint)
    }

    /// The living sessions of a family.
    pub(super) fn members<'a>(&'a self, family: &'a SessionId) -> impl Iterator<Item = &'a SessionId> {
        listed(&self.members_of, family, SessionId::from_stored(""))
    }

    /// The deleted sessions of a family.
    pub(super) fn graves<'a>(&'a self, family: &'a SessionId) -> impl Iterator<Item = &'a SessionId> {
        listed(&self.graves_of, family, SessionId::from_stored(""))
    }
}

/// The second halves of an index's keys whose first half is `of`, from `first` on.
pub(super) fn listed<'a, T: Ord + Clone>(
    index: &'a Table<(SessionId, T), ()>,
    of: &'a SessionId,
    first: T,
) -> impl Iterator<Item = &'a T> {
    let keys = index.range((of.clone(), first)..).map(|(key, ())| key);
    keys.take_while(move |key| key.0 == *of).map(|key| &key.1)
}

/// The identities in a span, as the bounds of a range.
pub(super) fn bounds(span: Span) -> std::ops::Range<TurnRef> {
    let at = |position| TurnRef { segment: span.segment, position };
    at(span.from)..at(span.to.max(span.from))
}
