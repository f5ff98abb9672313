//! What lies beside the database: a long log, a hot journal, lock files, copies, and what was left over.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::space::folder_of;
use super::verdict::{Check, size};
use crate::connection::{journal_path, log_path, real_path};

/// A log that is longer than the writer lets it become without a reader that keeps it.
const LONG_LOG: u64 = 64 << 20;

/// What the checks of the files beside it say.
pub(super) struct Beside {
    pub(super) checks: Vec<Check>,
    /// Whether a write was cut off, so that the file itself is half written.
    pub(super) has_hot_journal: bool,
}

/// Looks at the folder.
pub(super) fn look(path: &Path) -> Beside {
    let mut checks = Vec::new();
    let has_hot_journal = is_hot(&journal_path(path));
    if has_hot_journal {
        checks.push(Check::problem(
            "journal",
            format!(
                "{} holds a write that was cut off; the file is half written until it is taken back",
                journal_path(path).display()
            ),
            "never delete it; opening the database takes the write back: membrane migrate --status",
        ));
    }
    let log = fs::metadata(log_path(path)).map_or(0, |metadata| metadata.len());
    checks.push(if log > LONG_LOG {
        Check::note(
            "log",
            format!(
                "the write-ahead log has {}: a reader that never ends keeps it, or a process died",
                size(log)
            ),
        )
        .with_remedy(
            "find who has it open (see locks); the log moves into the file when the last one closes it",
        )
    } else {
        Check::ok("log", format!("the write-ahead log has {}", size(log)))
    });
    if !path.exists() && log > 0 {
        checks.push(Check::problem(
            "log",
            format!(
                "{} is there without its database; turns that were acknowledged are in it",
                log_path(path).display()
            ),
            "put the database file back beside it, from where it was moved to",
        ));
    }
    checks.extend(instances(path));
    checks.extend(left_over(path));
    Beside { checks, has_hot_journal }
}

/// A journal with something in it: its head is not wiped.
fn is_hot(journal: &Path) -> bool {
    let mut head = [0_u8; 8];
    File::open(journal).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head != [0; 8]
}

/// The names in the database's folder that begin so.
fn names(path: &Path, prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder_of(path)) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

/// The lock files of instances: held ones, and those that dead ones left.
fn instances(path: &Path) -> Vec<Check> {
    const NAME: &str = "instances";
    let Some(file) = real_path(path).file_name().map(|name| name.to_string_lossy().into_owned()) else {
        return Vec::new();
    };
    let folder = folder_of(path);
    let (mut held, mut stale) = (Vec::new(), Vec::new());
    for name in names(path, &format!("{file}-instance-")) {
        if Path::new(&name).extension() != Some(OsStr::new("lock")) {
            continue;
        }
        // A shared lock that is let go at once: it hinders nobody, and tells whether somebody has it.
        let is_held = File::open(folder.join(&name))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)));
        if is_held { held.push(name) } else { stale.push(name) }
    }
    let mut checks = vec![match held.len() {
        0 => Check::ok(NAME, "no server has the database"),
        1 => Check::ok(NAME, "one server has the database"),
        many => Check::ok(NAME, format!("{many} servers have the database")),
    }];
    if !stale.is_empty() {
        let found = format!("lock files of processes that have died: {}", stale.join(", "));
        checks.push(Check::note(NAME, found).with_remedy("nothing: the next server removes them"));
    }
    checks
}

/// Files that Membrane makes for a while, and copies that it made.
fn left_over(path: &Path) -> Vec<Check> {
    const NAME: &str = "left over";
    let mut checks = Vec::new();
    let unfinished = names(path, ".membrane-copy-");
    if !unfinished.is_empty() {
        let found = format!("unfinished copies: {}", unfinished.join(", "));
        checks.push(
            Check::note(NAME, found)
                .with_remedy("nothing: the next backup removes those whose maker has died"),
        );
    }
    // Those of an upgrade, a restore and a repair.
    let real = real_path(path);
    let name = |part: Option<&OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    if let (Some(file), Some(stem)) = (name(real.file_name()), name(real.file_stem())) {
        let beginnings = [
            format!("{file}.before-repair-"),
            format!("{file}.kgents-v1-"),
            format!("{stem}-before-restore-"),
        ];
        let copies: Vec<String> = beginnings.iter().flat_map(|beginning| names(path, beginning)).collect();
        if !copies.is_empty() {
            let found =
                format!("copies from before an upgrade, a restore or a repair: {}", copies.join(", "));
            checks.push(
                Check::note(NAME, found)
                    .with_remedy("remove them when you are sure that they are not needed"),
            );
        }
    }
    checks
}
