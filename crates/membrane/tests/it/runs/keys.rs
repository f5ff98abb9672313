//! Keys: a message that is sent again under its key is the same message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use membrane::{ChatError, ClientKey, SendOptions, Sent, SessionId, TurnStatus, WriteOptions};
use membrane_sqlite::{SqliteOptions, SqliteStore};

use super::stage::{Stage, begins, hear, within};
use crate::keep::{Keep, on_every_store, refused};
use crate::meddling::{Meddling, Verdict};

on_every_store!(
    the_same_key_listens_to_the_same_run,
    the_same_key_gets_the_turn_after_it_was_forgotten_here,
    an_interrupted_turn_is_the_answer_of_its_key_too,
    another_body_under_the_key_is_refused,
    after_a_rewind_the_answer_is_still_told_and_nothing_is_sent_again,
    after_a_delete_the_key_knows_nothing,
    many_sends_with_one_key_are_one,
    a_repetition_that_overtakes_the_first_waits_for_it,
    a_key_elsewhere_hears_the_run_that_is_under_way,
);

fn keyed(words: &str, key: &str) -> SendOptions {
    SendOptions { key: Some(ClientKey::for_body(key, words.as_bytes())), ..SendOptions::new(words) }
}

async fn send(stage: &Stage, id: &SessionId, words: &str) -> Sent {
    within(stage.chat.send(id, keyed(words, "k"))).await.unwrap()
}

async fn the_same_key_listens_to_the_same_run(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(1).await.id;
    let first = send(&stage, &id, "hi").await;
    let answer = stage.asked().await;
    let second = send(&stage, &id, "hi").await;
    answer.say("there");
    answer.end();
    let heard = hear(first.reader).await;
    let third = send(&stage, &id, "hi").await;
    assert_eq!((first.replayed, second.replayed, third.replayed), (false, true, true));
    assert_eq!(hear(second.reader).await, heard);
    assert_eq!(hear(third.reader).await, heard);
    assert_eq!((keep.record(&id).await.turn_count(), stage.is_asked()), (2, false));
}

async fn the_same_key_gets_the_turn_after_it_was_forgotten_here(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(1).await.id;
    let first = send(&stage, &id, "hi").await;
    let answer = stage.asked().await;
    answer.think("hm");
    answer.say("there");
    answer.end();
    let heard = hear(first.reader).await;
    stage.exchange(&id, "more", "and more").await;
    let elsewhere = Stage::on(&keep.store);
    for stage in [&stage, &elsewhere] {
        let again = send(stage, &id, "hi").await;
        assert!(again.replayed);
        assert_eq!(again.reader.turn_number(), 1);
        let again = hear(again.reader).await;
        assert_eq!(
            (&again.text, &again.reasoning, &again.outcome),
            (&heard.text, &heard.reasoning, &heard.outcome)
        );
        assert_eq!(again.ids[0], heard.ids[0]);
    }
    assert_eq!((keep.record(&id).await.turn_count(), elsewhere.is_asked()), (3, false));
}

async fn an_interrupted_turn_is_the_answer_of_its_key_too(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    send(&stage, &id, "hi").await;
    let _answer = stage.asked().await;
    stage.chat.cancel(&id, None).await.unwrap();
    for stage in [&stage, &Stage::on(&keep.store)] {
        let again = hear(send(stage, &id, "hi").await.reader).await;
        assert_eq!((again.error_code(), again.ids.len()), ("cancelled", 1));
        assert_eq!(again.finished().turn.status, TurnStatus::Interrupted);
    }
}

async fn another_body_under_the_key_is_refused(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let (id, other) = (keep.session_of(0).await.id, keep.session_of(0).await.id);
    let sent = send(&stage, &id, "hi").await;
    let answer = stage.asked().await;
    let error = refused(stage.chat.send(&id, keyed("ho", "k")).await);
    assert!(matches!(error, ChatError::KeyReused { .. }), "{error:?}");
    let error = refused(stage.chat.send(&id, keyed("hi", "another")).await);
    assert!(matches!(error, ChatError::Busy { .. }), "{error:?}");
    answer.end();
    hear(sent.reader).await;
    let error = refused(stage.chat.send(&id, keyed("ho", "k")).await);
    assert!(matches!(error, ChatError::KeyReused { .. }), "{error:?}");
    // On another session it is another key.
    assert!(!send(&stage, &other, "ho").await.replayed);
    stage.asked().await.end();
    stage.until_idle(&other).await;
    for key in [String::new(), "k".repeat(256)] {
        let error = refused(stage.chat.send(&id, keyed("hi", &key)).await);
        assert!(matches!(error, ChatError::Refused(_) | ChatError::TooLarge { .. }), "{error:?}");
    }
}

