//! A writer that branches: forks, rewinds, merges and deletes between its appends, by a fixed script, so
//! that what its sessions must show after each step is known.
//!
//! Not here: the keep's own idea of what these operations mean; this model is lists of entries, no more.

use std::collections::BTreeMap;

use membrane::{
    Chat, ForkOptions, MergeOptions, NewSessionOptions, PageRequest, SessionFilter, SessionId, WriteOptions,
};
use membrane_crashtest::campaign::Failure;
use membrane_crashtest::entry::Entry;

use crate::keep;

/// The branch that each script begins with.
const TRUNK: &str = "trunk";

/// Steps of a cycle; a script is cycle after cycle.
const CYCLE: u64 = 10;

/// What a writer's sessions show: each branch with its entries.
pub(crate) type Branches = BTreeMap<String, Vec<Entry>>;

/// One step. The step of an entry that is not appended anywhere is done when the entry is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Append { to: String },
    Fork { from: String, name: String },
    Rewind { branch: String, n_turns: u64 },
    Merge { base: String, other: String, name: String },
    Delete { branch: String },
}

/// The script: each step makes a state that none of the steps before it made, so that a state tells how many
/// steps were done.
fn step(number: u64) -> Step {
    let (cycle, place) = ((number - 1) / CYCLE, (number - 1) % CYCLE);
    let trunk = || TRUNK.to_owned();
    let fork = |cycle: u64| format!("fork {cycle}");
    let merged = |cycle: u64| format!("merged {cycle}");
    match place {
        2 => Step::Fork { from: trunk(), name: fork(cycle) },
        3 | 7 => Step::Append { to: fork(cycle) },
        // The fork keeps what is taken from the trunk here.
        4 => Step::Rewind { branch: trunk(), n_turns: 1 },
        // Across the place where the fork left the trunk.
        6 => Step::Rewind { branch: fork(cycle), n_turns: 2 },
        8 => Step::Merge { base: trunk(), other: fork(cycle), name: merged(cycle) },
        // The fork of the cycle before, whose own turn its merge still shows; then that merge, which was the
        // last to show it.
        9 if cycle % 2 == 1 => Step::Delete { branch: fork(cycle - 1) },
        9 if cycle >= 2 => Step::Delete { branch: merged(cycle - 2) },
        _ => Step::Append { to: trunk() },
    }
}

/// What a writer's sessions must show after its first `n_steps` steps.
pub(crate) fn expected(writer: u32, n_steps: u64) -> Branches {
    let mut branches = Branches::from([(TRUNK.to_owned(), Vec::new())]);
    for number in 1..=n_steps {
        let of = |branches: &Branches, name: &str| branches.get(name).cloned().unwrap_or_default();
        match step(number) {
            Step::Append { to } => branches.entry(to).or_default().push(Entry { writer, number }),
            Step::Fork { from, name } => {
                let turns = of(&branches, &from);
                branches.insert(name, turns);
            }
            Step::Rewind { branch, n_turns } => {
                let turns = branches.entry(branch).or_default();
                turns.truncate(turns.len().saturating_sub(usize::try_from(n_turns).unwrap_or(usize::MAX)));
            }
            Step::Merge { base, other, name } => {
                let mut turns = of(&branches, &base);
                let more: Vec<_> =
                    of(&branches, &other).into_iter().filter(|turn| !turns.contains(turn)).collect();
                turns.extend(more);
                branches.insert(name, turns);
            }
            Step::Delete { branch } => {
                branches.remove(&branch);
            }
        }
    }
    branches
}

/// How many steps of the script were done, told by what the writer's sessions show. No session at all is what
/// a script shows before it began.
///
/// # Errors
/// No number of steps up to `max_steps` shows this: half a step, or a lost one among later ones.
pub(crate) fn steps_done(writer: u32, found: &Branches, max_steps: u64) -> Result<u64, Failure> {
    if found.is_empty() {
        return Ok(0);
    }
    (0..=max_steps)
        .find(|n_steps| expected(writer, *n_steps) == *found)
        .ok_or_else(|| format!("no number of steps of writer {writer} shows {found:?}").into())
}

/// The project that holds all of a writer's sessions; forks and merges stay in it.
pub(crate) fn project(writer: u32) -> String {
    format!("writer {writer}")
}

/// Makes the trunk.
pub(crate) async fn begin(chat: &Chat, writer: u32) -> Result<(), Failure> {
    chat.create_session(NewSessionOptions {
        project_id: Some(project(writer)),
        branch_name: Some(TRUNK.to_owned()),
        ..NewSessionOptions::default()
    })
    .await?;
    Ok(())
}

/// Does the step of `entry`.
pub(crate) async fn play(chat: &Chat, entry: Entry) -> Result<(), Failure> {
    let find = |name: String| find(chat, entry.writer, name);
    match step(entry.number) {
        Step::Append { to } => drop(keep::append(chat, &find(to).await?, entry).await?),
        Step::Fork { from, name } => {
            let options = ForkOptions { branch_name: Some(name), ..ForkOptions::default() };
            chat.fork(&find(from).await?, options).await?;
        }
        Step::Rewind { branch, n_turns } => {
            chat.rewind(&find(branch).await?, n_turns, WriteOptions::default()).await?;
        }
        Step::Merge { base, other, name } => {
            let options = MergeOptions { branch_name: Some(name), ..MergeOptions::default() };
            chat.merge(&find(base).await?, &find(other).await?, options).await?;
        }
        Step::Delete { branch } => chat.delete_session(&find(branch).await?).await?,
    }
    Ok(())
}

async fn find(chat: &Chat, writer: u32, branch_name: String) -> Result<SessionId, Failure> {
    let filter = SessionFilter { project_id: Some(project(writer)), branch_name: Some(branch_name.clone()) };
    let page = chat.list_sessions(&filter, &PageRequest::first(2)).await?;
    match <[_; 1]>::try_from(page.sessions) {
        Ok([session]) => Ok(session.id),
        Err(sessions) => Err(format!("{} branches are called {branch_name:?}", sessions.len()).into()),
    }
}

#[test]
fn a_state_of_the_script_tells_how_many_steps_were_done() {
    for n_steps in 0..=200 {
        let state = expected(1, n_steps);
        assert_eq!(steps_done(1, &state, 200).unwrap(), n_steps, "{state:?}");
    }
    let kinds = |wanted: fn(&Step) -> bool| (1..=100).filter(|number| wanted(&step(*number))).count();
    assert_eq!(kinds(|step| matches!(step, Step::Fork { .. })), 10);
    assert_eq!(kinds(|step| matches!(step, Step::Merge { .. })), 10);
    assert_eq!(kinds(|step| matches!(step, Step::Delete { .. })), 9);
    assert_eq!(kinds(|step| matches!(step, Step::Rewind { .. })), 20);
}

#[test]
fn a_state_with_a_lost_step_is_recognised_as_wrong() {
    let mut state = expected(1, 57);
    state.get_mut(TRUNK).unwrap().remove(3);
    assert!(steps_done(1, &state, 200).is_err());
}
