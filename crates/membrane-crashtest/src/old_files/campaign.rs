//! A campaign over old files: each is made, perhaps damaged, given to an upgrader, and what became of it judged.
//!
//! Not here: any upgrader ([`Upgrader`] is implemented where a store is known), and processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::damage;
use super::foreign::{Foreign, Standing};
use super::oracle::{self, Account, Before, CHAT_TABLES};
use super::table::Contents;
use super::times::Zone;
use super::v1::{self, OldFile};
use crate::campaign::{DATABASE, Failure};
use crate::seed::Choices;

/// What an upgrade is told.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The zone of times without one.
    pub zone: Zone,
    /// Whether tables of others that refer to turns are no reason to refuse.
    pub is_forced: bool,
}

/// What became of a file that was not refused.
#[derive(Debug, Default)]
pub struct Upgraded {
    /// What the upgrade said of itself; `None` if there was nothing to upgrade.
    pub account: Option<Account>,
    /// The copy of the file as it was.
    pub backup: Option<PathBuf>,
    /// What the keep finds wrong with itself.
    pub unsound: Vec<String>,
}

/// Opens files as the program does.
pub trait Upgrader {
    /// Opens the file, which upgrades it, lets the keep check itself, and closes it.
    ///
    /// # Errors
    /// It was refused: the message that a user sees, with its causes.
    fn upgrade(&self, file: &Path, asked: Asked) -> Result<Upgraded, String>;
}

/// What a campaign did. Its `Display` is the line that a test prints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Files.
    pub n_files: u64,
    /// Files that were upgraded.
    pub n_upgraded: u64,
    /// Files that were refused, and are as they were.
    pub n_refused: u64,
    /// Files of which the damage had left nothing to upgrade.
    pub n_empty: u64,
    /// Rows that are in keeps.
    pub n_read: u64,
    /// Rows that are kept aside.
    pub n_skipped: u64,
    /// Files at which the program panicked or died.
    pub n_panics: u64,
    /// Files of which something was lost, changed, or wrong in any other way.
    pub n_lost: u64,
}

/// One file's way through the campaign.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trial {
    /// The one file, counted.
    pub tally: Tally,
    /// What the file was.
    pub what: String,
    /// Why it was refused.
    pub refusal: Option<String>,
    /// What is wrong.
    pub problems: Vec<String>,
}

impl Tally {
    /// Takes in another one.
    pub fn add(&mut self, other: &Self) {
        let Self { n_files, n_upgraded, n_refused, n_empty, n_read, n_skipped, n_panics, n_lost } = other;
        self.n_files += n_files;
        self.n_upgraded += n_upgraded;
        self.n_refused += n_refused;
        self.n_empty += n_empty;
        self.n_read += n_read;
        self.n_skipped += n_skipped;
        self.n_panics += n_panics;
        self.n_lost += n_lost;
    }

    /// The numbers in a line, for a parent process.
    pub fn to_line(&self) -> String {
        let Self { n_files, n_upgraded, n_refused, n_empty, n_read, n_skipped, n_panics, n_lost } = self;
        format!("{n_files} {n_upgraded} {n_refused} {n_empty} {n_read} {n_skipped} {n_panics} {n_lost}")
    }

    /// The numbers out of a line.
    pub fn parse(line: &str) -> Result<Self, Failure> {
        let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let &[n_files, n_upgraded, n_refused, n_empty, n_read, n_skipped, n_panics, n_lost] =
            numbers.as_slice()
        else {
            return Err(format!("no tally: {line:?}").into());
        };
        Ok(Self { n_files, n_upgraded, n_refused, n_empty, n_read, n_skipped, n_panics, n_lost })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "files={} upgraded={} refused={} empty={} rows_read={} rows_skipped={} panics={} lost={}",
            self.n_files,
            self.n_upgraded,
            self.n_refused,
            self.n_empty,
            self.n_read,
            self.n_skipped,
            self.n_panics,
            self.n_lost
        )
    }
}

