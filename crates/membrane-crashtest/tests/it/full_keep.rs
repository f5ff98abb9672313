//! A keep on a disk that is really full, and has room again while the keep stays open.
//!
//! Not here: how the small disk comes about (`membrane_crashtest::small_disk`).

use std::fs;
use std::path::Path;

use membrane::{Chat, ChatError, NewTurn, SessionId, WriteOptions};
use membrane_crashtest::campaign::{DATABASE, Failure};
use membrane_crashtest::entry::Entry;
use membrane_crashtest::small_disk::{SmallDisk, on_small_disk};
use membrane_sqlite::SqliteOptions;

use crate::keep::{self, Account, PATIENCE};

const DISK_BYTES: u64 = 24 << 20;

/// Appenders at the same time, and the sessions that they share.
const N_WRITERS: u32 = 64;
const N_SESSIONS: u32 = 16;

/// Room that is left when the disk is filled: more than one entry needs, and less than the texts alone of one
/// round of all writers.
const ROOM_BYTES: u64 = 64 << 10;

/// The size of a page of the database, and of a page of the small disk.
const PAGE_BYTES: u64 = 4096;

/// How a round went in which every writer appended one entry at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Round {
    n_acknowledged: usize,
    n_refused: usize,
}

/// A keep with its writers' sessions and what they have been told.
struct Crowd {
    chat: Chat,
    sessions: Vec<SessionId>,
    account: Account,
    n_rounds: u64,
}

impl Crowd {
    async fn open(options: SqliteOptions) -> Result<Self, Failure> {
        let chat = keep::open(options).await?;
        let mut sessions = Vec::new();
        for number in 0..N_SESSIONS {
            sessions.push(keep::ensure_session(&chat, &format!("session-{number}")).await?);
        }
        Ok(Self { chat, sessions, account: Account::default(), n_rounds: 0 })
    }

