//! Trouble: models that fail, and stores that do not take what they are given, for a while or for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use membrane::responder::{Prompt, Reply};
use membrane::{
    Chat, ChatError, Item, Responder, RunSettings, SendOptions, State, Store, StoreError, TurnStatus,
};

use super::stage::{Stage, finishes, hear, hear_text, n_pieces, store_in_paused_time, until, within};
use crate::keep::{Keep, on_every_store};
use crate::meddling::{Meddling, Verdict};

on_every_store!(
    an_error_of_the_model_is_kept_with_what_had_arrived,
    an_answer_that_breaks_off_is_interrupted,
    a_responder_that_panics_ends_the_turn_and_nothing_else,
    a_responder_that_panics_at_once_ends_the_turn_too,
    a_turn_that_is_refused_for_a_while_is_kept_in_the_end,
    a_turn_that_was_kept_in_silence_is_not_lost,
    a_log_that_is_refused_for_a_while_loses_nothing,
    a_store_that_was_closed_is_told_to_the_reader,
);

/// The ways of a store that may help itself.
fn passing_trouble() -> [StoreError; 3] {
    [
        StoreError::StorageFull,
        StoreError::Unavailable { reason: "it is crowded".into(), retry_after: Duration::from_millis(1) },
        StoreError::Backend { doing: "test", source: "a cable was loose".into() },
    ]
}

/// A store that refuses the first `n` of some changes.
fn refusing_first(
    inner: &Arc<dyn Store>,
    n: usize,
    is_meant: impl Fn(&membrane::store::Change) -> bool + Send + Sync + 'static,
    error: impl Fn() -> StoreError + Send + Sync + 'static,
) -> Arc<dyn Store> {
    let left = AtomicUsize::new(n);
    Meddling::judging(inner, move |change| {
        let refuses = is_meant(change)
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let verdict = if refuses { Verdict::Refuse(error()) } else { Verdict::Pass };
        async { verdict }
    })
}

async fn an_answer_that_breaks_off_is_interrupted(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = stage.session().await;
    let (reader, answer) = stage.send(&id, "hi").await;
    answer.say("half");
    answer.cut("cut_off", "the connection ended");
    let heard = hear(reader).await;
    let turn = &heard.finished().turn;
    assert_eq!((turn.status, turn.assistant.content.as_str()), (TurnStatus::Interrupted, "half"));
    assert_eq!(heard.error_code(), "cut_off");
}

async fn an_error_of_the_model_is_kept_with_what_had_arrived(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(1).await.id;
    let (reader, answer) = stage.send(&id, "hi").await;
    answer.think("hm");
    answer.say("half");
    answer.fail("rate_limited", "too many requests; try again in a minute");
    let heard = hear(reader).await;
    let turn = keep.kept(&id).await.pop().unwrap().turn;
    assert_eq!((&heard.finished().turn, heard.text.as_str()), (&turn, "half"));
    assert_eq!((turn.status, turn.assistant.content.as_str()), (TurnStatus::Failed, "half"));
    assert_eq!(turn.items, [Item::Reasoning("hm".to_owned())]);
    assert_eq!((turn.finish_reason, turn.usage, heard.error_code()), (None, None, "rate_limited"));
    assert_eq!(turn.error.unwrap().message, "too many requests; try again in a minute");
    let session = keep.record(&id).await;
    assert_eq!((session.state, session.evidence().alpha), (State::Idle, 2.0), "it observes nothing");
}

async fn a_responder_that_panics_ends_the_turn_and_nothing_else(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    let (mut reader, answer) = stage.send(&id, "hi").await;
    answer.say("one ");
    hear_text(&mut reader, "one ").await;
    answer.say("two");
    answer.panic();
    let heard = hear(stage.attach(&id, None).await.unwrap()).await;
    assert_eq!((heard.error_code(), heard.text.as_str()), ("internal", "one two"));
    assert_eq!(heard.finished().turn.status, TurnStatus::Interrupted);
    assert_eq!(keep.kept(&id).await[0].turn, heard.finished().turn);
    stage.until_idle(&id).await;
    assert_eq!(stage.exchange(&id, "again", "whole").await.finished().turn_count, 2);
}

#[derive(Debug)]
struct Panicking;

impl Responder for Panicking {
    fn model(&self) -> Option<String> {
        None
    }

    fn respond(&self, prompt: Prompt) -> Reply {
        panic!("the responder cannot answer {:?}", prompt.message.content)
    }
}

async fn a_responder_that_panics_at_once_ends_the_turn_too(keep: &Keep) {
    let chat = Chat::builder(Arc::clone(&keep.store)).responder(Arc::new(Panicking)).build();
    let id = keep.session_of(0).await.id;
    for n_turns in 1..=2 {
        let sent = within(chat.send(&id, SendOptions::new("hi"))).await.unwrap();
        let heard = hear(sent.reader).await;
        assert_eq!((heard.error_code(), heard.finished().turn_count), ("internal", n_turns));
    }
    until("nothing is under way", || async { chat.n_open_runs() == 0 }).await;
}

async fn a_turn_that_is_refused_for_a_while_is_kept_in_the_end(keep: &Keep) {
    for kind in 0..passing_trouble().len() {
        let store = refusing_first(&keep.store, 2, finishes, move || {
            passing_trouble().into_iter().nth(kind).unwrap()
        });
        let mut stage = Stage::on(&store);
        let id = keep.session_of(1).await.id;
        let heard = stage.exchange(&id, "hi", "there").await;
        assert_eq!((heard.finished().turn_count, keep.record(&id).await.turn_count()), (2, 2));
        stage.until_idle(&id).await;
    }
}