/// Tries the `number`-th V1 file of the campaign in an empty folder: every second one is damaged.
///
/// # Errors
/// The file could not be made or looked at; what is wrong with it is in the [`Trial`].
pub fn try_v1(upgrader: &dyn Upgrader, seed: u64, number: u64, folder: &Path) -> Result<Trial, Failure> {
    let file = v1::invent(seed, number);
    let path = folder.join(DATABASE);
    file.write(&path)?;
    let mut what = format!("{:?}", file.temper);
    let is_damaged = number % 2 == 1;
    if is_damaged {
        let other = folder.join("other.db");
        v1::invent(seed, number + 1_000_000).write(&other)?;
        let mut choices = Choices::of_item(seed ^ 0x6461_6d61_6765, number);
        let kind = usize::try_from(number / 2)?;
        what = format!("{}; {what}", damage::inflict(kind, &path, &other, &mut choices)?);
        fs::remove_file(other)?;
    }
    let mut trial = Trial { what, ..Trial::default() };
    trial.tally.n_files = 1;
    attempt(upgrader, &file, is_damaged, folder, &mut trial)?;
    if !trial.problems.is_empty() {
        trial.tally.n_lost = 1;
    }
    Ok(trial)
}

fn attempt(
    upgrader: &dyn Upgrader,
    file: &OldFile,
    is_damaged: bool,
    folder: &Path,
    trial: &mut Trial,
) -> Result<(), Failure> {
    let path = folder.join(DATABASE);
    let before = snapshot(folder)?;
    let contents = read_copy(folder);
    if !is_damaged && contents.is_err() {
        return Err("a sound file cannot be read".into());
    }
    let mut asked = Asked { zone: file.zone, is_forced: false };
    let mut outcome = upgrader.upgrade(&path, asked);
    let refers = !is_damaged && has(&file.foreign, Standing::RefersToTurns);
    if refers {
        // Refused by itself, upgraded by force.
        match &outcome {
            Err(message) => {
                must_be_untouched(&before, &snapshot(folder)?, trial);
                must_tell(message, &path, trial);
                let has_other_reason = message.contains("WITHOUT ROWID");
                if !message.contains("bookmarks")
                    && !has_other_reason
                    && !has(&file.foreign, Standing::MayRefuse)
                {
                    trial.problems.push(format!("the refusal does not name the table in the way: {message}"));
                }
                asked.is_forced = true;
                outcome = upgrader.upgrade(&path, asked);
            }
            Ok(_) => trial.problems.push("a table that refers to turns was no reason to refuse".to_owned()),
        }
    }
    match outcome {
        Err(message) => {
            // The published tables have rowids; whatever has none may be somebody else's.
            let is_strange = file.layout.is_without_rowid;
            let may_refuse = is_damaged || is_strange || has(&file.foreign, Standing::MayRefuse);
            if !may_refuse {
                trial.problems.push(format!("a sound file was refused: {message}"));
            }
            must_be_untouched(&before, &snapshot(folder)?, trial);
            must_tell(&message, &path, trial);
            trial.tally.n_refused = 1;
            trial.refusal = Some(message);
        }
        Ok(upgraded) => {
            trial.problems.extend(upgraded.unsound.iter().map(|line| format!("not sound: {line}")));
            let foreign: &[Foreign] = if is_damaged { &[] } else { &file.foreign };
            judge_upgraded(&path, contents.ok().as_ref(), foreign, file.zone, &upgraded, trial)?;
        }
    }
    Ok(())
}

