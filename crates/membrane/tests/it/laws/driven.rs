//! A list of operations carried out through the library on a store, and on plain lists side by side.
//!
//! Here selectors become sessions and numbers. What the laws demand is not here.

use std::sync::Arc;
use std::time::Duration;

use membrane::core::checkpoint::MAX_AUTOMATIC;
use membrane::core::evidence::{Evidence, LegacySet};
use membrane::core::history::TurnRef;
use membrane::core::ids::{InstanceId, LeaseToken, RandomIds, RunId};
use membrane::core::run::{Lease, Run, RunPhase, RunShape};
use membrane::core::session::NewSession;
use membrane::store::change::Origin;
use membrane::store::{Change, Write};
use membrane::{
    Chat, ChatError, CheckpointId, CheckpointKind, ForkOptions, KeptTurn, MergeOptions, MergeStrategy,
    NewTurn, Pick, Session, SessionId, Store, Thread, Timestamp, Turn, TurnId, WriteOptions,
};

use super::drafts;
use super::ops::{Choice, Draft, Ending, How, Op, newest, up_to};
use super::plain::Plain;
use super::world::Lawful;

/// What has happened so far; a case is rich when all of it has.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, each counted by itself")]
pub(crate) struct Facts {
    /// A fork that holds turns was made of a fork.
    pub(crate) fork_of_fork: bool,
    /// Two sessions that both have turns were merged.
    pub(crate) merge: bool,
    /// A rewind took turns of two slices or more.
    pub(crate) rewind_across_slices: bool,
    /// A turn was interrupted.
    pub(crate) interrupted: bool,
}

impl Facts {
    pub(crate) fn is_rich(self) -> bool {
        self.fork_of_fork && self.merge && self.rewind_across_slices && self.interrupted
    }
}

/// A session's turns and evidence, held fast while the store goes on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    pub(crate) turns: Vec<Turn>,
    pub(crate) evidence: Evidence,
}

impl Shown {
    /// The equivalence that the laws speak of.
    pub(crate) fn is_equivalent(&self, other: &Self) -> bool {
        self.evidence.is_equivalent(&other.evidence) && self.turns == other.turns
    }
}

/// One of a session's checkpoints; the plain lists have the same, in the same order.
#[derive(Debug, Clone)]
pub(crate) struct Left {
    pub(crate) id: CheckpointId,
    pub(crate) kind: CheckpointKind,
}

/// Both sides, and what has happened. Sessions are numbered in the order in which they were made.
pub(crate) struct Driven {
    pub(crate) chat: Chat,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) plain: Plain,
    pub(crate) ids: Vec<SessionId>,
    pub(crate) checkpoints: Vec<Vec<Left>>,
    pub(crate) facts: Facts,
    now: i64,
}

impl Driven {
    /// Both sides with one empty session. Ids are random: cases that share a store never meet.
    pub(crate) async fn on(store: &Arc<dyn Store>) -> Self {
        let mut driven = Self {
            chat: Chat::create(Arc::clone(store)),
            store: Arc::clone(store),
            plain: Plain::default(),
            ids: Vec::new(),
            checkpoints: Vec::new(),
            facts: Facts::default(),
            now: 0,
        };
        driven.create(None).await;
        driven
    }

    pub(crate) async fn play_all(&mut self, ops: &[Op]) {
        for op in ops {
            self.play(op).await;
        }
    }