async fn a_turn_that_was_kept_in_silence_is_not_lost(keep: &Keep) {
    let store = Meddling::judging(&keep.store, |change| {
        let is_meant = finishes(change);
        async move {
            let [_, _, error] = passing_trouble();
            if is_meant { Verdict::PassAndFail(error) } else { Verdict::Pass }
        }
    });
    let mut stage = Stage::on(&store);
    let id = keep.session_of(1).await.id;
    let (reader, answer) = stage.send(&id, "hi").await;
    answer.say("there");
    answer.think("hm");
    answer.end();
    let heard = hear(reader).await;
    let kept = keep.kept(&id).await.pop().unwrap();
    assert_eq!((&heard.finished().turn, heard.finished().number), (&kept.turn, kept.number));
    assert_eq!(heard.finished().standing, keep.record(&id).await.standing());
}

async fn a_log_that_is_refused_for_a_while_loses_nothing(keep: &Keep) {
    for kind in 0..passing_trouble().len() {
        let store = refusing_first(
            &keep.store,
            3,
            |change| n_pieces(change) > 0,
            move || passing_trouble().into_iter().nth(kind).unwrap(),
        );
        let settings = RunSettings { flush_every: Duration::from_millis(1), ..RunSettings::default() };
        let mut stage = Stage::with(&store, settings);
        let id = keep.session_of(0).await.id;
        let (mut reader, answer) = stage.send(&id, "hi").await;
        let mut whole = String::new();
        for n in 0..10 {
            let text = format!("{n} ");
            answer.say(&text);
            hear_text(&mut reader, &text).await;
            whole.push_str(&text);
        }
        until("all is in the log", || async {
            let session = keep.record(&id).await;
            let pending = keep.chat.find_pending(&session).await.unwrap().unwrap();
            assert!(whole.starts_with(&pending.partial), "{pending:?}");
            pending.partial == whole
        })
        .await;
        answer.end();
        assert_eq!(hear(reader).await.finished().turn.assistant.content, whole);
    }
}

async fn a_store_that_was_closed_is_told_to_the_reader(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    let (reader, answer) = stage.send(&id, "hi").await;
    keep.store.close().await.unwrap();
    answer.end();
    assert_eq!(hear(reader).await.lost(), "unavailable");
    until("nothing is under way", || async { stage.chat.n_open_runs() == 0 }).await;
}

/// A store that takes no turns, and no news for the log, while it is full.
fn full_while(is_full: &Arc<AtomicBool>, inner: &Arc<dyn Store>) -> Arc<dyn Store> {
    let is_full = Arc::clone(is_full);
    Meddling::judging(inner, move |change| {
        let refuses = is_full.load(Ordering::SeqCst) && (finishes(change) || n_pieces(change) > 0);
        async move { if refuses { Verdict::Refuse(StoreError::StorageFull) } else { Verdict::Pass } }
    })
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_full_for_long_is_told_and_takes_the_turn_when_it_can() {
    let (store, is_full) = (store_in_paused_time(), Arc::new(AtomicBool::new(true)));
    let mut stage = Stage::on(&full_while(&is_full, &store));
    let elsewhere = Chat::create(Arc::clone(&store));
    let id = stage.session().await;
    let (mut reader, answer) = stage.send(&id, "hi").await;
    answer.say("there");
    hear_text(&mut reader, "there").await;
    let start = tokio::time::Instant::now();
    answer.end();
    assert_eq!(hear(reader).await.lost(), "storage_full");
    let waited = start.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(8)).contains(&waited), "{waited:?}");
    // The answer is still there, and ours.
    let session = stage.chat.find_session(&id).await.unwrap().unwrap();
    assert_eq!((session.state, stage.chat.n_open_runs()), (State::Processing, 1));
    let pending = stage.chat.find_pending(&session).await.unwrap().unwrap();
    assert_eq!(pending.partial, "there");
    stage.chat.cancel(&id, None).await.unwrap();
    assert!(matches!(stage.chat.send(&id, SendOptions::new("more")).await, Err(ChatError::Busy { .. })));
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(elsewhere.recover_runs().await.unwrap(), 0, "its owner is alive");
    }
    is_full.store(false, Ordering::SeqCst);
    stage.until_idle(&id).await;
    assert_eq!(stage.turns(&id).await[0].assistant.content, "there");
    let heard = hear(stage.attach(&id, None).await.unwrap()).await;
    assert_eq!(heard.finished().turn, stage.turns(&id).await[0], "who comes later hears of it");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_given_up_leaves_a_run_that_can_be_recovered() {
    let (store, is_full) = (store_in_paused_time(), Arc::new(AtomicBool::new(false)));
    let settings = RunSettings { offer_for: Duration::from_secs(60), ..RunSettings::default() };
    let mut stage = Stage::with(&full_while(&is_full, &store), settings);
    let id = stage.session().await;
    let (mut reader, answer) = stage.send(&id, "hi").await;
    answer.say("half");
    hear_text(&mut reader, "half").await;
    tokio::time::sleep(settings.flush_every * 2).await;
    is_full.store(true, Ordering::SeqCst);
    answer.say(" and half");
    answer.end();
    assert_eq!(hear(reader).await.lost(), "storage_full");
    until("it is given up", || async { stage.chat.n_open_runs() == 0 }).await;
    is_full.store(false, Ordering::SeqCst);
    assert_eq!(stage.chat.recover_runs().await.unwrap(), 0, "its lease has not expired");
    tokio::time::sleep(settings.lease_for).await;
    assert_eq!(stage.chat.recover_runs().await.unwrap(), 1, "nobody drives it any more");
    assert_eq!(stage.turns(&id).await[0].assistant.content, "half");
    stage.exchange(&id, "again", "whole").await;
}
