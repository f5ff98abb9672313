//! Another connection holds the database: what waits too long is told so, and what waits long enough goes
//! through.
//!
//! Not here: two keeps that both write (`two_processes`).

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use membrane::{Chat, ChatError};
use membrane_crashtest::campaign::{DATABASE, Failure};
use membrane_crashtest::entry::Entry;
use membrane_sqlite::SqliteOptions;
use rusqlite::Connection;

use crate::keep::{self, PATIENCE};

/// How long a change waits in the tests that want a refusal.
const SHORT: Duration = Duration::from_millis(300);

fn hold(database: &Path) -> rusqlite::Result<Connection> {
    let holder = Connection::open(database)?;
    holder.busy_timeout(PATIENCE)?;
    holder.execute_batch("BEGIN IMMEDIATE")?;
    Ok(holder)
}

async fn open(database: &Path, busy_timeout: Duration) -> Result<Chat, Failure> {
    keep::open(SqliteOptions { busy_timeout, ..SqliteOptions::at(database) }).await
}

/// The message with those of all causes, as a log would show them.
fn in_words(error: &ChatError) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words = format!("{words}: {inner}");
        cause = inner.source();
    }
    words
}

#[test]
fn a_change_that_waits_too_long_for_another_process_is_told_so_in_plain_words() {
    keep::runtime().unwrap().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join(DATABASE);
        let chat = open(&database, SHORT).await.unwrap();
        let id = keep::ensure_session(&chat, "s").await.unwrap();
        let holder = hold(&database).unwrap();

        let began = Instant::now();
        let error = keep::append(&chat, &id, Entry { writer: 0, number: 1 }).await.unwrap_err();
        assert!(matches!(error, ChatError::Unavailable { .. }), "{error:?}");
        assert!(!in_words(&error).contains("locked"), "{}", in_words(&error));
        assert!(in_words(&error).contains("another process holds the database"), "{}", in_words(&error));
        assert!(began.elapsed() >= SHORT, "it must have waited: {:?}", began.elapsed());
        // Reading needs no write lock.
        assert_eq!(keep::entries_of(&chat, &id).await.unwrap(), Some(Vec::new()));

        holder.execute_batch("COMMIT").unwrap();
        let entry = Entry { writer: 0, number: 2 };
        keep::append(&chat, &id, entry).await.unwrap();
        assert_eq!(keep::entries_of(&chat, &id).await.unwrap(), Some(vec![entry]));
        chat.close().await.unwrap();
    });
}

#[test]
fn many_changes_that_wait_together_are_refused_after_one_wait_and_not_after_one_each() {
    const N_WAITING: u32 = 64;
    keep::runtime().unwrap().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join(DATABASE);
        let chat = open(&database, SHORT).await.unwrap();
        let id = keep::ensure_session(&chat, "s").await.unwrap();
        let holder = hold(&database).unwrap();

        let began = Instant::now();
        let waiting: Vec<_> = (0..N_WAITING)
            .map(|writer| {
                let (chat, id) = (chat.clone(), id.clone());
                tokio::spawn(async move { keep::append(&chat, &id, Entry { writer, number: 1 }).await })
            })
            .collect();
        for waiting in waiting {
            let error = waiting.await.unwrap().unwrap_err();
            assert!(matches!(error, ChatError::Unavailable { .. }), "{error:?}");
        }
        // The first may wait alone and the others behind it. One wait each would be 64 of them.
        let limit = SHORT * N_WAITING / 4;
        assert!(began.elapsed() < limit, "{:?} for {N_WAITING} refusals", began.elapsed());

        holder.execute_batch("COMMIT").unwrap();
        assert_eq!(keep::entries_of(&chat, &id).await.unwrap(), Some(Vec::new()));
        chat.close().await.unwrap();
    });
}

#[test]
fn a_change_that_waits_goes_through_once_the_database_is_let_go() {
    keep::runtime().unwrap().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join(DATABASE);
        let chat = open(&database, PATIENCE).await.unwrap();
        let id = keep::ensure_session(&chat, "s").await.unwrap();
        let holder = hold(&database).unwrap();

        let entry = Entry { writer: 0, number: 1 };
        let mut waiting = {
            let (chat, id) = (chat.clone(), id.clone());
            tokio::spawn(async move { keep::append(&chat, &id, entry).await })
        };
        tokio::time::timeout(SHORT, &mut waiting).await.expect_err("the database is held, so it must wait");
        holder.execute_batch("COMMIT").unwrap();
        tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
        assert_eq!(keep::entries_of(&chat, &id).await.unwrap(), Some(vec![entry]));
        chat.close().await.unwrap();
    });
}

#[test]
fn a_keep_that_is_opened_while_another_process_holds_it_opens_once_it_is_let_go() {
    keep::runtime().unwrap().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join(DATABASE);
        open(&database, PATIENCE).await.unwrap().close().await.unwrap();
        let holder = hold(&database).unwrap();
        let opening = tokio::spawn(async move { open(&database, PATIENCE).await });
        holder.execute_batch("COMMIT").unwrap();
        opening.await.unwrap().unwrap().close().await.unwrap();
    });
}