    /// Carries one operation out and gives the session that it changed or made.
    pub(crate) async fn play(&mut self, op: &Op) -> Option<usize> {
        match *op {
            Op::Create { legacy } => Some(self.create(legacy).await),
            Op::Append { session, ref turns } => {
                let session = self.select(session);
                for draft in turns {
                    self.append(session, draft).await;
                }
                Some(session)
            }
            Op::Fork { session, leave_out } => {
                let session = self.select(session);
                let turn_count = self.turn_count(session).await;
                let point = turn_count - up_to(leave_out, turn_count);
                let is_fork = self.session(session).await.fork_point.is_some();
                self.facts.fork_of_fork |= is_fork && point > 0;
                Some(self.fork(session, point).await)
            }
            Op::Rewind { session, turns } => {
                let session = self.select(session);
                let turns = up_to(turns, self.turn_count(session).await);
                self.rewind(session, turns).await;
                Some(session)
            }
            Op::Checkpoint { session } => {
                let session = self.select(session);
                self.checkpoint(session).await;
                Some(session)
            }
            Op::Restore { session, checkpoint } => {
                let session = self.select(session);
                let count = self.checkpoints[session].len();
                if count == 0 {
                    return None;
                }
                self.restore(session, newest(checkpoint, count)).await;
                Some(session)
            }
            Op::Merge { base, other, ref how } => {
                self.merge_op(self.select(base), self.select(other), how).await
            }
            Op::Signal { session, turn, mood } => {
                let session = self.select(session);
                let last = self.turn_count(session).await.checked_sub(1)?;
                let number = i64::try_from(up_to(turn, last)).unwrap();
                self.chat.feedback(&self.ids[session], number, drafts::kind(mood), None, None).await.unwrap();
                self.plain.signal(session, usize::try_from(number).unwrap(), mood);
                None
            }
        }
    }

    /// The session that a selector names.
    pub(crate) fn select(&self, selector: u8) -> usize {
        newest(selector, self.ids.len())
    }

    pub(crate) async fn session(&self, session: usize) -> Session {
        self.chat.find_session(&self.ids[session]).await.unwrap().expect("the session is there")
    }

    pub(crate) async fn turn_count(&self, session: usize) -> u64 {
        self.session(session).await.turn_count()
    }

    pub(crate) async fn kept(&self, session: usize) -> Vec<KeptTurn> {
        self.thread(&self.ids[session]).await.turns
    }

    pub(crate) async fn refs(&self, session: usize) -> Vec<TurnRef> {
        self.kept(session).await.iter().map(|kept| kept.at).collect()
    }

    pub(crate) async fn shown(&self, session: usize) -> Shown {
        self.shown_as(&self.ids[session]).await
    }

    pub(crate) async fn shown_as(&self, id: &SessionId) -> Shown {
        let Thread { session, turns } = self.thread(id).await;
        Shown { evidence: session.evidence(), turns: turns.into_iter().map(|kept| kept.turn).collect() }
    }

    async fn thread(&self, id: &SessionId) -> Thread {
        self.chat.load_turns(id, 0..u64::MAX).await.unwrap().expect("the session is there")
    }

    /// A session of its own; with `legacy`, in tenths, as an importer makes it from an old file's total.
    async fn create(&mut self, legacy: Option<(u8, u8)>) -> usize {
        let tenths = legacy.map(|(alpha, beta)| (f64::from(alpha) / 10.0, f64::from(beta) / 10.0));
        let id = SessionId::generate(&RandomIds);
        let set = tenths.map(|(alpha, beta)| LegacySet::from_total(id.clone(), alpha, beta));
        let origin = Origin::Empty { legacy: set.into_iter().collect() };
        let create = Write::CreateSession { session: NewSession::root(id.clone()), origin, created_at: None };
        self.store.commit(Change::at(Timestamp::from_micros(self.now)).write(create)).await.unwrap();
        self.plain.create(tenths);
        self.open(id)
    }

    fn open(&mut self, id: SessionId) -> usize {
        self.ids.push(id);
        self.checkpoints.push(Vec::new());
        self.ids.len() - 1
    }