fn judge_upgraded(
    path: &Path,
    contents: Option<&Contents>,
    foreign: &[Foreign],
    zone: Zone,
    upgraded: &Upgraded,
    trial: &mut Trial,
) -> Result<(), Failure> {
    let Some(account) = &upgraded.account else {
        let n_left: usize = contents.map_or(0, |contents| {
            CHAT_TABLES.iter().filter_map(|name| contents.table(name)).map(|table| table.rows.len()).sum()
        });
        if n_left > 0 {
            trial.problems.push(format!("{n_left} rows could be read, and nothing was upgraded"));
        }
        trial.tally.n_empty = 1;
        return Ok(());
    };
    trial.tally.n_upgraded = 1;
    trial.tally.n_read = account.tables.values().map(|count| count.read).sum();
    trial.tally.n_skipped = account.tables.values().map(|count| count.skipped).sum();
    let Some(contents) = contents else {
        trial.problems.push("it was upgraded though plain SQLite cannot read it".to_owned());
        return Ok(());
    };
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let before = Before { contents, zone, foreign };
    trial.problems.extend(oracle::judge(&before, account, &conn)?);
    match &upgraded.backup {
        Some(backup) => {
            let kept = Connection::open(backup).map_err(Failure::from).and_then(|conn| Contents::read(&conn));
            match kept {
                Ok(kept) if kept == *contents => {}
                Ok(_) => trial.problems.push("the backup holds something else than the file did".to_owned()),
                Err(error) => trial.problems.push(format!("the backup cannot be read: {error}")),
            }
        }
        None => trial.problems.push("no backup is named".to_owned()),
    }
    Ok(())
}

fn has(foreign: &[Foreign], standing: Standing) -> bool {
    foreign.iter().any(|foreign| foreign.standing == standing)
}

/// What plain SQLite reads in a copy of the file and what lies beside it.
pub(super) fn read_copy(folder: &Path) -> Result<Contents, Failure> {
    let copies = tempfile::tempdir()?;
    for (name, bytes) in snapshot(folder)? {
        fs::write(copies.path().join(name), bytes)?;
    }
    Contents::read(&Connection::open(copies.path().join(DATABASE))?)
}

/// The files of a folder, byte for byte.
pub fn snapshot(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
    }
    Ok(files)
}

/// What plain SQLite makes of the files when it only looks: a crash's journal is rolled back by whoever reads first.
fn as_sqlite_leaves(files: &BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let folder = tempfile::tempdir()?;
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes)?;
    }
    for journal in files.keys().filter_map(|name| name.strip_suffix("-journal")) {
        // A journal that cannot be rolled back stays.
        let looked = Connection::open(folder.path().join(journal))
            .and_then(|conn| conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())));
        drop(looked);
    }
    snapshot(folder.path())
}

/// A refused file is there byte for byte, with what lay beside it, and nothing was left behind; but for a journal that
/// nobody can read the file without rolling back.
pub(super) fn must_be_untouched(
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
    trial: &mut Trial,
) {
    let has_journal = before.keys().any(|name| name.ends_with("-journal"));
    if has_journal && as_sqlite_leaves(before).is_ok_and(|settled| settled == *after) {
        return;
    }
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for name in names {
        // The index of a write-ahead log holds nothing that is not in the log.
        if name.ends_with("-shm") {
            continue;
        }
        let problem = match (before.get(name), after.get(name)) {
            (Some(was), Some(is)) if was == is => continue,
            (Some(_), Some(_)) => "was changed",
            (Some(_), None) => "was removed",
            (None, Some(bytes)) if bytes.is_empty() => continue,
            (None, _) => "was left behind",
        };
        trial.problems.push(format!("refused, and {name} {problem}"));
    }
}

/// A refusal says which file or table it is about, and what to do.
pub(super) fn must_tell(message: &str, path: &Path, trial: &mut Trial) {
    const REMEDIES: [&str; 15] = [
        "name a ",
        "use ",
        "name another",
        "restore",
        "recover",
        "run ",
        "try ",
        "check ",
        "free ",
        "wait",
        "remove ",
        "rename",
        "--force",
        "copy",
        "repair",
    ];
    let names_file = message.contains(&*path.to_string_lossy());
    if !names_file && !CHAT_TABLES.iter().chain(&["data, ", "chat."]).any(|table| message.contains(table)) {
        trial.problems.push(format!("the refusal names neither file nor table: {message}"));
    }
    if !REMEDIES.iter().any(|remedy| message.contains(remedy)) {
        trial.problems.push(format!("the refusal names no remedy: {message}"));
    }
}
