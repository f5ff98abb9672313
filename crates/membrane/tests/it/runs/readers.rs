//! Listening: where a reader that was cut off goes on, what can still be heard, and for how long.

use std::time::Duration;

use futures_util::future::join_all;
use membrane::{ChatError, RunSettings, SessionId, WriteOptions};

use super::stage::{Stage, hear, hear_text, within};
use crate::keep::{Keep, on_every_store, refused};

on_every_store!(
    ids_go_up_without_gaps_and_are_never_used_twice,
    a_reader_goes_on_after_what_it_saw,
    a_turn_that_has_just_ended_is_heard_again,
    a_cursor_of_another_turn_or_of_none_begins_at_the_beginning,
    a_cursor_of_a_turn_that_was_rewound_begins_at_the_beginning,
    many_readers_fast_and_slow_hear_the_same,
    with_nothing_to_hear_there_is_no_reader,
);

async fn ids_go_up_without_gaps_and_are_never_used_twice(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(3).await.id;
    let mut last = 0;
    for n in 0..4 {
        let (mut reader, answer) = stage.send(&id, "hi").await;
        for _ in 0..n {
            answer.say("x");
            hear_text(&mut reader, "x").await;
        }
        answer.end();
        // `hear` looks for gaps.
        let ids = hear(stage.attach(&id, None).await.unwrap()).await.ids;
        assert_eq!(ids.len(), n + 1);
        assert!(ids[0] > last, "{ids:?} after {last}");
        last = ids[n];
        stage.until_idle(&id).await;
        if n == 2 {
            stage.chat.rewind(&id, 2, WriteOptions::default()).await.unwrap();
        }
    }
}

async fn a_reader_goes_on_after_what_it_saw(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(1).await.id;
    let (mut reader, answer) = stage.send(&id, "hi").await;
    let mut seen = Vec::new();
    for text in ["a", "b", "c"] {
        answer.say(text);
        seen.extend(hear_text(&mut reader, text).await);
    }
    let mut after_b = stage.attach(&id, Some(seen[1])).await.unwrap();
    assert_eq!((after_b.turn_number(), after_b.text_bytes()), (1, 3));
    assert_eq!(hear_text(&mut after_b, "c").await, seen[2..]);
    let mut at_end = stage.attach(&id, Some(seen[2])).await.unwrap();
    assert!(!at_end.is_at_end());
    answer.say("d");
    hear_text(&mut at_end, "d").await;
    answer.end();
    let rest = hear(after_b).await;
    assert_eq!((rest.ids.len(), rest.text.as_str()), (2, "d"));
    let whole = hear(stage.attach(&id, None).await.unwrap()).await;
    assert_eq!(whole.text, "abcd");
    assert_eq!(hear(reader).await.outcome, hear(at_end).await.outcome);
}

async fn a_turn_that_has_just_ended_is_heard_again(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    let heard = stage.exchange(&id, "hi", "there").await;
    let mut again = stage.attach(&id, None).await.unwrap();
    within(again.changed()).await;
    assert_eq!(hear(again).await, heard);
    let last = *heard.ids.last().unwrap();
    let end = hear(stage.attach(&id, Some(last - 1)).await.unwrap()).await;
    assert_eq!((end.ids, end.outcome), (vec![last], heard.outcome));
    assert!(stage.attach(&id, Some(last)).await.is_none(), "it has heard all");
}

async fn a_cursor_of_another_turn_or_of_none_begins_at_the_beginning(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    let first = stage.exchange(&id, "one", "first").await;
    let (mut reader, answer) = stage.send(&id, "two").await;
    answer.say("second");
    let seen = hear_text(&mut reader, "second").await;
    let next = seen.last().unwrap() + 1;
    let odd = [0, 1, next, next + 1, next + 999_000, next + 1_000_000, u64::MAX - 1, u64::MAX];
    let cursors = || first.ids.iter().copied().chain(odd);
    for cursor in cursors() {
        let mut reader = stage.attach(&id, Some(cursor)).await.unwrap();
        assert_eq!(hear_text(&mut reader, "second").await, seen, "after {cursor}");
    }
    answer.end();
    let second = hear(reader).await;
    for cursor in cursors().filter(|cursor| *cursor != next) {
        let heard = hear(stage.attach(&id, Some(cursor)).await.unwrap()).await;
        assert_eq!((heard.ids[0], &heard.outcome), (seen[0], &second.outcome), "after {cursor}");
    }
}

