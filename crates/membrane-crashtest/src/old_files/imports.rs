//! A campaign over Universe files: each is made, perhaps damaged, imported twice, and what came of it judged.
//!
//! Not here: any importer ([`Importer`] is implemented where a store is known).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::campaign::{Trial, Upgraded, must_be_untouched, must_tell, read_copy, snapshot};
use super::cell::Cell;
use super::damage;
use super::kept::Kept;
use super::oracle::{Account, SEEN};
use super::table::Contents;
use super::universe::{self, Document, Expected, UniverseFile};
use crate::campaign::{DATABASE, Failure};
use crate::seed::Choices;

/// Imports Universe files as the program does.
pub trait Importer {
    /// Imports the file into the keep, which is made if it is not there; lets the keep check itself, and closes it.
    ///
    /// # Errors
    /// It was refused: the message that a user sees, with its causes.
    fn import(&self, universe: &Path, keep: &Path) -> Result<Upgraded, String>;
}

/// The kinds of damage that make sense to a file that is only read.
const KINDS: [usize; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11];

/// Tries the `number`-th Universe file of the campaign in an empty folder: every second one is damaged.
///
/// # Errors
/// The file could not be made or looked at; what is wrong with it is in the [`Trial`].
pub fn try_universe(
    importer: &dyn Importer,
    seed: u64,
    number: u64,
    folder: &Path,
) -> Result<Trial, Failure> {
    let file = universe::invent(seed, number);
    let home = folder.join("universe");
    fs::create_dir(&home)?;
    let path = home.join(DATABASE);
    file.write(&path)?;
    let mut trial = Trial { what: format!("{:?}", file.temper), ..Trial::default() };
    trial.tally.n_files = 1;
    let is_damaged = number % 2 == 1;
    if is_damaged {
        let other = folder.join("other.db");
        universe::invent(seed, number + 1_000_000).write(&other)?;
        let mut choices = Choices::of_item(seed ^ 0x6461_6d61_6765, number);
        let kind = KINDS.get(usize::try_from(number / 2)? % KINDS.len()).copied().unwrap_or(0);
        trial.what = format!("{}; {}", damage::inflict(kind, &path, &other, &mut choices)?, trial.what);
    }
    let before = snapshot(&home)?;
    let contents = read_copy(&home);
    let keep = folder.join("keep.db");
    match importer.import(&path, &keep) {
        Err(message) => {
            if !is_damaged {
                trial.problems.push(format!("a sound file was refused: {message}"));
            }
            must_tell(&message, &path, &mut trial);
            trial.tally.n_refused = 1;
            trial.refusal = Some(message);
        }
        Ok(imported) => {
            trial.tally.n_upgraded = 1;
            trial.problems.extend(imported.unsound.iter().map(|line| format!("not sound: {line}")));
            judge(&file, contents.ok().as_ref(), is_damaged, &imported, &keep, &mut trial)?;
            let first = sizes(&keep)?;
            if let Err(message) = importer.import(&path, &keep) {
                trial.problems.push(format!("refused the second time: {message}"));
            }
            let second = sizes(&keep)?;
            if first != second {
                trial.problems.push(format!("importing twice changes something: {first:?}, {second:?}"));
            }
        }
    }
    // SQLite removes a journal that it has dealt with, without which nobody could read the file.
    let dealt_with = |mut files: BTreeMap<String, Vec<u8>>| {
        files.retain(|name, _| !name.ends_with("-journal"));
        files
    };
    must_be_untouched(&dealt_with(before), &dealt_with(snapshot(&home)?), &mut trial);
    if !trial.problems.is_empty() {
        trial.tally.n_lost = 1;
    }
    Ok(trial)
}

