//! A world of sessions held in plain collections, which does what operations say by calling the rules.
//!
//! It keeps what a store keeps (segments, histories, sessions, checkpoints, signals) and decides nothing
//! itself. What the outcome should be is not here: that is in [`super::plain`] and in the laws.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use membrane_core::checkpoint::{Checkpoint, CheckpointKind};
use membrane_core::diff::equivalent;
use membrane_core::error::DomainError;
use membrane_core::evidence::{Evidence, LegacySet, LegacyTotals, is_flipped, unite_legacy};
use membrane_core::history::{Cut, Head, History, Placement, Slice, Span, Tip, TurnMark, TurnRef};
use membrane_core::ids::{
    CheckpointId, HistoryId, InstanceId, LeaseToken, RunId, SegmentId, SequentialIds, SessionId, TurnId,
};
use membrane_core::merge::{self, Pick};
use membrane_core::run::{Lease, Run, RunPhase};
use membrane_core::session::{NewSession, Session};
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Signal, Totals, Turn};

use super::drafts;
use super::ops::{Draft, Mood};

/// The turns and the evidence that a cut shows, held fast while the world goes on.
#[derive(Debug, Clone)]
pub(crate) struct Thread {
    pub(crate) turns: Vec<Rc<Turn>>,
    pub(crate) evidence: Evidence,
}

impl Thread {
    /// The equivalence that the laws speak of.
    pub(crate) fn is_equivalent(&self, other: &Self) -> bool {
        equivalent(
            (self.turns.iter().map(Rc::as_ref), self.evidence),
            (other.turns.iter().map(Rc::as_ref), other.evidence),
        )
    }
}

/// A way to merge that has laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lawful {
    Sequential,
    Interleave,
}

struct Row {
    turn: Rc<Turn>,
    place: Placement,
}

struct Segment {
    owner: usize,
    next_position: i64,
}

/// Sessions are numbered in the order in which they were made.
pub(crate) struct World {
    ids: SequentialIds,
    now: Timestamp,
    segments: Vec<Segment>,
    rows: BTreeMap<TurnRef, Row>,
    histories: Vec<History>,
    sessions: Vec<Session>,
    checkpoints: Vec<Vec<Checkpoint>>,
    signals: BTreeMap<TurnRef, Vec<Signal>>,
    flipped: BTreeSet<TurnRef>,
}

