//! An upgrade that is killed, done twice at the same time, or out of room: the file is old or new, never between.
//!
//! Not here: files that are odd or damaged (`old_files`).

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use membrane_crashtest::campaign::{DATABASE, Failure};
use membrane_crashtest::child::{self, ChildProcess};
use membrane_crashtest::old_files::big;
use membrane_crashtest::old_files::campaign::{Asked, Upgrader, snapshot};
use membrane_crashtest::old_files::times::Zone;
use membrane_crashtest::seed::Choices;
use membrane_crashtest::settings::Settings;
use membrane_crashtest::small_disk::on_small_disk;

use crate::keep::PATIENCE;
use crate::upgrader::Opening;

/// Long enough that an upgrade takes a second; in an ordinary run it is killed less often, and is shorter.
const FULL_TURNS: u64 = 50_000;
const SLICE_TURNS: u64 = 20_000;

const FULL_KILLS: u64 = 100;
const SLICE_KILLS: u64 = 20;

const ASKED: Asked = Asked { zone: Zone::Utc, is_forced: false };

/// The child's side: says `ready`, waits for a line, upgrades the file, and says `done` with what it found.
fn play(database: &str) -> Result<(), Failure> {
    let opening = Opening::new()?;
    child::say("ready")?;
    child::listen()?.ok_or("told to end before the beginning")?;
    let upgraded = opening.upgrade(Path::new(database), ASKED)?;
    child::say(&format!("done {} {}", upgraded.account.is_some(), upgraded.unsound.len()))?;
    Ok(())
}

fn start(test: &str, database: &Path) -> Result<ChildProcess, Failure> {
    let mut process = ChildProcess::start(test, &database.display().to_string())?;
    match process.hear(PATIENCE)? {
        Some(line) if line == "ready" => Ok(process),
        other => Err(format!("an upgrading process said {other:?}").into()),
    }
}

/// Fails unless the file is whole once it is opened; says whether that upgraded it.
fn must_be_whole(database: &Path, n_turns: u64) -> Result<bool, Failure> {
    let upgraded = Opening::new()?.upgrade(database, ASKED)?;
    if let Some(finding) = upgraded.unsound.first() {
        return Err(format!("not sound: {finding}").into());
    }
    big::must_be_whole(database, n_turns)?;
    Ok(upgraded.account.is_some())
}

#[test]
fn an_upgrade_that_is_killed_at_any_moment_is_whole_at_the_next_opening() {
    if let Some(role) = child::role() {
        return play(&role).unwrap();
    }
    let test = "killed_upgrades::an_upgrade_that_is_killed_at_any_moment_is_whole_at_the_next_opening";
    let settings = Settings::from_environment().unwrap();
    let (n_kills, n_turns) =
        if settings.is_full { (FULL_KILLS, FULL_TURNS) } else { (SLICE_KILLS, SLICE_TURNS) };
    let mut choices = Choices::of_item(settings.seed, 0x6b69_6c6c);
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old.db");
    big::write(&old, n_turns).unwrap();

    // How long it takes when nobody disturbs it.
    let undisturbed = folder.path().join("undisturbed.db");
    fs::copy(&old, &undisturbed).unwrap();
    let mut process = start(test, &undisturbed).unwrap();
    let begin = Instant::now();
    process.tell("go").unwrap();
    assert_eq!(process.hear(PATIENCE).unwrap().as_deref(), Some("done true 0"));
    let length = begin.elapsed();
    process.finish(PATIENCE).unwrap();
    assert!(!must_be_whole(&undisturbed, n_turns).unwrap(), "it is upgraded once");

    let (mut n_done, mut n_old) = (0, 0);
    for _ in 0..n_kills {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join(DATABASE);
        fs::copy(&old, &database).unwrap();
        let mut process = start(test, &database).unwrap();
        let micros = usize::try_from(length.as_micros()).unwrap();
        process.tell("go").unwrap();
        // The moment is what is random here; nothing is waited for.
        thread::sleep(Duration::from_micros(u64::try_from(choices.below(micros)).unwrap()));
        let said = process.kill().unwrap();
        let was_done = said.iter().any(|line| line.starts_with("done"));
        let was_old = must_be_whole(&database, n_turns).unwrap();
        assert!(!(was_done && was_old), "an upgrade that was told to be done is done");
        n_done += u64::from(was_done);
        n_old += u64::from(was_old);
    }
    println!(
        "campaign: killed_upgrades turns={n_turns} kills={n_kills} found_old={n_old} found_new={} done_before={n_done} \
         lost=0 upgrade_ms={} seed={}",
        n_kills - n_old,
        length.as_millis(),
        settings.seed
    );
    assert!(n_old > 0, "some kills must come before the end");
}