async fn after_a_rewind_the_answer_is_still_told_and_nothing_is_sent_again(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(1).await.id;
    let first = send(&stage, &id, "hi").await;
    stage.asked().await.end();
    let heard = hear(first.reader).await;
    stage.exchange(&id, "more", "and more").await;
    stage.until_idle(&id).await;
    stage.chat.rewind(&id, 2, WriteOptions::default()).await.unwrap();
    assert!(stage.attach(&id, None).await.is_none(), "a turn that was taken off does not play");
    let again = hear(send(&stage, &id, "hi").await.reader).await;
    assert_eq!(again.finished().turn, heard.finished().turn);
    // Another turn in its place is not it.
    stage.exchange(&id, "hi", "other").await;
    stage.until_idle(&id).await;
    let again = hear(send(&stage, &id, "hi").await.reader).await;
    assert_eq!(again.finished().turn, heard.finished().turn);
    assert_eq!(keep.record(&id).await.turn_count(), 2);
    // Once no checkpoint holds it any more, nothing is sent under its key, either.
    for checkpoint in stage.chat.list_checkpoints(&id).await.unwrap() {
        stage.chat.delete_checkpoint(&id, &checkpoint.id).await.unwrap();
    }
    let error = refused(stage.chat.send(&id, keyed("hi", "k")).await);
    assert!(matches!(&error, ChatError::AnswerGone { session } if *session == id), "{error:?}");
}

async fn after_a_delete_the_key_knows_nothing(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    send(&stage, &id, "hi").await;
    let _answer = stage.asked().await;
    stage.chat.delete_session(&id).await.unwrap();
    let error = refused(stage.chat.send(&id, keyed("hi", "k")).await);
    assert!(matches!(error, ChatError::NotFound { .. }), "{error:?}");
}

async fn many_sends_with_one_key_are_one(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    for round in 1..=5 {
        let key = format!("k{round}");
        let sends = (0..20).map(|_| {
            let (chat, id, options) = (stage.chat.clone(), id.clone(), keyed("hi", &key));
            tokio::spawn(async move { chat.send(&id, options).await })
        });
        let sent: Vec<Sent> =
            within(join_all(sends)).await.into_iter().map(|sent| sent.unwrap().unwrap()).collect();
        assert_eq!(sent.iter().filter(|sent| !sent.replayed).count(), 1);
        let answer = stage.asked().await;
        assert!(!stage.is_asked());
        answer.say("there");
        answer.end();
        let mut all = Vec::new();
        for sent in sent {
            all.push(hear(sent.reader).await);
        }
        assert!(all.iter().all(|heard| *heard == all[0]), "{all:?}");
        assert_eq!(keep.record(&id).await.turn_count(), round);
    }
}

async fn a_repetition_that_overtakes_the_first_waits_for_it(keep: &Keep) {
    let is_first = AtomicBool::new(true);
    let store = Meddling::judging(&keep.store, move |change| {
        let lags = begins(change) && is_first.swap(false, Ordering::SeqCst);
        async move { if lags { Verdict::PassAndLag } else { Verdict::Pass } }
    });
    let mut stage = Stage::on(&store);
    let id = keep.session_of(0).await.id;
    let (first, second) = within(async {
        tokio::join!(stage.chat.send(&id, keyed("hi", "k")), stage.chat.send(&id, keyed("hi", "k")))
    })
    .await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.replayed, second.replayed);
    let answer = stage.asked().await;
    answer.say("there");
    answer.end();
    assert_eq!(hear(first.reader).await, hear(second.reader).await);
}

async fn a_key_elsewhere_hears_the_run_that_is_under_way(keep: &Keep) {
    let (mut stage, elsewhere) = (Stage::on(&keep.store), Stage::on(&keep.store));
    let id = keep.session_of(0).await.id;
    let sent = send(&stage, &id, "hi").await;
    let answer = stage.asked().await;
    let during = send(&elsewhere, &id, "hi").await;
    assert!(during.replayed);
    answer.say("there");
    answer.end();
    let heard = hear(sent.reader).await;
    assert_eq!(hear(during.reader).await, heard);
    let again = send(&elsewhere, &id, "hi").await;
    assert_eq!((again.replayed, hear(again.reader).await.outcome), (true, heard.outcome));
}

#[tokio::test]
async fn a_key_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let open = || async {
        let store = SqliteStore::open(SqliteOptions::at(folder.path().join("keep.db"))).await.unwrap();
        Stage::on(&(Arc::new(store) as Arc<dyn membrane::Store>))
    };
    let mut stage = open().await;
    let id = stage.session().await;
    let sent = send(&stage, &id, "hi").await;
    let answer = stage.asked().await;
    answer.say("there");
    answer.end();
    let heard = hear(sent.reader).await;
    stage.chat.close().await.unwrap();
    let stage = open().await;
    let again = send(&stage, &id, "hi").await;
    assert_eq!((again.replayed, hear(again.reader).await), (true, heard));
    assert!(!stage.is_asked());
}
