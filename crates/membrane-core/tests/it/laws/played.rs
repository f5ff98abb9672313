//! A list of operations carried out on the world and on plain lists side by side.
//!
//! Here selectors become sessions and numbers. Apart from seeing that the two sides stay together, comparing
//! them is left to the laws.

use std::ops::BitOrAssign;

use membrane_core::history::TurnRef;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::ops::{Choice, Ending, How, Op, newest, up_to};
use super::plain::Plain;
use super::world::{Lawful, World};

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
    /// Whether all of it has happened.
    pub(crate) fn is_rich(self) -> bool {
        self.fork_of_fork && self.merge && self.rewind_across_slices && self.interrupted
    }
}

impl BitOrAssign for Facts {
    fn bitor_assign(&mut self, other: Self) {
        self.fork_of_fork |= other.fork_of_fork;
        self.merge |= other.merge;
        self.rewind_across_slices |= other.rewind_across_slices;
        self.interrupted |= other.interrupted;
    }
}

/// What one operation did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    /// The session that was changed or made; `None` if nothing happened, or only a signal.
    pub(crate) session: Option<usize>,
    /// The identities that were given, in order.
    pub(crate) given: Vec<TurnRef>,
}

/// Both sides, and what has happened.
pub(crate) struct Played {
    pub(crate) world: World,
    pub(crate) plain: Plain,
    pub(crate) facts: Facts,
}

impl Played {
    /// Both sides with one empty session.
    pub(crate) fn new() -> Self {
        let mut plain = Plain::default();
        plain.create(None);
        Self { world: World::new(), plain, facts: Facts::default() }
    }

    /// Both sides after these operations.
    pub(crate) fn after(ops: &[Op]) -> Result<Self, TestCaseError> {
        let mut played = Self::new();
        for op in ops {
            played.play(op)?;
        }
        Ok(played)
    }

    /// The session that a selector names.
    pub(crate) fn select(&self, selector: u8) -> usize {
        newest(selector, self.world.len())
    }

    /// Carries one operation out; fails when the two sides go apart, for then they cannot go on together.
    pub(crate) fn play(&mut self, op: &Op) -> Result<Done, TestCaseError> {
        let done = self.carry_out(op);
        prop_assert_eq!(self.world.len(), self.plain.sessions.len(), "sessions after {:?}", op);
        if let Some(session) = done.session {
            let shown = self.world.refs(self.world.cut(session));
            let expected = self.plain.refs(&self.plain.sessions[session]);
            prop_assert_eq!(shown, expected, "session {} and its plain list after {:?}", session, op);
        }
        Ok(done)
    }

    fn carry_out(&mut self, op: &Op) -> Done {
        match *op {
            Op::Create { legacy } => {
                let tenths = |(alpha, beta)| (f64::from(alpha) / 10.0, f64::from(beta) / 10.0);
                self.plain.create(legacy.map(tenths));
                changed(self.world.create(legacy.map(tenths)))
            }
            Op::Append { session, ref turns } => {
                let session = self.select(session);
                let mut given = Vec::with_capacity(turns.len());
                for draft in turns {
                    let at = self.world.append(session, draft);
                    self.plain.append(session, draft, at);
                    self.facts.interrupted |= draft.ending == Ending::Interrupted;
                    given.push(at);
                }
                Done { session: Some(session), given }
            }
            Op::Fork { session, leave_out } => self.fork(self.select(session), leave_out),
            Op::Rewind { session, turns } => self.rewind(self.select(session), turns),
            Op::Checkpoint { session } => {
                let session = self.select(session);
                self.checkpoint(session);
                changed(session)
            }
            Op::Restore { session, checkpoint } => self.restore(self.select(session), checkpoint),
            Op::Merge { base, other, ref how } => self.merge(self.select(base), self.select(other), how),
            Op::Signal { session, turn, mood } => {
                let session = self.select(session);
                if let Some(last) = self.world.cut(session).turn_count.checked_sub(1) {
                    let number = up_to(turn, last);
                    self.world.signal(session, i64::try_from(number).unwrap(), mood).unwrap();
                    self.plain.signal(session, usize::try_from(number).unwrap(), mood);
                }
                Done::default()
            }
        }
    }

    /// Leaves a named checkpoint of the session and gives its number.
    pub(crate) fn checkpoint(&mut self, session: usize) -> usize {
        self.plain.checkpoint(session);
        self.world.checkpoint(session)
    }

    fn fork(&mut self, session: usize, leave_out: u8) -> Done {
        let turn_count = self.world.cut(session).turn_count;
        let point = turn_count - up_to(leave_out, turn_count);
        let is_fork = self.world.session(session).fork_point.is_some();
        self.facts.fork_of_fork |= is_fork && point > 0;
        let list = self.plain.sessions[session].first(usize::try_from(point).unwrap());
        self.plain.open(list);
        let all = point == turn_count;
        let asked = (!all).then(|| i64::try_from(point).unwrap());
        changed(self.world.fork(session, asked).unwrap())
    }

    fn rewind(&mut self, session: usize, turns: u8) -> Done {
        let cut = self.world.cut(session);
        let turns = up_to(turns, cut.turn_count);
        let left = cut.turn_count - turns;
        let mut starts = self.world.history(cut).slices.iter().map(|slice| slice.start);
        self.facts.rewind_across_slices |= starts.any(|start| left < start && start < cut.turn_count);
        self.world.rewind(session, turns).unwrap();
        self.plain.rewind(session, usize::try_from(turns).unwrap());
        changed(session)
    }

    fn restore(&mut self, session: usize, checkpoint: u8) -> Done {
        let count = self.world.checkpoints(session).len();
        if count == 0 {
            return Done::default();
        }
        let checkpoint = newest(checkpoint, count);
        self.world.restore(session, checkpoint);
        self.plain.restore(session, checkpoint);
        changed(session)
    }

    fn merge(&mut self, base: usize, other: usize, how: &How) -> Done {
        let count = self.world.len();
        if count == 1 {
            return Done::default();
        }
        let other = if base == other { (other + count - 1) % count } else { other };
        let (left, right) = (self.world.cut(base), self.world.cut(other));
        let lawful = match how {
            How::Sequential => Lawful::Sequential,
            How::Interleave => Lawful::Interleave,
            How::Manual(choices) => return self.merge_picked(base, other, choices),
        };
        self.facts.merge |= left.turn_count > 0 && right.turn_count > 0;
        let list = self.plain.merge(&self.plain.sessions[base], &self.plain.sessions[other], lawful);
        self.plain.open(list);
        let cut = self.world.merge(left, right, lawful);
        changed(self.world.open(base, cut))
    }

    fn merge_picked(&mut self, base: usize, other: usize, choices: &[Choice]) -> Done {
        let picked: Vec<(usize, i64)> = choices
            .iter()
            .map(|choice| {
                let session = if choice.from_other { other } else { base };
                let last = self.world.cut(session).turn_count.saturating_sub(1);
                (session, i64::try_from(up_to(choice.turn, last)).unwrap())
            })
            .collect();
        let expected = self.plain.merge_picked([base, other], &picked);
        match (self.world.merge_picked([base, other], &picked), expected) {
            (Ok(cut), Some(list)) => {
                self.facts.merge = true;
                self.plain.open(list);
                changed(self.world.open(base, cut))
            }
            (Err(_), None) => Done::default(),
            (outcome, expected) => panic!("picking {picked:?} gave {outcome:?}, not {expected:?}"),
        }
    }
}

fn changed(session: usize) -> Done {
    Done { session: Some(session), given: Vec::new() }
}
