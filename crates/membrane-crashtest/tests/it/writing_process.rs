//! A process that writes to a keep until it is told to end or is killed, and its parent's side of it.
//!
//! Not here: how many there are and what is done to them (`two_processes`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use membrane::{Chat, SessionId};
use membrane_crashtest::campaign::Failure;
use membrane_crashtest::child::{self, ChildError, ChildProcess};
use membrane_crashtest::entry::Entry;
use membrane_sqlite::SqliteOptions;

use crate::keep::{self, Account, PATIENCE};

/// Writers in one process, all at the same time.
pub(crate) const N_WRITERS: u32 = 4;

/// Pages in the write-ahead log at which it is moved. Small, so that both processes move it all the time.
const CHECKPOINT_PAGES: u32 = 64;

/// The session of a process's writer: two share one session with those of every other process, one shares a
/// second one, and one has a session for itself.
pub(crate) fn session_of(writer: u32) -> String {
    match writer % N_WRITERS {
        0 | 1 => "shared-0".to_owned(),
        2 => "shared-1".to_owned(),
        _ => format!("own-{writer}"),
    }
}

/// The options of every process on the keep.
pub(crate) fn options(database: &Path) -> SqliteOptions {
    SqliteOptions {
        checkpoint_pages: CHECKPOINT_PAGES,
        busy_timeout: PATIENCE,
        ..SqliteOptions::at(database)
    }
}

/// The child's side: says `ready`, waits for a line, opens the keep, says `opened`, and lets its writers
/// append, each saying `submitted` before and `acked` after every entry, until its input ends.
pub(crate) fn play(role: &str) -> Result<(), Failure> {
    let (first_writer, database) = role.split_once(' ').ok_or("a role names a writer and a file")?;
    let first_writer: u32 = first_writer.parse()?;
    child::say("ready")?;
    child::listen()?.ok_or("told to end before the beginning")?;
    keep::runtime()?.block_on(async {
        let chat = keep::open(options(Path::new(database))).await?;
        child::say("opened")?;
        let is_over = when_told_to_end();
        let mut writers = Vec::new();
        for writer in first_writer..first_writer + N_WRITERS {
            let id = keep::ensure_session(&chat, &session_of(writer)).await?;
            writers.push(tokio::spawn(write(chat.clone(), id, writer, Arc::clone(&is_over))));
        }
        for writer in writers {
            writer.await??;
        }
        Ok(chat.close().await?)
    })
}

/// A flag that is raised when the parent lets go of this process's input.
fn when_told_to_end() -> Arc<AtomicBool> {
    let is_over = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_over);
    thread::spawn(move || {
        while let Ok(Some(_)) = child::listen() {}
        flag.store(true, Ordering::Relaxed);
    });
    is_over
}

async fn write(chat: Chat, id: SessionId, writer: u32, is_over: Arc<AtomicBool>) -> Result<(), Failure> {
    for number in 1.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let entry = Entry { writer, number };
        child::say(&format!("submitted {writer} {number}"))?;
        keep::append(&chat, &id, entry).await?;
        child::say(&format!("acked {writer} {number}"))?;
    }
    Ok(())
}

/// The parent's side of such a process.
pub(crate) struct WritingProcess {
    process: ChildProcess,
    /// What it has said so far.
    account: Account,
}

impl WritingProcess {
    /// Starts the process; it waits for [`WritingProcess::go`]. `test` is the test that plays it.
    pub(crate) fn start(test: &str, first_writer: u32, database: &Path) -> Result<Self, Failure> {
        let role = format!("{first_writer} {}", database.display());
        let mut started = Self { process: ChildProcess::start(test, &role)?, account: Account::default() };
        match started.process.hear(PATIENCE)? {
            Some(line) if line == "ready" => Ok(started),
            other => Err(ended_early(other.as_deref())),
        }
    }

    /// Lets it open the keep and write.
    pub(crate) fn go(&mut self) -> Result<(), ChildError> {
        self.process.tell("go")
    }

    pub(crate) fn n_acknowledged(&self) -> usize {
        self.account.acknowledged.len()
    }

    /// Waits until it has acknowledged `n_entries` in all.
    pub(crate) fn wait_for(&mut self, n_entries: usize) -> Result<(), Failure> {
        while self.n_acknowledged() < n_entries {
            match self.process.hear(PATIENCE)? {
                Some(line) => note(&mut self.account, &line)?,
                None => return Err(ended_early(None)),
            }
        }
        Ok(())
    }

    /// Lets it finish what is under way and end.
    pub(crate) fn ask_to_end(&mut self) {
        self.process.ask_to_end();
    }

    /// Waits for its end and returns all that it said.
    pub(crate) fn finish(mut self) -> Result<Account, Failure> {
        for line in self.process.finish(PATIENCE)? {
            note(&mut self.account, &line)?;
        }
        Ok(self.account)
    }

    /// Kills it and returns all that it said.
    pub(crate) fn kill(mut self) -> Result<Account, Failure> {
        for line in self.process.kill()? {
            note(&mut self.account, &line)?;
        }
        Ok(self.account)
    }
}

fn ended_early(line: Option<&str>) -> Failure {
    format!("a writing process said {line:?} instead of writing; its failure stands above").into()
}

fn note(account: &mut Account, line: &str) -> Result<(), Failure> {
    if line == "opened" {
        return Ok(());
    }
    let mut words = line.split(' ');
    let (Some(what), Some(writer), Some(number)) = (words.next(), words.next(), words.next()) else {
        return Err(format!("a writing process said {line:?}").into());
    };
    let entry = Entry { writer: writer.parse()?, number: number.parse()? };
    let is_new = match what {
        "submitted" => account.submitted.insert(entry),
        "acked" => account.acknowledged.insert(entry),
        _ => false,
    };
    if is_new { Ok(()) } else { Err(format!("a writing process said {line:?}").into()) }
}
