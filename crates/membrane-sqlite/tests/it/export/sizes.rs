//! Long sessions, many of them, and texts of every kind.

use membrane_core::turn::Turn;
use membrane_store::Change;
use membrane_store::conformance::fixture::append;

use super::stage::{Exported, same_in_sql};
use crate::keep::{Keep, value};

#[tokio::test(flavor = "multi_thread")]
async fn texts_come_back_byte_for_byte_whatever_is_in_them_and_however_long_they_are() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.create().await;
    let long = "ü🙂\0x".repeat((4 << 20) / 8);
    let texts = ["", "\0", "a\0b", "🙂👩‍👩‍👧", "\u{feff}\r\n\t\u{7f}", "'; DROP TABLE chat_turns; --", &long];
    let turns: Vec<Turn> = texts
        .iter()
        .map(|text| {
            let mut turn = f.turn(text);
            turn.assistant.content = (*text).to_owned();
            turn
        })
        .collect();
    f.write(append(&id, turns)).await;
    f.name_place(&id, "here").await;
    let exported = Exported::of(&f, keep.folder()).await;
    same_in_sql(&keep, &exported);
    for (number, text) in (0_i64..).zip(texts) {
        let sql = "SELECT user_message FROM chat_turns WHERE turn_number = ?1";
        assert!(value::<String>(&exported.conn, sql, [number]) == text, "turn {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_long_texts_are_short_and_lose_nothing() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.create().await;
    // Light turns first, so that pages have grown when the heavy ones come.
    f.append(&id, 700).await;
    let heavy = "x".repeat(3 << 20);
    for _ in 0..10 {
        let turns = vec![f.turn(&heavy), f.turn("light")];
        f.write(append(&id, turns)).await;
    }
    f.append(&id, 100).await;
    f.name_place(&id, "here").await;
    let exported = Exported::of(&f, keep.folder()).await;
    assert_eq!(exported.report.turns, 820);
    same_in_sql(&keep, &exported);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_turns_are_exported_with_their_checkpoint() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.create().await;
    for _ in 0..10 {
        f.append(&id, 1000).await;
    }
    f.rewind(&id, 9999).await;
    let exported = Exported::of(&f, keep.folder()).await;
    assert_eq!((exported.report.turns, exported.report.checkpoints), (9999, 1));
    same_in_sql(&keep, &exported);
    let sql = "SELECT json_array_length(context_json, '$.turns') FROM chat_checkpoints";
    assert_eq!(value::<i64>(&exported.conn, sql, []), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_sessions_are_exported_of_many_pages() {
    let keep = Keep::new();
    let f = keep.open().await;
    let root = f.session(2).await;
    for _ in 0..10 {
        let mut change = Change::at(f.now());
        for _ in 0..500 {
            let (_, fork) = f.fork_of(&f.get(&root).await, 1);
            change.writes.extend(fork.writes);
        }
        f.commit(change).await;
    }
    let exported = Exported::of(&f, keep.folder()).await;
    assert_eq!((exported.report.sessions, exported.report.turns), (5001, 5002));
    same_in_sql(&keep, &exported);
}