    /// A turn more: a complete one at once, any other through a run, as a cancelled answer comes about.
    pub(crate) async fn append(&mut self, session: usize, draft: &Draft) {
        self.now += i64::from(draft.tick);
        self.facts.interrupted |= draft.ending == Ending::Interrupted;
        let run = self.run_of(session, draft);
        if draft.ending == Ending::Complete {
            let turn = run.finish(&drafts::pieces(draft), drafts::end(draft.ending), run.started_at);
            let turn = NewTurn {
                finish_reason: turn.finish_reason,
                started_at: Some(turn.started_at),
                completed_at: Some(turn.completed_at),
                ..NewTurn::new(turn.user.content, turn.assistant.content).items(turn.items)
            };
            self.chat.append(&self.ids[session], turn, WriteOptions::default()).await.unwrap();
        } else {
            self.run_through(&run, draft).await;
        }
        let last = self.turn_count(session).await - 1;
        let loaded = self.chat.load_turns(&self.ids[session], last..u64::MAX).await.unwrap().unwrap();
        self.plain.append(session, draft, loaded.turns[0].at);
    }

    fn run_of(&self, session: usize, draft: &Draft) -> Run {
        Run {
            id: RunId::generate(&RandomIds),
            session: self.ids[session].clone(),
            turn_id: TurnId::generate(&RandomIds),
            user: drafts::user(draft),
            model: None,
            phase: RunPhase::Running,
            lease: Lease { owner: InstanceId::from_stored("here"), token: LeaseToken::generate(&RandomIds) },
            started_at: Timestamp::from_micros(self.now),
            version: 0,
        }
    }

    async fn run_through(&self, run: &Run, draft: &Draft) {
        let at = || Change::at(run.started_at);
        let begin = Write::BeginRun { run: run.clone(), lease_for: Duration::from_secs(3600) };
        self.store.commit(at().write(begin)).await.unwrap();
        let pieces = drafts::pieces(draft);
        let append = Write::AppendPieces { run: run.id.clone(), pieces };
        self.store.commit(at().write(append)).await.unwrap();
        let pieces = self.store.list_pieces(&run.id, 0).await.unwrap();
        let turn = Box::new(run.finish(&pieces, drafts::end(draft.ending), run.started_at));
        self.store
            .commit(at().write(Write::FinishRun { run: run.id.clone(), turn, shape: RunShape::default() }))
            .await
            .unwrap();
    }

    /// A fork that holds the first `point` turns.
    pub(crate) async fn fork(&mut self, session: usize, point: u64) -> usize {
        let list = self.plain.sessions[session].first(usize::try_from(point).unwrap());
        let all = list.turns.len() == self.plain.sessions[session].turns.len();
        self.plain.open(list);
        let fork_point = (!all).then(|| i64::try_from(point).unwrap());
        let fork = self.fork_id(session, fork_point).await;
        self.open(fork)
    }

    /// A fork that the plain lists do not know of.
    pub(crate) async fn fork_id(&self, session: usize, fork_point: Option<i64>) -> SessionId {
        let options = ForkOptions { fork_point, branch_name: Some("f".into()), key: None };
        self.chat.fork(&self.ids[session], options).await.unwrap().id
    }

    /// Turns taken off; taking none off is refused, and nothing happens.
    pub(crate) async fn rewind(&mut self, session: usize, turns: u64) {
        let before = self.session(session).await;
        let rewound = self.chat.rewind(&self.ids[session], turns, WriteOptions::default()).await;
        if turns == 0 {
            assert!(matches!(rewound, Err(ChatError::Refused(_))), "{rewound:?}");
            return;
        }
        let left = rewound.unwrap().turn_count();
        let history = self.store.find_history(before.cut.history).await.unwrap();
        if let Some(history) = history {
            let mut starts = history.slices.iter().map(|slice| slice.start);
            self.facts.rewind_across_slices |=
                starts.any(|start| left < start && start < before.turn_count());
        }
        self.plain.rewind(session, usize::try_from(turns).unwrap());
        self.note_left(session, CheckpointKind::Rewind).await;
    }

    /// A named checkpoint.
    pub(crate) async fn checkpoint(&mut self, session: usize) -> usize {
        self.chat.checkpoint(&self.ids[session], None, None).await.unwrap();
        self.plain.checkpoint(session);
        self.note_left(session, CheckpointKind::Named).await;
        self.checkpoints[session].len() - 1
    }

