//! The same sessions kept as plain lists, copied at every fork: what the rules must agree with.
//!
//! Slow and simple on purpose. It calls none of the rules; only identities, which break ties of time, are
//! told to it.

use std::collections::{BTreeMap, BTreeSet};

use membrane_core::evidence::Evidence;
use membrane_core::history::TurnRef;
use membrane_core::turn::Totals;

use super::drafts;
use super::ops::{Draft, Ending, Mood};
use super::world::Lawful;

/// A thread: the numbers of turns in order, and legacy totals less the prior by the session they came from.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct List {
    pub(crate) turns: Vec<usize>,
    pub(crate) legacy: BTreeMap<usize, (f64, f64)>,
}

impl List {
    /// Its first turns.
    pub(crate) fn first(&self, turn_count: usize) -> Self {
        Self { turns: self.turns[..turn_count].to_vec(), legacy: self.legacy.clone() }
    }
}

struct Exchange {
    at: TurnRef,
    order_at: i64,
    adds: Totals,
    said: Vec<Mood>,
}

/// Sessions as lists, numbered in the order in which they were made.
#[derive(Default)]
pub(crate) struct Plain {
    now: i64,
    exchanges: Vec<Exchange>,
    pub(crate) sessions: Vec<List>,
    pub(crate) checkpoints: Vec<Vec<List>>,
}

impl Plain {
    /// A new session.
    pub(crate) fn create(&mut self, legacy: Option<(f64, f64)>) {
        let less_prior = legacy.map(|(alpha, beta)| ((alpha - 1.0).max(0.0), (beta - 1.0).max(0.0)));
        let legacy = less_prior.map(|pair| (self.sessions.len(), pair)).into_iter().collect();
        self.open(List { turns: Vec::new(), legacy });
    }

    /// A new session with this thread.
    pub(crate) fn open(&mut self, list: List) {
        self.sessions.push(list);
        self.checkpoints.push(Vec::new());
    }

    /// A turn more, which the rules gave the identity `at`.
    pub(crate) fn append(&mut self, session: usize, draft: &Draft, at: TurnRef) {
        self.now += i64::from(draft.tick);
        let thread = &mut self.sessions[session].turns;
        let earliest = thread.last().map_or(i64::MIN, |&last| self.exchanges[last].order_at + 1);
        thread.push(self.exchanges.len());
        self.exchanges.push(Exchange {
            at,
            order_at: self.now.max(earliest),
            adds: worth(draft),
            said: Vec::new(),
        });
    }

    /// Turns taken off the end, after a checkpoint.
    pub(crate) fn rewind(&mut self, session: usize, turns: usize) {
        self.checkpoint(session);
        let thread = &mut self.sessions[session].turns;
        thread.truncate(thread.len() - turns);
    }

    /// A copy put aside.
    pub(crate) fn checkpoint(&mut self, session: usize) {
        self.checkpoints[session].push(self.sessions[session].clone());
    }

    /// Back to a copy, after another checkpoint.
    pub(crate) fn restore(&mut self, session: usize, checkpoint: usize) {
        let list = self.checkpoints[session][checkpoint].clone();
        self.checkpoint(session);
        self.sessions[session] = list;
    }

    /// What the merge of two threads is.
    pub(crate) fn merge(&self, left: &List, right: &List, how: Lawful) -> List {
        let mut turns = left.turns.clone();
        turns.extend(right.turns.iter().filter(|turn| !left.turns.contains(turn)));
        if how == Lawful::Interleave {
            turns.sort_by_key(|&turn| (self.exchanges[turn].order_at, self.exchanges[turn].at));
        }
        List { turns, legacy: united(left, right) }
    }

    /// What the merge of picked turns, as (session, turn number), is; `None` when it must be refused.
    pub(crate) fn merge_picked(&self, sessions: [usize; 2], picked: &[(usize, i64)]) -> Option<List> {
        let number = |&(session, number): &(usize, i64)| {
            self.sessions[session].turns.get(usize::try_from(number).ok()?).copied()
        };
        let turns: Vec<usize> = picked.iter().map(number).collect::<Option<_>>()?;
        let different: BTreeSet<_> = turns.iter().collect();
        let [left, right] = sessions.map(|session| &self.sessions[session]);
        let acceptable = !turns.is_empty() && different.len() == turns.len();
        acceptable.then(|| List { turns, legacy: united(left, right) })
    }

    /// Something said of a turn.
    pub(crate) fn signal(&mut self, session: usize, number: usize, mood: Mood) {
        self.exchanges[self.sessions[session].turns[number]].said.push(mood);
    }

    /// The identities of a thread's turns.
    pub(crate) fn refs(&self, list: &List) -> Vec<TurnRef> {
        list.turns.iter().map(|&turn| self.exchanges[turn].at).collect()
    }

    /// The places of a thread's turns in the order of interleaving, in µs after the first clock.
    pub(crate) fn order(&self, list: &List) -> Vec<i64> {
        list.turns.iter().map(|&turn| self.exchanges[turn].order_at).collect()
    }

    /// The totals of a thread, added up.
    pub(crate) fn totals(&self, list: &List) -> Totals {
        let mut sum = Totals::ZERO;
        for &turn in &list.turns {
            let adds = self.exchanges[turn].adds;
            sum.succeeded += adds.succeeded;
            sum.failed += adds.failed;
            sum.tool_calls += adds.tool_calls;
            sum.tokens += adds.tokens;
            sum.chars += adds.chars;
            sum.code_blocks += adds.code_blocks;
        }
        sum
    }

    /// The evidence of a thread, counted over the set of its turns and the set of its legacy totals.
    pub(crate) fn evidence(&self, list: &List) -> Evidence {
        let (mut alpha, mut beta) = (1.0, 1.0);
        for (successes, failures) in list.legacy.values() {
            alpha += successes;
            beta += failures;
        }
        let (mut tools_succeeded, mut tools_failed) = (0, 0);
        for turn in list.turns.iter().collect::<BTreeSet<_>>() {
            let Exchange { adds, said, .. } = &self.exchanges[*turn];
            tools_succeeded += adds.succeeded;
            tools_failed += adds.failed;
            let is_against = matches!(said.last(), Some(Mood::Negative | Mood::Correction));
            match (adds.succeeded, adds.failed) {
                (1, 0) if !is_against => alpha += 1.0,
                (1, 0) | (0, 1) => beta += 1.0,
                (0, 0) => {}
                more => panic!("a turn is one observation, not {more:?}"),
            }
        }
        Evidence { alpha, beta, tools_succeeded, tools_failed }
    }
}

fn united(left: &List, right: &List) -> BTreeMap<usize, (f64, f64)> {
    left.legacy.iter().chain(&right.legacy).map(|(&origin, &pair)| (origin, pair)).collect()
}

fn worth(draft: &Draft) -> Totals {
    let texts = [drafts::user_text(draft), drafts::reply_text(draft)];
    let chars: Vec<usize> = texts.iter().map(|text| text.chars().count()).collect();
    let fences = texts.iter().map(|text| text.split("```").count().saturating_sub(1) / 2);
    let complete = draft.ending == Ending::Complete;
    let any_failed = draft.tools.contains(&false);
    let count = |number: usize| i64::try_from(number).unwrap();
    Totals {
        succeeded: i64::from(complete && !any_failed),
        failed: i64::from(complete && any_failed),
        tool_calls: count(draft.tools.len()),
        tokens: count((chars[0] + 1 + chars[1]) / 4),
        chars: count(chars[0] + chars[1]),
        code_blocks: count(fences.sum()),
    }
}
