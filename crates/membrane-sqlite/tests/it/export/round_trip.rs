//! Out and back: an exported file that becomes a keep again holds what the first one held.

use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use membrane_core::checkpoint::Checkpoint;
use membrane_core::ids::{HistoryId, SessionId};
use membrane_core::session::Session;
use membrane_core::turn::{KeptTurn, Signal, Turn};
use membrane_sqlite::v1::UpgradeOptions;
use membrane_sqlite::{SqliteOptions, SqliteStore};
use membrane_store::conformance::fixture::Fixture;
use membrane_store::kgents::{Finding, Oddity};

use super::furniture::furnish;
use super::stage::{Exported, all_rows};
use crate::keep::{Keep, column};

/// Turns, and what users said of each.
type Said = Vec<(Turn, Vec<Signal>)>;

/// What must be the same of a session: not its version, and not the store's own numbers.
#[derive(Debug, PartialEq)]
struct Content {
    session: Session,
    turns: Vec<(Turn, Vec<Signal>, i64)>,
    checkpoints: Vec<(Checkpoint, Said)>,
    crystal: Option<membrane_core::crystal::Crystal>,
}

async fn content(f: &Fixture, id: &SessionId) -> Content {
    let thread = f.thread(id).await;
    let mut session = thread.session;
    (session.version, session.cut.history) = (0, HistoryId(0));
    let turns =
        thread.turns.into_iter().map(|KeptTurn { turn, signals, flipped, .. }| (turn, signals, flipped));
    let mut checkpoints = Vec::new();
    for mut checkpoint in f.store.list_checkpoints(id).await.unwrap() {
        let turns = f.store.load_turns(checkpoint.cut, 0..u64::MAX).await.unwrap();
        checkpoint.cut.history = HistoryId(0);
        checkpoints.push((checkpoint, turns.into_iter().map(|kept| (kept.turn, kept.signals)).collect()));
    }
    let crystal = f.store.find_crystal(id).await.unwrap();
    Content { session, turns: turns.collect(), checkpoints, crystal }
}

/// Opens an exported file, which becomes a keep.
async fn open(path: &Path, naive_zone: TimeZone) -> Fixture {
    let upgrade = UpgradeOptions { naive_zone, ..UpgradeOptions::default() };
    let store = SqliteStore::open(SqliteOptions { upgrade, ..SqliteOptions::at(path) }).await.unwrap();
    let report = &store.upgrade().unwrap().report;
    assert!(report.is_complete(), "{report:?}");
    // A rewind leaves such turns, and nothing else is odd.
    let is_odd = |finding: &&Finding| finding.oddity != Oddity::OnlyInCheckpoint;
    assert_eq!(report.findings.iter().filter(is_odd).collect::<Vec<_>>(), [] as [&Finding; 0]);
    assert_eq!(report.kept_aside, 0);
    Fixture::new(Arc::new(store))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_goes_out_and_comes_back_as_it_was() {
    let keep = Keep::new();
    let f = keep.open().await;
    furnish(&f).await;
    let exported = Exported::of(&f, keep.folder()).await;
    let first = all_rows(&exported.conn);
    let back = open(&exported.path, TimeZone::UTC).await;
    let ids = column::<String>(&keep.plain(), "SELECT id FROM chat_sessions ORDER BY id", []);
    for id in ids {
        let id = SessionId::from_stored(&id);
        assert_eq!(content(&back, &id).await, content(&f, &id).await);
    }
    assert_eq!(back.store.check().await.unwrap(), Vec::<String>::new());
    let again = Exported::of(&back, keep.folder()).await;
    assert_eq!(again.report, exported.report);
    for (first, again) in first.iter().flatten().zip(all_rows(&again.conn).iter().flatten()) {
        assert_eq!(first, again);
    }
}
