//! The keep as a target of power-loss campaigns.
//!
//! Not here: cutting and judging (`membrane_crashtest::campaign`).

use std::collections::BTreeMap;
use std::path::Path;

use membrane::{Chat, NewTurn, SessionId, WriteOptions};
use membrane_crashtest::campaign::{Failure, Target};
use membrane_crashtest::entry::Entry;
use membrane_sqlite::{SqliteOptions, Synchronous};

use crate::branching::{self, Branches};
use crate::keep::{self, Keep, Listed, PATIENCE};

/// Pages in the write-ahead log at which it is moved into the main file. Small, so that a short recording
/// holds many such moves and restarts of the log, where most syncs are at stake.
const CHECKPOINT_PAGES: u32 = 48;

/// Writers that share a session.
const WRITERS_PER_SESSION: u32 = 2;

/// The keep with a durability.
///
/// Writers of even numbers append to sessions that two of them share; those of odd numbers branch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepTarget {
    pub(crate) synchronous: Synchronous,
    /// The most entries that a writer makes.
    pub(crate) n_entries_each: u64,
}

/// A session of the plain writers; both of a pair get the same.
fn shared_session(writer: u32) -> String {
    format!("shared-{}", writer / 2 / WRITERS_PER_SESSION)
}

fn branches(writer: u32) -> bool {
    writer % 2 == 1
}

impl Target for KeepTarget {
    type Open = Keep;

    fn name(&self) -> &'static str {
        "keep"
    }

    fn synchronous(&self) -> &'static str {
        match self.synchronous {
            Synchronous::Full => "FULL",
            Synchronous::Normal => "NORMAL",
            Synchronous::Off => "OFF",
        }
    }

    fn open(&self, database: &Path, vfs: &str, n_writers: u32) -> Result<Keep, Failure> {
        let keep = Keep::open(SqliteOptions {
            synchronous: self.synchronous,
            checkpoint_pages: CHECKPOINT_PAGES,
            busy_timeout: PATIENCE,
            vfs: Some(vfs.to_owned()),
            ..SqliteOptions::at(database)
        })?;
        for writer in 0..n_writers {
            if branches(writer) {
                keep.wait_for(branching::begin(&keep.chat, writer))?;
            } else {
                keep.wait_for(keep::ensure_session(&keep.chat, &shared_session(writer)))?;
            }
        }
        Ok(keep)
    }

    fn append(&self, keep: &Keep, entry: Entry) -> Result<(), Failure> {
        keep.wait_for(async {
            if branches(entry.writer) {
                return branching::play(&keep.chat, entry).await;
            }
            let id = SessionId::parse(&shared_session(entry.writer))?;
            keep::append(&keep.chat, &id, entry).await?;
            Ok(())
        })
    }

    fn close(&self, keep: Keep) -> Result<(), Failure> {
        keep.close()
    }

    fn survivors(&self, database: &Path) -> Result<Vec<Entry>, Failure> {
        let keep = Keep::open(SqliteOptions { readers: 1, ..SqliteOptions::at(database) })?;
        let survivors = keep.wait_for(async {
            keep::must_be_sound(&keep.chat).await?;
            let survivors = self.list(&keep.chat).await?;
            must_go_on(&keep.chat).await?;
            Ok::<_, Failure>(survivors)
        });
        keep.close()?;
        survivors
    }
}

impl KeepTarget {
    /// What every writer finds. Entries of plain writers are those that their session shows; those of
    /// branching writers are the steps that their sessions, taken together, show as done.
    async fn list(&self, chat: &Chat) -> Result<Vec<Entry>, Failure> {
        let mut survivors = Vec::new();
        let mut by_writer = BTreeMap::<u32, Branches>::new();
        for listed in keep::list_all(chat).await? {
            let Some(project) = &listed.project else {
                must_be_of_plain_writers(&listed)?;
                survivors.extend(listed.entries);
                continue;
            };
            let writer: u32 = project.strip_prefix("writer ").ok_or("a foreign project")?.parse()?;
            let twice = by_writer.entry(writer).or_default().insert(listed.branch_name, listed.entries);
            if twice.is_some() {
                return Err(format!("a branch of writer {writer} is there twice").into());
            }
        }
        for (writer, found) in by_writer {
            let n_steps = branching::steps_done(writer, &found, self.n_entries_each)?;
            survivors.extend((1..=n_steps).map(|number| Entry { writer, number }));
        }
        Ok(survivors)
    }
}

fn must_be_of_plain_writers(listed: &Listed) -> Result<(), Failure> {
    let is_foreign =
        |entry: &&Entry| listed.id.as_str() != shared_session(entry.writer) || branches(entry.writer);
    match listed.entries.iter().find(is_foreign) {
        Some(foreign) => Err(format!("{foreign} stands in session {}", listed.id).into()),
        None => keep::must_be_whole(&listed.entries),
    }
}

/// What survived must also take new turns.
async fn must_go_on(chat: &Chat) -> Result<(), Failure> {
    let id = keep::ensure_session(chat, "after-the-power-came-back").await?;
    let turn = NewTurn::new("are you there?", "yes");
    let appended = chat.append(&id, turn, WriteOptions::default()).await?;
    if appended.turn_count == 1 { Ok(()) } else { Err("a new session has turns".into()) }
}
