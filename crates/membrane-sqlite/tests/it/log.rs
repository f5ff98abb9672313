//! The write-ahead log stays bounded, and nobody who reads stops the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use membrane_sqlite::{SqliteOptions, Synchronous};

use crate::keep::{Keep, value};

const PAGES: u32 = 50;

/// The threshold in bytes: pages with their headers.
const THRESHOLD: u64 = PAGES as u64 * (4096 + 24);

fn options(keep: &Keep) -> SqliteOptions {
    // How the log grows does not depend on syncing.
    SqliteOptions { checkpoint_pages: PAGES, synchronous: Synchronous::Off, ..keep.options() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_bounded_while_readers_read_all_the_time() {
    let keep = Keep::new();
    let f = Arc::new(keep.open_with(options(&keep)).await);
    let (id, read) = (f.create().await, f.session(500).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let reading: Vec<_> = (0..4)
        .map(|_| {
            let (f, read, is_over) = (Arc::clone(&f), read.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut n_reads = 0;
                while !is_over.load(Ordering::Relaxed) {
                    f.thread(&read).await;
                    n_reads += 1;
                }
                n_reads
            })
        })
        .collect();
    let mut longest = 0;
    for _ in 0..2000 {
        f.say(&id, &"x".repeat(6000)).await;
        longest = longest.max(keep.log_bytes());
    }
    is_over.store(true, Ordering::Relaxed);
    for task in reading {
        assert!(task.await.unwrap() > 0);
    }
    let grown: i64 = value(&keep.plain(), "SELECT page_count * 4096 FROM pragma_page_count", []);
    assert!(grown.unsigned_abs() > 50 * THRESHOLD, "the test must write much more than the bound");
    // 8 times when all is well; twice that and twice again when the readers get no processor for seconds.
    assert!(
        longest < 40 * THRESHOLD,
        "the log grew to {longest} bytes, {} times the threshold",
        longest / THRESHOLD
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_reads_for_ever_neither_stops_the_writer_nor_keeps_the_log_growing_after_it() {
    let keep = Keep::new();
    let f = keep.open_with(options(&keep)).await;
    let id = f.session(1).await;
    let plain = keep.plain();
    plain.execute_batch("BEGIN").unwrap();
    assert_eq!(value::<i64>(&plain, "SELECT turn_count FROM chat_sessions", []), 1);
    let begun = Instant::now();
    while keep.log_bytes() < 30 * THRESHOLD {
        f.say(&id, &"x".repeat(2000)).await;
        assert!(begun.elapsed() < Duration::from_secs(60), "the writer waits for the reader again and again");
    }
    assert_eq!(value::<i64>(&plain, "SELECT turn_count FROM chat_sessions", []), 1, "its snapshot stands");
    plain.execute_batch("COMMIT").unwrap();
    // The file keeps its length; the writer starts over at its beginning.
    f.append(&id, 100).await;
    f.append(&id, 100).await;
    let long = keep.log_bytes();
    for _ in 0..500 {
        f.say(&id, &"x".repeat(2000)).await;
    }
    // The turns are many times this; how soon the log starts over depends on when the threads run.
    assert!(keep.log_bytes() <= long + 2 * THRESHOLD, "the log goes on growing from {long}");
    drop(plain);
    f.store.close().await.unwrap();
    assert_eq!(keep.files().len(), 1);
}
