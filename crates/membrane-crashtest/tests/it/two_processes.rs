//! Processes that write to one keep at the same time, and some that are killed while they do.
//!
//! Not here: what such a process does (`writing_process`).

use std::path::Path;

use membrane_crashtest::campaign::{DATABASE, Failure};
use membrane_crashtest::child;
use membrane_crashtest::seed::Choices;
use membrane_crashtest::settings::{FULL_CUTS, Settings};

use crate::keep::{self, Account};
use crate::writing_process::{self, N_WRITERS, WritingProcess, session_of};

/// What each of two processes must have kept while the other one was writing.
const N_ENTRIES_EACH: usize = 300;

/// Which part of a campaign of `n_full` rounds is asked for: all, or a fifth.
fn n_rounds(settings: Settings, n_full: u64) -> u64 {
    if settings.n_cuts == FULL_CUTS { n_full } else { n_full / 5 }
}

fn first_writer(process: u64) -> u32 {
    u32::try_from(process).unwrap_or(u32::MAX / N_WRITERS) * N_WRITERS
}

/// Opens the keep as one more process would and holds it against what all processes said.
fn must_hold(database: &Path, accounts: impl IntoIterator<Item = Account>) -> Result<usize, Failure> {
    let mut all = Account::default();
    for account in accounts {
        all.submitted.extend(account.submitted);
        all.acknowledged.extend(account.acknowledged);
    }
    keep::runtime()?.block_on(async {
        let chat = keep::open(writing_process::options(database)).await?;
        keep::must_be_sound(&chat).await?;
        let mut found = Vec::new();
        for listed in keep::list_all(&chat).await? {
            keep::must_be_whole(&listed.entries)?;
            let foreign = listed.entries.iter().find(|entry| session_of(entry.writer) != listed.id.as_str());
            if let Some(foreign) = foreign {
                return Err(format!("{foreign} stands in session {}", listed.id).into());
            }
            found.extend(listed.entries);
        }
        all.must_match(&found)?;
        chat.close().await?;
        Ok(all.acknowledged.len())
    })
}

#[test]
fn two_processes_that_write_at_once_lose_and_double_nothing_and_both_get_on() {
    if let Some(role) = child::role() {
        return writing_process::play(&role).unwrap();
    }
    let test = "two_processes::two_processes_that_write_at_once_lose_and_double_nothing_and_both_get_on";
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join(DATABASE);
    let mut processes =
        [0, 1].map(|process| WritingProcess::start(test, first_writer(process), &database).unwrap());
    for process in &mut processes {
        process.go().unwrap();
    }
    // Neither is told to end before both are there.
    for process in &mut processes {
        process.wait_for(N_ENTRIES_EACH).unwrap();
    }
    for process in &mut processes {
        process.ask_to_end();
    }
    let accounts = processes.map(|process| process.finish().unwrap());
    let shares = accounts.each_ref().map(|account| account.acknowledged.len());
    let n_acked = must_hold(&database, accounts).unwrap();
    println!(
        "campaign: two_processes target=keep acked={n_acked} lost=0 doubled=0 share_of_first={}% share_of_second={}%",
        shares[0] * 100 / n_acked,
        shares[1] * 100 / n_acked
    );
}

#[test]
fn processes_that_open_a_missing_file_at_the_same_moment_all_get_the_same_keep() {
    const N_PROCESSES: u64 = 4;
    if let Some(role) = child::role() {
        return writing_process::play(&role).unwrap();
    }
    let test = "two_processes::processes_that_open_a_missing_file_at_the_same_moment_all_get_the_same_keep";
    let settings = Settings::from_environment().unwrap();
    let n_rounds = n_rounds(settings, 25);
    let mut n_acked = 0;
    for round in 0..n_rounds {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("not").join("there").join(DATABASE);
        let mut processes: Vec<_> = (0..N_PROCESSES)
            .map(|process| WritingProcess::start(test, first_writer(process), &database).unwrap())
            .collect();
        for process in &mut processes {
            process.go().unwrap();
        }
        for process in &mut processes {
            process.wait_for(1).unwrap();
        }
        for process in &mut processes {
            process.ask_to_end();
        }
        let accounts: Vec<_> = processes.into_iter().map(|process| process.finish().unwrap()).collect();
        n_acked += must_hold(&database, accounts).unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    println!(
        "campaign: first_opening target=keep processes={N_PROCESSES} rounds={n_rounds} acked={n_acked} lost=0"
    );
}

#[test]
fn a_process_that_is_killed_while_two_write_loses_and_doubles_nothing_and_the_other_gets_on() {
    /// The most entries that a process has had acknowledged when it is killed.
    const MAX_BEFORE_KILL: usize = 60;
    if let Some(role) = child::role() {
        return writing_process::play(&role).unwrap();
    }
    let test = "two_processes::a_process_that_is_killed_while_two_write_loses_and_doubles_nothing_and_the_other_gets_on";
    let settings = Settings::from_environment().unwrap();
    let n_kills = n_rounds(settings, 50);
    let mut choices = Choices::of_item(settings.seed, 0x6b69_6c6c);
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join(DATABASE);

    let mut survivor = WritingProcess::start(test, first_writer(0), &database).unwrap();
    survivor.go().unwrap();
    survivor.wait_for(1).unwrap();
    let mut accounts = Vec::new();
    for kill in 1..=n_kills {
        let mut victim = WritingProcess::start(test, first_writer(kill), &database).unwrap();
        victim.go().unwrap();
        // With 0 it is killed while it opens the keep, else somewhere in the append after.
        victim.wait_for(choices.below(MAX_BEFORE_KILL)).unwrap();
        accounts.push(victim.kill().unwrap());
        // What the killed process held is free again: the other one writes on.
        survivor.wait_for(survivor.n_acknowledged() + 20).unwrap();
    }
    let account = survivor.finish().unwrap();
    let of_survivor = account.acknowledged.len();
    accounts.push(account);
    let n_acked = must_hold(&database, accounts).unwrap();
    println!(
        "campaign: killed_process target=keep kills={n_kills} acked={n_acked} lost=0 doubled=0 \
         share_of_survivor={}% seed={}",
        of_survivor * 100 / n_acked,
        settings.seed
    );
}
