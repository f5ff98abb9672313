//! Random histories as lists of operations: small integers that select, nothing that computes.
//!
//! What an operation does is deliberately not here, nor is any type of the rules: whoever drives a store
//! with these lists reads the selectors by [`newest`] and [`up_to`] and carries the operations out there.
//! A history begins with one empty session; the session that an operation makes is the newest.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// How many operations a history has before it is shrunk; long enough that most are rich.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=64;

/// One thing that happens. `session`, `base`, `other` and `checkpoint` are read by [`newest`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    /// A session of its own; with `legacy`, one that an old file knew by a total (alpha, beta), in tenths,
    /// without knowing of which turns.
    Create { legacy: Option<(u8, u8)> },
    /// Turns are added to the end.
    Append { session: u8, turns: Vec<Draft> },
    /// A fork that leaves out [`up_to`] all of the last turns.
    Fork { session: u8, leave_out: u8 },
    /// [`up_to`] all turns are taken off the end; an automatic checkpoint is left.
    Rewind { session: u8, turns: u8 },
    /// A named checkpoint is left.
    Checkpoint { session: u8 },
    /// The session returns to one of its checkpoints, if it has any; an automatic checkpoint is left.
    Restore { session: u8, checkpoint: u8 },
    /// Two sessions become a new one. When both selectors name the same, the other one is the next older, or
    /// the newest after the oldest; with only one session, nothing happens.
    Merge { base: u8, other: u8, how: How },
    /// Somebody says something of a turn, the one after [`up_to`] all but one; not of a session without any.
    Signal { session: u8, turn: u8, mood: Mood },
}

/// How two sessions are merged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum How {
    /// The base, then what the other has more.
    Sequential,
    /// By time.
    Interleave,
    /// These turns, each by [`up_to`] all but one; refused, and nothing happens, if there are none, if a
    /// turn is picked twice, or if the session picked from has no turns.
    Manual(Vec<Choice>),
}

/// One turn picked for a manual merge.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    /// From the other session, not from the base.
    pub(crate) from_other: bool,
    /// Which of its turns.
    pub(crate) turn: u8,
}

/// A turn to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    /// How it ends.
    pub(crate) ending: Ending,
    /// Its uses of tools, in order: whether each worked.
    pub(crate) tools: Vec<bool>,
    /// Which of [`TEXTS`] the user says; the answer is the one after it.
    pub(crate) text: u8,
    /// How far the clock went since the turn before, in µs: clocks stand still and run backwards.
    pub(crate) tick: i8,
}

/// How a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The answer came to its end.
    Complete,
    /// It was cut off.
    Interrupted,
    /// The model answered with an error.
    Failed,
}

/// What somebody says of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It helped.
    Positive,
    /// It did not.
    Negative,
    /// It was wrong, and the user put it right.
    Correction,
}

/// What is said in the turns.
pub(crate) const TEXTS: [&str; 6] =
    ["why?", "", "```rust\nfn main() {}\n```", "日本語 🙂", "a:b|c\0d", "```one``` and ```two``` and ```"];

/// Which of `count` things, of which the newest is the last, a selector names; 0 names the newest.
/// There must be one.
pub(crate) fn newest(selector: u8, count: usize) -> usize {
    count - 1 - usize::from(selector) % count
}

/// The number in `0..=most` that a selector names.
pub(crate) fn up_to(selector: u8, most: u64) -> u64 {
    u64::from(selector) % (most + 1)
}

/// Lists of operations: about half of them with a fork of a fork, a merge, a rewind across a slice
/// boundary and an interrupted turn all together. They shrink to fewer operations on newer sessions.
pub(crate) fn histories() -> impl Strategy<Value = Vec<Op>> {
    // A list cannot shrink below its least length, but each of its operations can shrink to none.
    let maybe = (prop::bool::weighted(0.98), op());
    vec(maybe, LENGTHS)
        .prop_map(|ops| ops.into_iter().filter_map(|(is_kept, op)| is_kept.then_some(op)).collect())
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (session(), drafts()).prop_map(|(session, turns)| Op::Append { session, turns }),
        6 => (session(), few()).prop_map(|(session, leave_out)| Op::Fork { session, leave_out }),
        7 => (session(), 0..12_u8).prop_map(|(session, turns)| Op::Rewind { session, turns }),
        2 => session().prop_map(|session| Op::Checkpoint { session }),
        2 => (session(), few()).prop_map(|(session, checkpoint)| Op::Restore { session, checkpoint }),
        5 => (session(), session(), how()).prop_map(|(base, other, how)| Op::Merge { base, other, how }),
        4 => (session(), any::<u8>(), mood()).prop_map(|(session, turn, mood)| Op::Signal { session, turn, mood }),
        1 => option::of((0..60_u8, 0..60_u8)).prop_map(|legacy| Op::Create { legacy }),
    ]
}

/// Mostly the newest sessions, so that forks are forked again.
fn session() -> impl Strategy<Value = u8> {
    prop_oneof![3 => 0..2_u8, 1 => 0..12_u8]
}

/// Mostly none or one.
fn few() -> impl Strategy<Value = u8> {
    prop_oneof![2 => 0..2_u8, 1 => 0..8_u8]
}

fn how() -> impl Strategy<Value = How> {
    let choice = (any::<bool>(), any::<u8>()).prop_map(|(from_other, turn)| Choice { from_other, turn });
    prop_oneof![
        2 => Just(How::Sequential),
        2 => Just(How::Interleave),
        1 => vec(choice, 0..5).prop_map(How::Manual),
    ]
}

/// One to three turns to be.
pub(crate) fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    vec(draft(), 1..4)
}

fn draft() -> impl Strategy<Value = Draft> {
    (ending(), vec(prop::bool::weighted(0.7), 0..3), 0..6_u8, -4..6_i8)
        .prop_map(|(ending, tools, text, tick)| Draft { ending, tools, text, tick })
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![4 => Just(Ending::Complete), 1 => Just(Ending::Interrupted), 1 => Just(Ending::Failed)]
}

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![Just(Mood::Negative), Just(Mood::Positive), Just(Mood::Correction)]
}