impl World {
    /// A world with one empty session.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            ids: SequentialIds::default(),
            now: Timestamp::from_micros(1_000),
            segments: Vec::new(),
            rows: BTreeMap::new(),
            histories: Vec::new(),
            sessions: Vec::new(),
            checkpoints: Vec::new(),
            signals: BTreeMap::new(),
            flipped: BTreeSet::new(),
        };
        world.create(None);
        world
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The session as a store would load it.
    pub(crate) fn session(&self, session: usize) -> Session {
        let held = &self.sessions[session];
        Session { flipped: self.flipped_in(held.cut), ..held.clone() }
    }

    /// Where the session points.
    pub(crate) fn cut(&self, session: usize) -> Cut {
        self.sessions[session].cut
    }

    /// The history that a cut is one of.
    pub(crate) fn history(&self, cut: Cut) -> &History {
        &self.histories[usize::try_from(cut.history.0).unwrap()]
    }

    /// The session's checkpoints, oldest first.
    pub(crate) fn checkpoints(&self, session: usize) -> &[Checkpoint] {
        &self.checkpoints[session]
    }

    /// What a cut reads.
    pub(crate) fn spans(&self, cut: Cut) -> Vec<Span> {
        self.history(cut).spans(cut.turn_count)
    }

    /// The identities of a cut's turns, in order.
    pub(crate) fn refs(&self, cut: Cut) -> Vec<TurnRef> {
        self.spans(cut).into_iter().flat_map(Span::refs).collect()
    }

    /// What a cut shows.
    pub(crate) fn thread(&self, cut: Cut) -> Thread {
        let turns = self.refs(cut).iter().map(|at| Rc::clone(&self.rows[at].turn)).collect();
        Thread { turns, evidence: self.evidence(cut) }
    }

    /// The evidence at a cut, from running totals.
    pub(crate) fn evidence(&self, cut: Cut) -> Evidence {
        let legacy = LegacyTotals::of(&self.history(cut).legacy);
        Evidence::derive(self.tip(cut).totals, self.flipped_in(cut), legacy)
    }

    /// The end of a cut.
    pub(crate) fn tip(&self, cut: Cut) -> Tip {
        let Some(last) = cut.turn_count.checked_sub(1) else { return Tip::EMPTY };
        let history = self.history(cut);
        let place = self.rows[&history.locate(last).unwrap()].place;
        let totals = history.totals_after(last, place.sums).unwrap();
        Tip { turn_count: cut.turn_count, totals, last_order_at: Some(place.order_at) }
    }

    /// Whether a cut's turns stand in the order of interleaving.
    pub(crate) fn stands_in_order(&self, cut: Cut) -> bool {
        self.refs(cut).iter().map(|at| (self.rows[at].place.order_at, *at)).is_sorted()
    }

    /// A new session; with `legacy`, one whose old total was this.
    pub(crate) fn create(&mut self, legacy: Option<(f64, f64)>) -> usize {
        let id = SessionId::generate(&self.ids);
        let legacy = legacy.map(|(alpha, beta)| LegacySet::from_total(id.clone(), alpha, beta));
        let segment = self.open_segment(self.len());
        let slice = Slice { start: 0, stop: None, segment, offset: 0, base: Totals::ZERO };
        let history = self.keep(History { slices: vec![slice], legacy: legacy.into_iter().collect() });
        self.add(NewSession::root(id), Cut { history, turn_count: 0 })
    }

    /// Finishes the draft as a turn of the session and gives its identity.
    pub(crate) fn append(&mut self, session: usize, draft: &Draft) -> TurnRef {
        let step = Duration::from_micros(u64::from(draft.tick.unsigned_abs()));
        self.now = if draft.tick < 0 { self.now.minus(step) } else { self.now.plus(step) };
        let turn = self.finish(session, draft);
        let cut = self.cut(session);
        let mut tip = self.tip(cut);
        let place = tip.push(&turn);
        let history = if self.head(session).is_some() {
            cut.history
        } else {
            let fresh = self.open_segment(session);
            self.keep(self.history(cut).branch(cut.turn_count, fresh))
        };
        let cut = Cut { history, turn_count: tip.turn_count };
        let at = self.give(self.history(cut).slices.last().unwrap().segment);
        let before = self.rows.insert(at, Row { turn: Rc::new(turn), place });
        assert!(before.is_none(), "the identity {at:?} was given twice");
        self.point(session, cut);
        at
    }

    /// Where the session may append in place: it owns the open segment and stands at its end.
    pub(crate) fn head(&self, session: usize) -> Option<Head> {
        let cut = self.cut(session);
        let open = self.history(cut).slices.last().filter(|slice| slice.stop.is_none())?;
        let segment = &self.segments[usize::try_from(open.segment.0).unwrap()];
        let position = open.offset.checked_add_unsigned(cut.turn_count.checked_sub(open.start)?)?;
        let stands_at_its_end = segment.owner == session && segment.next_position == position;
        stands_at_its_end.then_some(Head { segment: open.segment, position })
    }

    /// A fork of the first `fork_point` turns, or of all.
    pub(crate) fn fork(&mut self, session: usize, fork_point: Option<i64>) -> Result<usize, DomainError> {
        let source = self.session(session);
        let turn_count = source.resolve_fork_point(fork_point)?;
        let new = NewSession {
            family: source.family,
            parent_id: Some(source.id),
            fork_point: Some(turn_count),
            ..NewSession::root(SessionId::generate(&self.ids))
        };
        Ok(self.add(new, Cut { turn_count, ..source.cut }))
    }

    /// Takes turns off the end, leaves a checkpoint and gives its number.
    pub(crate) fn rewind(&mut self, session: usize, turns: u64) -> Result<usize, DomainError> {
        let turn_count = self.session(session).resolve_rewind(turns)?;
        let left = self.leave(session, CheckpointKind::Rewind);
        self.point(session, Cut { turn_count, ..self.cut(session) });
        Ok(left)
    }

    /// Leaves a named checkpoint and gives its number.
    pub(crate) fn checkpoint(&mut self, session: usize) -> usize {
        self.leave(session, CheckpointKind::Named)
    }

    /// Returns to a checkpoint, leaves another one and gives its number.
    pub(crate) fn restore(&mut self, session: usize, checkpoint: usize) -> usize {
        let cut = self.checkpoints[session][checkpoint].cut;
        let left = self.leave(session, CheckpointKind::Restore);
        self.point(session, cut);
        left
    }

    /// Merges two cuts into a new history.
    pub(crate) fn merge(&mut self, left: Cut, right: Cut, how: Lawful) -> Cut {
        let spans = match how {
            Lawful::Sequential => merge::sequential(&self.spans(left), &self.spans(right)),
            Lawful::Interleave => merge::interleave(&self.marks(left), &self.marks(right)),
        };
        self.lay_out(left, right, &spans)
    }

    /// Merges what was picked, as (session, turn number), of two sessions.
    pub(crate) fn merge_picked(
        &mut self,
        sessions: [usize; 2],
        picked: &[(usize, i64)],
    ) -> Result<Cut, DomainError> {
        let pick = |&(session, turn_number): &(usize, i64)| {
            let session = self.sessions[session].id.clone();
            Pick { session, turn_number }
        };
        let picks: Vec<Pick> = picked.iter().map(pick).collect();
        let spans = merge::manual(&picks, |pick| {
            let of_pick = |session: &&usize| self.sessions[**session].id == pick.session;
            let Some(&session) = sessions.iter().find(of_pick) else {
                return Err(DomainError::PickFromElsewhere { session: pick.session.clone() });
            };
            let number = self.sessions[session].resolve_turn_number(pick.turn_number)?;
            Ok(self.history(self.cut(session)).locate(number).unwrap())
        })?;
        let [left, right] = sessions.map(|session| self.cut(session));
        Ok(self.lay_out(left, right, &spans))
    }

    /// A session that points at a merge's history.
    pub(crate) fn open(&mut self, base: usize, cut: Cut) -> usize {
        let base = &self.sessions[base];
        let (family, parent_id) = (base.family.clone(), Some(base.id.clone()));
        let new = NewSession { family, parent_id, ..NewSession::root(SessionId::generate(&self.ids)) };
        self.add(new, cut)
    }

    /// Says something of a turn of the session.
    pub(crate) fn signal(&mut self, session: usize, turn_number: i64, mood: Mood) -> Result<(), DomainError> {
        let number = self.session(session).resolve_turn_number(turn_number)?;
        let at = self.history(self.cut(session)).locate(number).unwrap();
        let signal = Signal { kind: drafts::kind(mood), comment: None, created_at: self.now };
        let said = self.signals.entry(at).or_default();
        said.push(signal);
        if is_flipped(self.rows[&at].turn.observes_success(), said.last().map(|signal| signal.kind)) {
            self.flipped.insert(at);
        } else {
            self.flipped.remove(&at);
        }
        Ok(())
    }

    fn lay_out(&mut self, left: Cut, right: Cut, spans: &[Span]) -> Cut {
        let marks = merge::ends(spans).into_iter().map(|at| (at, self.mark(at))).collect();
        let slices = merge::lay_out(spans, &marks).unwrap();
        let turn_count = spans.iter().map(Span::len).sum();
        let legacy = unite_legacy(&self.history(left).legacy, &self.history(right).legacy);
        Cut { history: self.keep(History { slices, legacy }), turn_count }
    }

    fn marks(&self, cut: Cut) -> Vec<TurnMark> {
        self.refs(cut).into_iter().map(|at| self.mark(at)).collect()
    }

    fn mark(&self, at: TurnRef) -> TurnMark {
        let Placement { order_at, own, sums, .. } = self.rows[&at].place;
        TurnMark { at, order_at, sums, own }
    }

    fn flipped_in(&self, cut: Cut) -> i64 {
        let flipped = self.refs(cut).into_iter().filter(|at| self.flipped.contains(at)).count();
        i64::try_from(flipped).unwrap()
    }

    fn finish(&self, session: usize, draft: &Draft) -> Turn {
        let run = Run {
            id: RunId::generate(&self.ids),
            session: self.sessions[session].id.clone(),
            turn_id: TurnId::generate(&self.ids),
            user: drafts::user(draft),
            model: None,
            phase: RunPhase::Running,
            lease: Lease { owner: InstanceId::from_stored("here"), token: LeaseToken::generate(&self.ids) },
            started_at: self.now,
            version: 1,
        };
        run.finish(&drafts::pieces(draft), drafts::end(draft.ending), self.now)
    }

    fn open_segment(&mut self, owner: usize) -> SegmentId {
        self.segments.push(Segment { owner, next_position: 0 });
        SegmentId(i64::try_from(self.segments.len() - 1).unwrap())
    }

    /// The segment's next position, which is never given again.
    fn give(&mut self, segment: SegmentId) -> TurnRef {
        let next = &mut self.segments[usize::try_from(segment.0).unwrap()].next_position;
        let position = *next;
        *next += 1;
        TurnRef { segment, position }
    }

    fn keep(&mut self, history: History) -> HistoryId {
        self.histories.push(history);
        HistoryId(i64::try_from(self.histories.len() - 1).unwrap())
    }

    fn leave(&mut self, session: usize, kind: CheckpointKind) -> usize {
        let id = CheckpointId::generate(&self.ids);
        let Session { id: session_id, cut, .. } = self.sessions[session].clone();
        let checkpoint = Checkpoint { id, session: session_id, cut, name: None, kind, created_at: self.now };
        self.checkpoints[session].push(checkpoint);
        self.checkpoints[session].len() - 1
    }

    fn point(&mut self, session: usize, cut: Cut) {
        let (totals, legacy) = (self.tip(cut).totals, LegacyTotals::of(&self.history(cut).legacy));
        let session = &mut self.sessions[session];
        session.version += 1;
        (session.cut, session.totals, session.legacy) = (cut, totals, legacy);
    }

    fn add(&mut self, new: NewSession, cut: Cut) -> usize {
        self.checkpoints.push(Vec::new());
        self.sessions.push(Session {
            id: new.id,
            family: new.family,
            project_id: new.project_id,
            parent_id: new.parent_id,
            fork_point: new.fork_point,
            branch_name: new.branch_name,
            title: new.title,
            tags: new.tags,
            pinned: false,
            archived: false,
            trailing: false,
            metadata: new.metadata,
            state: State::Idle,
            is_merged: false,
            merged_into: None,
            version: 0,
            cut,
            totals: Totals::ZERO,
            flipped: 0,
            legacy: LegacyTotals::default(),
            created_at: self.now,
            last_active: self.now,
        });
        self.point(self.len() - 1, cut);
        self.len() - 1
    }
}