async fn a_cursor_of_a_turn_that_was_rewound_begins_at_the_beginning(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(1).await.id;
    let first = stage.exchange(&id, "hi", "first").await;
    stage.until_idle(&id).await;
    stage.chat.rewind(&id, 1, WriteOptions::default()).await.unwrap();
    let second = stage.exchange(&id, "hi", "second").await;
    assert_eq!(first.finished().number, second.finished().number);
    for cursor in first.ids {
        let again = hear(stage.attach(&id, Some(cursor)).await.unwrap()).await;
        assert_eq!(again, second, "after {cursor}");
    }
}

async fn many_readers_fast_and_slow_hear_the_same(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    let (mut pacer, answer) = stage.send(&id, "hi").await;
    // It reads nothing until all is over.
    let slow = stage.attach(&id, None).await.unwrap();
    let mut readers = Vec::new();
    let mut whole = String::new();
    for n in 0..50 {
        let text = format!("{n} ");
        readers.push(tokio::spawn(hear(stage.attach(&id, None).await.unwrap())));
        answer.say(&text);
        hear_text(&mut pacer, &text).await;
        whole.push_str(&text);
    }
    answer.end();
    let slow = hear(slow).await;
    assert_eq!((slow.text.as_str(), slow.ids.len()), (whole.as_str(), 51));
    for heard in join_all(readers).await {
        assert_eq!(heard.unwrap(), slow);
    }
}

async fn with_nothing_to_hear_there_is_no_reader(keep: &Keep) {
    let stage = Stage::on(&keep.store);
    let nobody = SessionId::parse("nobody").unwrap();
    let error = refused(stage.chat.attach(&nobody, None).await);
    assert!(matches!(error, ChatError::NotFound { .. }), "{error:?}");
    let id = keep.session_of(2).await.id;
    assert!(stage.attach(&id, None).await.is_none());
    assert_eq!(stage.chat.find_pending(&keep.record(&id).await).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn an_ended_turn_is_heard_again_for_a_while() {
    let keep = Keep::in_memory();
    let keep_ended_for = Duration::from_secs(60);
    let settings = RunSettings { keep_ended_for, ..RunSettings::default() };
    let mut stage = Stage::in_paused_time(&keep.store, settings);
    let id = keep.session_of(0).await.id;
    stage.exchange(&id, "hi", "there").await;
    tokio::time::advance(keep_ended_for / 2).await;
    let (reader, answer) = stage.send(&id, "again").await;
    answer.end();
    hear(reader).await;
    tokio::time::advance(keep_ended_for / 2).await;
    // The first one's time is over, which takes nothing from the second.
    assert_eq!(stage.attach(&id, None).await.unwrap().turn_number(), 1);
    tokio::time::advance(keep_ended_for / 2).await;
    assert!(stage.attach(&id, None).await.is_none());
    let long = stage.exchange(&id, "hi", "there").await;
    tokio::time::advance(keep_ended_for * 2).await;
    stage.chat.sweep().await.unwrap();
    assert!(stage.attach(&id, None).await.is_none());
    assert_eq!(long.finished().turn_count, 3, "what is kept has nothing to do with it");
}

#[tokio::test(start_paused = true)]
async fn ended_turns_are_kept_within_bounds_and_the_oldest_go_first() {
    let keep = Keep::in_memory();
    let keep_ended_bytes = 100_000;
    let mut stage = Stage::with(&keep.store, RunSettings { keep_ended_bytes, ..RunSettings::default() });
    let mut ids = Vec::new();
    for n in 0..6 {
        let id = keep.session_of(0).await.id;
        let (reader, answer) = stage.send(&id, "hi").await;
        // An answer counts once as pieces and once as a turn, and thoughts count like words.
        let text = "x".repeat(15_000);
        if n % 2 == 0 {
            answer.say(&text);
        } else {
            answer.think(&text);
        }
        answer.end();
        hear(reader).await;
        stage.until_idle(&id).await;
        ids.push(id);
    }
    // What the store knows of how they came is not the matter here.
    let forgetful = RunSettings { keep_ended_for: Duration::ZERO, ..RunSettings::default() };
    let forgetful = Stage::with(&keep.store, forgetful);
    forgetful.chat.sweep().await.unwrap();
    let mut is_kept = Vec::new();
    for id in &ids {
        is_kept.push(stage.attach(id, None).await.is_some());
    }
    assert_eq!(is_kept, [false, false, false, true, true, true]);
    let huge = keep.session_of(0).await.id;
    stage.exchange(&huge, "hi", &"x".repeat(keep_ended_bytes)).await;
    stage.until_idle(&huge).await;
    forgetful.chat.sweep().await.unwrap();
    for id in ids.iter().chain([&huge]) {
        assert!(stage.attach(id, None).await.is_none());
    }
}