    pub(crate) async fn restore(&mut self, session: usize, checkpoint: usize) {
        let left = self.checkpoints[session][checkpoint].id.clone();
        let restored = self.chat.restore(&self.ids[session], &left, None).await.unwrap();
        assert_eq!(restored.missing, 0, "no session was deleted");
        self.plain.restore(session, checkpoint);
        self.note_left(session, CheckpointKind::Restore).await;
    }

    /// Takes note of the newest checkpoint, and forgets what the store has dropped for it.
    async fn note_left(&mut self, session: usize, kind: CheckpointKind) {
        let listed = self.chat.list_checkpoints(&self.ids[session]).await.unwrap();
        let known = &mut self.checkpoints[session];
        let new = listed.iter().find(|left| known.iter().all(|known| known.id != left.id));
        let new = new.expect("a checkpoint was left");
        assert_eq!(new.kind, kind);
        known.push(Left { id: new.id.clone(), kind });
        let automatic = known.iter().filter(|left| left.kind.is_automatic()).count();
        if automatic > MAX_AUTOMATIC {
            let oldest = known.iter().position(|left| left.kind.is_automatic()).unwrap();
            known.remove(oldest);
            self.plain.checkpoints[session].remove(oldest);
        }
        assert_eq!(listed.len(), self.checkpoints[session].len());
    }

    async fn merge_op(&mut self, base: usize, other: usize, how: &How) -> Option<usize> {
        let count = self.ids.len();
        if count == 1 {
            return None;
        }
        let other = if base == other { (other + count - 1) % count } else { other };
        let lawful = match how {
            How::Sequential => Lawful::Sequential,
            How::Interleave => Lawful::Interleave,
            How::Manual(choices) => return self.merge_picked(base, other, choices).await,
        };
        let both = self.turn_count(base).await > 0 && self.turn_count(other).await > 0;
        self.facts.merge |= both;
        let list = self.plain.merge(&self.plain.sessions[base], &self.plain.sessions[other], lawful);
        self.plain.open(list);
        let merged = self.merge_ids(&self.ids[base], &self.ids[other], lawful).await;
        Some(self.open(merged))
    }

    async fn merge_picked(&mut self, base: usize, other: usize, choices: &[Choice]) -> Option<usize> {
        let mut picked: Vec<(usize, i64)> = Vec::new();
        for choice in choices {
            let session = if choice.from_other { other } else { base };
            let last = self.turn_count(session).await.saturating_sub(1);
            picked.push((session, i64::try_from(up_to(choice.turn, last)).unwrap()));
        }
        let expected = self.plain.merge_picked([base, other], &picked);
        let pick =
            |&(session, turn_number): &(usize, i64)| Pick { session: self.ids[session].clone(), turn_number };
        let options = MergeOptions {
            branch_name: Some("m".into()),
            ..MergeOptions::picking(picked.iter().map(pick).collect())
        };
        match (self.chat.merge(&self.ids[base], &self.ids[other], options).await, expected) {
            (Ok(merged), Some(list)) => {
                self.facts.merge = true;
                self.plain.open(list);
                Some(self.open(merged.id))
            }
            (Err(ChatError::Refused(_)), None) => None,
            (outcome, expected) => panic!("picking {picked:?} gave {outcome:?}, not {expected:?}"),
        }
    }

    /// The merge of two sessions, which the plain lists do not know of. A session merged with itself is its
    /// merge with a whole fork of it.
    pub(crate) async fn merge_ids(&self, base: &SessionId, other: &SessionId, how: Lawful) -> SessionId {
        let copy;
        let other = if base == other {
            copy = self.chat.fork(base, ForkOptions::default()).await.unwrap().id;
            &copy
        } else {
            other
        };
        let strategy = match how {
            Lawful::Sequential => MergeStrategy::Sequential,
            Lawful::Interleave => MergeStrategy::Interleave,
        };
        let options = MergeOptions { branch_name: Some("m".into()), ..MergeOptions::by(strategy) };
        self.chat.merge(base, other, options).await.unwrap().id
    }
}