fn judge(
    file: &UniverseFile,
    contents: Option<&Contents>,
    is_damaged: bool,
    imported: &Upgraded,
    keep: &Path,
    trial: &mut Trial,
) -> Result<(), Failure> {
    let conn = Connection::open(keep)?;
    let account = imported.account.clone().unwrap_or_default();
    counts(file, &account, is_damaged, trial);
    let there = contents.and_then(|contents| contents.table("data"));
    let is_there = |document: &&Document| {
        there.is_some_and(|table| {
            table.rows.iter().any(|row| {
                table.cell(row, "id").as_text() == Some(&document.id)
                    && table.cell(row, "content").bytes() == Some(&document.content)
                    && *table.cell(row, "metadata") == document.metadata
                    && *table.cell(row, "created_at") == document.created_at
            })
        })
    };
    let mut n_of: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for document in &file.documents {
        if let Some(session) = &document.session {
            let (all, left) = n_of.entry(session).or_default();
            *all += 1;
            *left += usize::from(is_there(&document));
        }
    }
    for (id, expected) in &file.sessions {
        let is_whole = n_of.get(id.as_str()).is_some_and(|(all, left)| all == left);
        if is_whole && let Some(problem) = find_problem(&conn, id, expected, is_damaged)? {
            trial.problems.push(format!("session {id}: {problem}"));
        }
    }
    let kept = Kept::read(&conn)?;
    for document in file.documents.iter().filter(|document| document.must_be_kept).filter(is_there) {
        if !kept.holds(&document.content) {
            let text = String::from_utf8_lossy(&document.content).chars().take(80).collect::<String>();
            trial.problems.push(format!("a broken document is gone: {text:?}"));
        }
    }
    Ok(())
}

fn counts(file: &UniverseFile, account: &Account, is_damaged: bool, trial: &mut Trial) {
    for (schema, n_documents) in &file.n_documents {
        let counted = account.tables.get(*schema).copied().unwrap_or_default();
        trial.tally.n_read += counted.read;
        trial.tally.n_skipped += counted.skipped;
        let is_complete = counted.read + counted.skipped == counted.total;
        if !is_complete || (!is_damaged && counted.total != *n_documents) {
            trial.problems.push(format!("{schema}: {counted:?}, the file has {n_documents} documents"));
        }
    }
}

fn find_problem(
    conn: &Connection,
    id: &str,
    expected: &Expected,
    is_damaged: bool,
) -> Result<Option<String>, Failure> {
    let found = conn
        .query_row(
            "SELECT parent_id, branch_name, project_id FROM chat_sessions WHERE id = ?1",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let names = (expected.parent.clone(), expected.branch.clone(), expected.project.clone());
    if found.as_ref() != Some(&names) {
        return Ok(Some(format!("is {found:?} and not {names:?}")));
    }
    let mut statement = conn.prepare_cached(
        "SELECT user_message, assistant_response FROM chat_turns WHERE session_id = ?1 ORDER BY turn_number",
    )?;
    let shown: Vec<(String, String)> =
        statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let turns: Vec<_> = expected.turns.iter().map(|turn| (turn.user.clone(), turn.reply.clone())).collect();
    // A damaged document may say that it is of this session.
    if shown != turns && !is_damaged {
        return Ok(Some(format!("shows {} turns, not the {} that there were", shown.len(), turns.len())));
    }
    for (checkpoint, seen) in &expected.checkpoints {
        let place: Option<(i64, i64)> = conn
            .query_row(
                "SELECT history_id, turn_count FROM chat_checkpoints WHERE id = ?1 AND session_id = ?2",
                [checkpoint.as_str(), id],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some(place) = place else { return Ok(Some(format!("checkpoint {checkpoint} is gone"))) };
        let mut statement = conn.prepare_cached(SEEN)?;
        let found: Vec<(String, String)> =
            statement.query_map(place, |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        if found != *seen {
            return Ok(Some(format!(
                "checkpoint {checkpoint} sees {} turns, not {}",
                found.len(),
                seen.len()
            )));
        }
    }
    let crystal: Option<String> = conn
        .query_row("SELECT title FROM chat_crystals WHERE session_id = ?1", [id], |row| row.get(0))
        .optional()?;
    Ok((crystal != expected.crystal).then(|| format!("its crystal is {crystal:?}")))
}

/// How much a keep holds.
fn sizes(keep: &Path) -> Result<Vec<(String, Cell)>, Failure> {
    let conn = Connection::open(keep)?;
    let tables = ["chat_sessions", "turns", "slices", "chat_checkpoints", "chat_crystals", "legacy_rows"];
    let size = |table: &&str| {
        let count = conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
        Ok(((*table).to_owned(), Cell::Int(count?)))
    };
    tables.iter().map(size).collect()
}