#[test]
fn two_processes_that_upgrade_the_same_file_at_once_both_find_it_whole() {
    if let Some(role) = child::role() {
        return play(&role).unwrap();
    }
    let test = "killed_upgrades::two_processes_that_upgrade_the_same_file_at_once_both_find_it_whole";
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join(DATABASE);
    big::write(&database, SLICE_TURNS).unwrap();
    let mut processes = [start(test, &database).unwrap(), start(test, &database).unwrap()];
    for process in &mut processes {
        process.tell("go").unwrap();
    }
    let mut said: Vec<_> = processes
        .map(|mut process| {
            let said = process.hear(PATIENCE).unwrap();
            process.finish(PATIENCE).unwrap();
            said.unwrap_or_default()
        })
        .into();
    said.sort();
    assert_eq!(said, ["done false 0", "done true 0"], "one does it, the other finds it done");
    assert!(!must_be_whole(&database, SLICE_TURNS).unwrap());
}

#[test]
fn threads_that_upgrade_the_same_file_at_once_all_find_it_whole() {
    const N_THREADS: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join(DATABASE);
    big::write(&database, 5_000).unwrap();
    let barrier = Barrier::new(N_THREADS);
    let n_upgraded: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..N_THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let opening = Opening::new().unwrap();
                    barrier.wait();
                    let upgraded = opening.upgrade(&database, ASKED).unwrap();
                    assert_eq!(upgraded.unsound, Vec::<String>::new());
                    usize::from(upgraded.account.is_some())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(n_upgraded, 1);
    big::must_be_whole(&database, 5_000).unwrap();
}

const DISK_BYTES: u64 = 96 << 20;
const DISK_TURNS: u64 = 20_000;

#[test]
fn an_upgrade_without_room_leaves_the_file_as_it_was_and_is_whole_once_there_is_room() {
    let test =
        "killed_upgrades::an_upgrade_without_room_leaves_the_file_as_it_was_and_is_whole_once_there_is_room";
    let said = on_small_disk(test, DISK_BYTES, |disk| {
        let opening = Opening::new().unwrap();
        let folder = disk.path().join("keep");
        fs::create_dir(&folder).unwrap();
        let database = folder.join(DATABASE);
        big::write(&database, DISK_TURNS).unwrap();
        let n_bytes = fs::metadata(&database).unwrap().len();
        let before = snapshot(&folder).unwrap();
        let mut refusals = Vec::new();
        let mut n_left = 0;
        loop {
            let ballast = disk.fill("ballast", n_left).unwrap();
            let outcome = opening.upgrade(&database, ASKED);
            ballast.remove().unwrap();
            match outcome {
                Ok(upgraded) => {
                    assert!(upgraded.account.is_some());
                    assert_eq!(upgraded.unsound, Vec::<String>::new());
                    break;
                }
                Err(message) => {
                    let mut after = snapshot(&folder).unwrap();
                    after.retain(|name, _| !name.ends_with("-shm"));
                    assert!(after == before, "with {n_left} bytes left: {:?}", after.keys());
                    refusals.push(message);
                }
            }
            n_left += n_bytes / 3;
        }
        big::must_be_whole(&database, DISK_TURNS).unwrap();
        assert!(refusals.len() > 2, "the disk must be full at several moments: {refusals:?}");
        for refusal in &refusals {
            assert!(refusal.contains("full") || refusal.contains("room"), "{refusal}");
        }
        println!(
            "campaign: full_disk_upgrade turns={DISK_TURNS} file_bytes={n_bytes} refused={} enough_bytes={n_left} lost=0",
            refusals.len()
        );
    })
    .unwrap_or_else(|error| panic!("{error}"));
    println!("{said}");
}