    /// Lets every writer append its next entry, all at once.
    ///
    /// # Errors
    /// An append failed with anything but a full storage, or took longer than it may.
    async fn round(&mut self) -> Result<Round, Failure> {
        self.n_rounds += 1;
        let number = self.n_rounds;
        let appends: Vec<_> = (0..N_WRITERS)
            .zip(self.sessions.iter().cycle())
            .map(|(writer, id)| {
                let (chat, id, entry) = (self.chat.clone(), id.clone(), Entry { writer, number });
                (entry, tokio::spawn(async move { keep::append(&chat, &id, entry).await }))
            })
            .collect();
        let mut round = Round { n_acknowledged: 0, n_refused: 0 };
        for (entry, append) in appends {
            self.account.submitted.insert(entry);
            match tokio::time::timeout(PATIENCE, append).await?? {
                Ok(_) => {
                    round.n_acknowledged += 1;
                    self.account.acknowledged.insert(entry);
                }
                Err(ChatError::StorageFull) => {
                    round.n_refused += 1;
                    self.account.refused.insert(entry);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(round)
    }

    /// Reads everything and holds it against what the writers have been told.
    async fn must_hold(&self, chat: &Chat) -> Result<(), Failure> {
        let mut found = Vec::new();
        for id in &self.sessions {
            let entries = keep::entries_of(chat, id).await?.ok_or("a session is gone")?;
            keep::in_order(&entries)?;
            found.extend(entries);
        }
        self.account.must_match(&found)?;
        keep::must_be_sound(chat).await
    }
}

/// Fills the disk under a crowd and empties it again. Returns how the rounds went from the one in which the
/// disk became full, while it was, and the line that sums it all up.
async fn fill_up(disk: &SmallDisk, checkpoint_pages: u32) -> Result<(Vec<Round>, String), Failure> {
    let options = SqliteOptions { checkpoint_pages, ..SqliteOptions::at(disk.path().join(DATABASE)) };
    let mut crowd = Crowd::open(options.clone()).await?;
    let all_kept = Round { n_acknowledged: N_WRITERS as usize, n_refused: 0 };
    for _ in 0..5 {
        assert_eq!(crowd.round().await?, all_kept, "there is room");
    }

    let ballast = disk.fill("ballast", ROOM_BYTES)?;
    let mut full = crowd.round().await?;
    // A log that can be moved and started over makes some room by itself, but not for ever.
    for _ in 0..200 {
        if full.n_refused > 0 {
            break;
        }
        full = crowd.round().await?;
    }
    assert!(full.n_refused > 0, "the disk must become full: {full:?}");
    let mut while_full = vec![full];
    for _ in 0..3 {
        crowd.must_hold(&crowd.chat).await?;
        while_full.push(crowd.round().await?);
    }
    crowd.must_hold(&crowd.chat).await?;
    let n_kept_while_full = crowd.account.acknowledged.len();

    ballast.remove()?;
    for _ in 0..5 {
        assert_eq!(crowd.round().await?, all_kept, "there is room again");
    }
    crowd.must_hold(&crowd.chat).await?;
    crowd.chat.close().await?;
    let reopened = keep::open(options).await?;
    crowd.must_hold(&reopened).await?;
    reopened.close().await?;
    let line = format!(
        "campaign: full_disk target=keep writers={N_WRITERS} checkpoint_pages={checkpoint_pages} acked={} \
         refused={} acked_until_full={n_kept_while_full} in_the_filling_round={}+{} lost=0",
        crowd.account.acknowledged.len(),
        crowd.account.refused.len(),
        full.n_acknowledged,
        full.n_refused,
    );
    Ok((while_full, line))
}

/// Runs an asynchronous body on a small disk; what it printed there ends with the line that it returned.
fn on_disk<F>(test: &str, body: impl FnOnce(SmallDisk) -> F) -> Result<String, Failure>
where
    F: Future<Output = Result<String, Failure>>,
{
    let mut outcome = Ok(String::new());
    let said = on_small_disk(test, DISK_BYTES, |disk| {
        outcome = keep::runtime().and_then(|runtime| runtime.block_on(body(disk.clone())));
    })?;
    Ok(said + &outcome?)
}

#[test]
fn a_disk_that_fills_in_the_middle_of_a_batch_of_64_refuses_loses_nothing_and_goes_on_when_there_is_room() {
    let said = on_disk(
        "full_keep::a_disk_that_fills_in_the_middle_of_a_batch_of_64_refuses_loses_nothing_and_goes_on_when_there_is_room",
        |disk| async move {
            let (while_full, line) = fill_up(&disk, 4000).await?;
            assert!(while_full.iter().all(|round| round.n_refused > 0), "it must stay full: {while_full:?}");
            let filling = while_full.first().copied();
            assert!(
                filling.is_some_and(|round| round.n_acknowledged > 0),
                "one part of the batch that fills the disk finds room and the other does not: {filling:?}"
            );
            Ok(line)
        },
    );
    println!("{}", said.unwrap());
}

#[test]
fn a_disk_that_fills_while_the_log_is_moved_refuses_loses_nothing_and_goes_on_when_there_is_room() {
    let said = on_disk(
        "full_keep::a_disk_that_fills_while_the_log_is_moved_refuses_loses_nothing_and_goes_on_when_there_is_room",
        |disk| async move { Ok(fill_up(&disk, 64).await?.1) },
    );
    println!("{}", said.unwrap());
}

/// Appends a turn of about 16 pages.
async fn append_long(chat: &Chat, id: &SessionId, number: u64) -> Result<(), ChatError> {
    let turn = NewTurn::new(format!("turn {number}"), "x".repeat(16 * 4000));
    chat.append(id, turn, WriteOptions::default()).await.map(drop)
}

fn n_frames(log: &Path) -> Result<u64, Failure> {
    Ok(fs::metadata(log)?.len() / (PAGE_BYTES + 24))
}

/// What another process would find if this one were killed now.
async fn n_turns_after_a_kill(database: &Path, log: &Path, id: &SessionId) -> Result<u64, Failure> {
    let copies = tempfile::tempdir()?;
    let copy = copies.path().join(DATABASE);
    fs::copy(database, &copy)?;
    fs::copy(log, copies.path().join(format!("{DATABASE}-wal")))?;
    let chat = keep::open(SqliteOptions::at(copy)).await?;
    let session = chat.find_session(id).await?.ok_or("the session is gone")?;
    chat.close().await?;
    Ok(session.turn_count())
}

/// The log's index grows by a whole step of 32 KiB when the log reaches this many pages, and this growing
/// fails in another way than a write.
const FRAMES_OF_FIRST_STEP: u64 = 4062;

#[test]
fn a_disk_that_is_full_when_the_index_of_the_log_must_grow_refuses_and_goes_on_when_there_is_room() {
    let said = on_disk(
        "full_keep::a_disk_that_is_full_when_the_index_of_the_log_must_grow_refuses_and_goes_on_when_there_is_room",
        |disk| async move {
            let database = disk.path().join(DATABASE);
            let log = disk.path().join(format!("{DATABASE}-wal"));
            let options = SqliteOptions { checkpoint_pages: 1_000_000, ..SqliteOptions::at(&database) };
            let chat = keep::open(options).await?;
            let id = keep::ensure_session(&chat, "s").await?;
            let mut n_kept = 0;
            while n_frames(&log)? + 40 < FRAMES_OF_FIRST_STEP {
                append_long(&chat, &id, n_kept).await?;
                n_kept += 1;
            }

            // The room comes back page by page, so that there is a moment when it is enough for the log and
            // not for the index.
            let mut ballast = disk.fill("ballast", 0)?;
            let mut n_refused = 0;
            let mut n_refused_for_index = 0;
            while n_frames(&log)? < FRAMES_OF_FIRST_STEP + 40 {
                let n_frames_before = n_frames(&log)?;
                match append_long(&chat, &id, n_kept).await {
                    Ok(()) => n_kept += 1,
                    Err(ChatError::StorageFull) => {
                        n_refused += 1;
                        // The log has all that it needs, and yet the append does not go through.
                        if n_frames(&log)? >= FRAMES_OF_FIRST_STEP {
                            assert_eq!(
                                n_turns_after_a_kill(&database, &log, &id).await?,
                                n_kept,
                                "refused is refused"
                            );
                        }
                        n_refused_for_index += u64::from(n_frames(&log)? == n_frames_before);
                        ballast.shrink(PAGE_BYTES)?;
                    }
                    Err(error) => return Err(error.into()),
                }
                assert_eq!(
                    chat.load_session(&id).await?.map(|session| session.turns.len() as u64),
                    Some(n_kept)
                );
            }
            // A step of the index is eight pages, and they come back one by one.
            assert!(n_refused_for_index >= 4, "the index must have lacked room: {n_refused_for_index}");
            keep::must_be_sound(&chat).await?;
            ballast.remove()?;
            append_long(&chat, &id, n_kept).await?;
            keep::must_be_sound(&chat).await?;
            chat.close().await?;
            Ok(format!(
                "campaign: full_disk target=keep growing=index acked={} refused={n_refused} \
                 refused_for_index={n_refused_for_index} lost=0",
                n_kept + 1
            ))
        },
    );
    println!("{}", said.unwrap());
}

#[test]
fn a_keep_that_is_opened_on_a_full_disk_says_so_and_opens_when_there_is_room() {
    let said = on_disk(
        "full_keep::a_keep_that_is_opened_on_a_full_disk_says_so_and_opens_when_there_is_room",
        |disk| async move {
            let options = SqliteOptions::at(disk.path().join(DATABASE));
            let mut crowd = Crowd::open(options.clone()).await?;
            crowd.round().await?;
            crowd.chat.close().await?;
            let mut ballast = disk.fill("ballast", 0)?;
            let mut n_refused = 0;
            let reopened = loop {
                match keep::open(options.clone()).await {
                    Ok(chat) => break chat,
                    Err(error) if error.to_string().contains("the storage is full") => n_refused += 1,
                    Err(error) => return Err(error),
                }
                ballast.shrink(PAGE_BYTES)?;
            };
            assert!(n_refused > 0, "opening needs room for the log's index");
            crowd.must_hold(&reopened).await?;
            ballast.remove()?;
            crowd.chat = reopened;
            crowd.round().await?;
            crowd.must_hold(&crowd.chat).await?;
            crowd.chat.close().await?;
            Ok(format!("campaign: full_disk target=keep opening=full refused={n_refused} lost=0"))
        },
    );
    println!("{}", said.unwrap());
}
