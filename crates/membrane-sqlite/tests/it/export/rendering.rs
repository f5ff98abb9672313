//! Forks, merges, rewinds and what else gives a session its thread: rendered whole, as the view shows it.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use membrane_core::ids::SessionId;
use membrane_core::time::{SystemClock, Timestamp};
use membrane_sqlite::export::{ExportOptions, LeftOut, Selection, export_v1};
use membrane_store::conformance::fixture::{Fixture, append};
use membrane_store::memory::MemoryStore;

use super::furniture::furnish;
use super::stage::{Exported, export, same_in_sql};
use crate::keep::{Keep, column, value};

/// The four names that the published guide gives.
const INDEXES: [&str; 4] = [
    "idx_chat_sessions_active",
    "idx_chat_sessions_parent",
    "idx_chat_sessions_project",
    "idx_chat_turns_session",
];

#[tokio::test(flavor = "multi_thread")]
async fn sql_readers_find_in_the_file_what_they_find_in_the_keep() {
    let keep = Keep::new();
    let f = keep.open().await;
    furnish(&f).await;
    let exported = Exported::of(&f, keep.folder()).await;
    same_in_sql(&keep, &exported);
    assert_eq!(exported.report.left_out, LeftOut::default());
    assert_eq!(exported.report.times_with_offset, 0);
    let tables =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let tables = column::<String>(&exported.conn, tables, []);
    assert_eq!(tables, ["chat_checkpoints", "chat_crystals", "chat_sessions", "chat_turns"]);
    let indexes = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name";
    assert_eq!(column::<String>(&exported.conn, indexes, []), INDEXES);
    let parents = "SELECT count(*) FROM chat_sessions child JOIN chat_sessions parent \
        ON parent.id = child.parent_id WHERE parent.rowid > child.rowid";
    assert_eq!(value::<i64>(&exported.conn, parents, []), 0, "parents come first");
    let parents = "SELECT parent_id FROM chat_sessions ORDER BY id";
    assert_eq!(
        column::<Option<String>>(&exported.conn, parents, []),
        column::<Option<String>>(&keep.plain(), parents, [])
    );
    assert_eq!(column::<String>(&exported.conn, "SELECT DISTINCT state FROM chat_sessions", []), ["idle"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_backend_is_exported_alike() {
    let keep = Keep::new();
    let (sqlite, memory) =
        (keep.open().await, Fixture::new(Arc::new(MemoryStore::new(Arc::new(SystemClock)))));
    furnish(&sqlite).await;
    furnish(&memory).await;
    let (one, other) = (keep.folder().join("one.db"), keep.folder().join("other.db"));
    let reports =
        (export(&*sqlite.store, &one).await.unwrap(), export(&*memory.store, &other).await.unwrap());
    assert_eq!(reports.0, reports.1);
    assert!(std::fs::read(one).unwrap() == std::fs::read(other).unwrap(), "the files differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_parent_is_left_out_and_remembered() {
    let keep = Keep::new();
    let f = keep.open().await;
    let root = f.session(3).await;
    let fork = f.fork(&root, 2).await;
    let deep = f.fork(&fork, 1).await;
    f.delete(&root).await;
    let exported = Exported::of(&f, keep.folder()).await;
    assert_eq!(exported.report.left_out, LeftOut { parents: 1, ..LeftOut::default() });
    assert_eq!(exported.text(&fork, "parent_id"), None);
    assert_eq!(
        exported.text(&fork, "evidence_json ->> '$.membrane.parent_id'").as_deref(),
        Some(root.as_str())
    );
    assert_eq!(exported.text(&fork, "evidence_json ->> '$.membrane.family'").as_deref(), Some(root.as_str()));
    assert_eq!(exported.text(&deep, "parent_id").as_deref(), Some(fork.as_str()));
    assert_eq!(exported.text(&deep, "evidence_json ->> '$.membrane.parent_id'"), None);
    same_in_sql(&keep, &exported);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_or_single_sessions_can_be_exported_alone() {
    let keep = Keep::new();
    let f = keep.open().await;
    let deep = furnish(&f).await;
    let with = |selection| ExportOptions { naive_zone: TimeZone::UTC, selection };
    let ids = "SELECT id FROM chat_sessions ORDER BY id";
    for selection in [
        Selection::Project("alpha".into()),
        Selection::Sessions(vec![deep.clone()]),
        Selection::Sessions(vec![deep.clone(), deep.clone()]),
    ] {
        let exported = Exported::with(&f, keep.folder(), with(selection)).await;
        assert_eq!(column::<String>(&exported.conn, ids, []), [deep.as_str()]);
        assert_eq!(exported.report.left_out.parents, 1, "its parent is not exported");
        assert_eq!((exported.report.turns, exported.report.crystals), (5, 1));
    }
    let none = Exported::with(&f, keep.folder(), with(Selection::Project("none".into()))).await;
    assert_eq!(none.report.sessions, 0);
    let out = keep.folder().join("none.db");
    let unknown = with(Selection::Sessions(vec![deep, SessionId::from_stored("nope")]));
    let error = export_v1(&*f.store, &out, unknown).await.unwrap_err();
    assert!(error.to_string().contains("session nope not found") && !out.exists(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_under_way_is_not_exported_and_is_counted() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.session(2).await;
    let run = f.begin(&id, Duration::from_secs(3600)).await;
    let exported = Exported::of(&f, keep.folder()).await;
    assert_eq!(exported.report.left_out, LeftOut { runs: 1, ..LeftOut::default() });
    assert_eq!((exported.report.turns, exported.text(&id, "state").as_deref()), (2, Some("idle")));
    assert_eq!(f.store.find_run(&id).await.unwrap().map(|run| run.id), Some(run.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_keep_gives_an_empty_file() {
    let keep = Keep::new();
    let f = keep.open().await;
    let exported = Exported::of(&f, keep.folder()).await;
    assert_eq!((exported.report.sessions, exported.report.left_out), (0, LeftOut::default()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_that_came_twice_carries_its_offset_and_every_time_comes_back() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.create().await;
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let times = [
        ("2026-10-25T00:30:00.000000Z", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25T01:30:00.000000Z", "2026-10-25T02:30:00+01:00"),
        ("2026-07-01T10:00:00.000001Z", "2026-07-01T12:00:00.000001"),
        ("2026-01-01T10:00:00.000000Z", "2026-01-01T11:00:00"),
    ];
    for (utc, _) in times {
        let mut turn = f.turn("then");
        (turn.started_at, turn.completed_at) =
            (Timestamp::parse(utc).unwrap(), Timestamp::parse(utc).unwrap());
        f.write(append(&id, vec![turn])).await;
    }
    let options = ExportOptions { naive_zone: zone.clone(), selection: Selection::All };
    let exported = Exported::with(&f, keep.folder(), options).await;
    assert_eq!(exported.report.times_with_offset, 4, "two turns, each with two times");
    let started =
        column::<String>(&exported.conn, "SELECT started_at FROM chat_turns ORDER BY turn_number", []);
    assert_eq!(started, times.map(|(_, local)| local));
    for (local, (utc, _)) in started.iter().zip(times) {
        let instant = match local.parse::<jiff::Timestamp>() {
            Ok(instant) => instant,
            Err(_) => zone.to_timestamp(local.parse().unwrap()).unwrap(),
        };
        assert_eq!(format!("{instant:.6}"), utc);
    }
}
