//! Stopping: a turn that is cancelled, a session that is deleted or changed meanwhile, a process that is about
//! to end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use membrane::core::error::DomainError;
use membrane::responder::{Prompt, Reply, ReplyPart};
use membrane::{
    Chat, ChatError, ForkOptions, MergeOptions, NewSessionOptions, NewTurn, Responder, RunSettings,
    SendOptions, SessionId, SessionPatch, SignalKind, TurnStatus, WriteOptions,
};
use tokio::sync::Notify;

use super::stage::{Stage, begins, finishes, hear, hear_text, until, within};
use crate::keep::{Keep, on_every_store, refused};
use crate::meddling::{Meddling, Verdict};

on_every_store!(
    a_cancelled_turn_keeps_what_had_arrived,
    with_nothing_under_way_there_is_nothing_to_cancel,
    a_cancel_and_the_end_meet_and_one_of_them_counts,
    a_cancel_that_overtakes_the_send_waits_for_it,
    a_deleted_session_stays_deleted_and_its_reader_is_told,
    a_session_deleted_elsewhere_is_told_from_a_lost_lease,
    a_session_deleted_while_its_turn_is_offered_stays_deleted,
    a_deleted_sessions_run_leaves_its_successor_alone,
    what_is_allowed_meanwhile_does_not_cost_the_answer,
    what_is_not_allowed_meanwhile_is_refused_and_costs_nothing,
    a_drain_refuses_messages_and_waits_for_answers,
    a_drain_without_patience_keeps_what_had_arrived,
    a_close_keeps_what_had_arrived,
    a_message_on_its_way_at_the_close_is_answered_for,
);

#[track_caller]
fn assert_wrong_state<T: std::fmt::Debug>(result: Result<T, ChatError>) {
    let error = refused(result);
    assert!(matches!(error, ChatError::Refused(DomainError::WrongState { .. })), "{error:?}");
}

async fn a_cancelled_turn_keeps_what_had_arrived(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(1).await.id;
    let (mut reader, answer) = stage.send(&id, "hi").await;
    answer.think("hm");
    answer.say("half");
    hear_text(&mut reader, "half").await;
    within(stage.chat.cancel(&id, None)).await.unwrap();
    let turn = keep.kept(&id).await.pop().unwrap().turn;
    answer.unheard().await;
    assert_eq!((turn.status, turn.assistant.content.as_str()), (TurnStatus::Interrupted, "half"));
    assert_eq!((turn.items.len(), turn.observes_success()), (1, None));
    let heard = hear(stage.attach(&id, None).await.unwrap()).await;
    assert_eq!((heard.error_code(), &heard.finished().turn), ("cancelled", &turn));
    assert_wrong_state(stage.chat.cancel(&id, None).await);
    stage.until_idle(&id).await;
    stage.exchange(&id, "again", "whole").await;
    assert_eq!(keep.record(&id).await.turn_count(), 3);
}

async fn with_nothing_under_way_there_is_nothing_to_cancel(keep: &Keep) {
    let id = keep.session_of(1).await.id;
    assert_wrong_state(keep.chat.cancel(&id, None).await);
    let error = refused(keep.chat.cancel(&SessionId::parse("nobody").unwrap(), None).await);
    assert!(matches!(error, ChatError::NotFound { .. }), "{error:?}");
}

async fn a_cancel_and_the_end_meet_and_one_of_them_counts(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    for round in 1..=40 {
        let (reader, answer) = stage.send(&id, "hi").await;
        answer.say("all");
        let cancels: Vec<_> = (0..2)
            .map(|_| {
                let (chat, id) = (stage.chat.clone(), id.clone());
                tokio::spawn(async move { chat.cancel(&id, None).await })
            })
            .collect();
        answer.end();
        let heard = hear(reader).await;
        for cancel in cancels {
            match within(cancel).await.unwrap() {
                Ok(()) => {}
                result => assert_wrong_state(result),
            }
        }
        let finished = heard.finished();
        assert_eq!(finished.turn_count, round);
        match finished.turn.status {
            TurnStatus::Complete => assert_eq!(finished.turn.assistant.content, "all"),
            TurnStatus::Interrupted => assert_eq!(heard.error_code(), "cancelled"),
            TurnStatus::Failed => panic!("{finished:?}"),
        }
        stage.until_idle(&id).await;
    }
}

async fn a_cancel_that_overtakes_the_send_waits_for_it(keep: &Keep) {
    let store = Meddling::judging(&keep.store, |change| {
        let lags = begins(change);
        async move { if lags { Verdict::PassAndLag } else { Verdict::Pass } }
    });
    let stage = Stage::on(&store);
    let id = keep.session_of(0).await.id;
    let (chat, session) = (stage.chat.clone(), id.clone());
    let send = tokio::spawn(async move { chat.send(&session, SendOptions::new("hi")).await });
    until("the run is there", || async { keep.store.find_run(&id).await.unwrap().is_some() }).await;
    within(stage.chat.cancel(&id, None)).await.unwrap();
    assert_eq!(hear(send.await.unwrap().unwrap().reader).await.error_code(), "cancelled");
    assert_eq!(keep.words(&id).await, ["hi"]);
}

async fn a_deleted_session_stays_deleted_and_its_reader_is_told(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(1).await.id;
    let (reader, answer) = stage.send(&id, "hi").await;
    answer.say("half");
    stage.chat.delete_session(&id).await.unwrap();
    answer.unheard().await;
    assert_eq!(hear(reader).await.lost(), "not_found");
    until("nothing is under way", || async { stage.chat.n_open_runs() == 0 }).await;
    assert_eq!(stage.chat.find_session(&id).await.unwrap(), None);
    assert!(matches!(refused(stage.chat.attach(&id, None).await), ChatError::NotFound { .. }));
    assert_eq!(keep.store.stats().await.unwrap().runs, 0);
}

async fn a_session_deleted_elsewhere_is_told_from_a_lost_lease(keep: &Keep) {
    let settings = RunSettings { flush_every: Duration::from_millis(1), ..RunSettings::default() };
    let mut stage = Stage::with(&keep.store, settings);
    let id = keep.session_of(1).await.id;
    let (reader, answer) = stage.send(&id, "hi").await;
    keep.chat.delete_session(&id).await.unwrap();
    answer.say("half");
    answer.unheard().await;
    assert_eq!(hear(reader).await.lost(), "not_found");
    let id = keep.session_of(1).await.id;
    let (reader, answer) = stage.send(&id, "hi").await;
    keep.chat.delete_session(&id).await.unwrap();
    answer.end();
    assert_eq!(hear(reader).await.lost(), "not_found");
}

async fn a_session_deleted_while_its_turn_is_offered_stays_deleted(keep: &Keep) {
    let somebody = keep.chat.clone();
    let id = keep.session_of(1).await.id;
    let doomed = id.clone();
    let store = Meddling::judging(&keep.store, move |change| {
        let doomed = finishes(change).then(|| (somebody.clone(), doomed.clone()));
        async move {
            if let Some((somebody, doomed)) = doomed {
                somebody.delete_session(&doomed).await.unwrap();
            }
            Verdict::Pass
        }
    });
    let mut stage = Stage::on(&store);
    let heard = stage.exchange(&id, "hi", "there").await;
    assert_eq!(heard.lost(), "not_found");
    assert_eq!(keep.chat.find_session(&id).await.unwrap(), None);
}

async fn a_deleted_sessions_run_leaves_its_successor_alone(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    let (old_reader, old_answer) = stage.send(&id, "old").await;
    keep.chat.delete_session(&id).await.unwrap();
    let options = NewSessionOptions { id: Some(id.clone()), ..NewSessionOptions::default() };
    stage.chat.create_session(options).await.unwrap();
    let (reader, answer) = stage.send(&id, "new").await;
    old_answer.say("old");
    old_answer.end();
    assert_eq!(hear(old_reader).await.lost(), "lease_lost");
    answer.say("new");
    answer.end();
    assert_eq!(hear(reader).await.text, "new");
    assert_eq!(hear(stage.attach(&id, None).await.unwrap()).await.text, "new");
    assert_eq!(keep.words(&id).await, ["new"]);
}

async fn what_is_allowed_meanwhile_does_not_cost_the_answer(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(2).await.id;
    let (reader, answer) = stage.send(&id, "hi").await;
    let chat = &stage.chat;
    let patch = SessionPatch { title: Some(Some("renamed".to_owned())), ..SessionPatch::default() };
    chat.patch_session(&id, patch, WriteOptions::default()).await.unwrap();
    chat.feedback(&id, 1, SignalKind::Negative, None, None).await.unwrap();
    let fork = chat.fork(&id, ForkOptions::default()).await.unwrap();
    let checkpoint = chat.checkpoint(&id, None, None).await.unwrap();
    assert_eq!((fork.turn_count(), checkpoint.cut.turn_count), (2, 2));
    answer.say("there");
    answer.end();
    let heard = hear(reader).await;
    let session = keep.record(&id).await;
    assert_eq!((heard.finished().number, session.turn_count()), (2, 3));
    assert_eq!((heard.finished().standing, session.title.as_deref()), (session.standing(), Some("renamed")));
    assert_eq!((session.evidence().alpha, session.evidence().beta), (3.0, 2.0));
    assert_eq!(keep.record(&fork.id).await.turn_count(), 2);
}

async fn what_is_not_allowed_meanwhile_is_refused_and_costs_nothing(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let (id, other) = (keep.session_of(2).await.id, keep.session_of(1).await.id);
    let chat = stage.chat.clone();
    let checkpoint = chat.checkpoint(&id, None, None).await.unwrap();
    let (reader, answer) = stage.send(&id, "hi").await;
    let mut edited = chat.load_session(&id).await.unwrap().unwrap();
    edited.turns.truncate(1);
    assert_wrong_state(chat.save_session(&mut edited).await);
    assert_wrong_state(chat.rewind(&id, 1, WriteOptions::default()).await);
    assert_wrong_state(chat.restore(&id, &checkpoint.id, None).await);
    assert_wrong_state(chat.append(&id, NewTurn::new("u", "a"), WriteOptions::default()).await);
    assert_wrong_state(chat.merge(&id, &other, MergeOptions::default()).await);
    assert_wrong_state(chat.merge(&other, &id, MergeOptions::default()).await);
    answer.say("there");
    answer.end();
    assert_eq!(hear(reader).await.finished().turn_count, 3);
}

async fn a_drain_refuses_messages_and_waits_for_answers(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let (id, other) = (keep.session_of(0).await.id, keep.session_of(0).await.id);
    within(Stage::on(&keep.store).chat.drain(Duration::from_secs(3600))).await;
    let (reader, answer) = stage.send(&id, "hi").await;
    let clone = stage.chat.clone();
    let drain = tokio::spawn(async move { clone.drain(Duration::from_secs(3600)).await });
    until("no more is taken in", || async {
        match stage.chat.send(&other, SendOptions::new("more")).await {
            Err(ChatError::Unavailable { .. }) => true,
            Err(ChatError::Busy { .. }) | Ok(_) => false,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    // A message may have been taken in before the drain began.
    while stage.is_asked() {
        stage.asked().await.end();
    }
    assert!(!drain.is_finished(), "an answer is still on its way");
    answer.say("there");
    answer.end();
    within(drain).await.unwrap();
    let heard = hear(reader).await;
    assert_eq!((heard.text.as_str(), heard.finished().turn.status), ("there", TurnStatus::Complete));
    assert_eq!(stage.chat.n_open_runs(), 0);
    stage.chat.close().await.unwrap();
}

async fn a_drain_without_patience_keeps_what_had_arrived(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let mut open = Vec::new();
    for n in 0..3 {
        let id = keep.session_of(n).await.id;
        let (reader, answer) = stage.send(&id, "hi").await;
        answer.say("half");
        open.push((id, reader, answer));
    }
    until("all have been heard", || async { open.iter().all(|(_, reader, _)| reader.text() == "half") })
        .await;
    within(stage.chat.drain(Duration::ZERO)).await;
    for (n, (id, reader, answer)) in open.into_iter().enumerate() {
        answer.unheard().await;
        let heard = hear(reader).await;
        assert_eq!((heard.error_code(), heard.text.as_str()), ("server_stopped", "half"));
        assert_eq!(keep.kept(&id).await[n].turn, heard.finished().turn);
    }
}

async fn a_close_keeps_what_had_arrived(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    let (mut reader, answer) = stage.send(&id, "hi").await;
    answer.say("half");
    hear_text(&mut reader, "half").await;
    within(stage.chat.close()).await.unwrap();
    assert_eq!(hear(reader).await.error_code(), "server_stopped");
    let error = refused(stage.chat.send(&id, SendOptions::new("more")).await);
    assert!(matches!(error, ChatError::Unavailable { .. }), "{error:?}");
    within(stage.chat.close()).await.unwrap_or_else(|error| assert!(matches!(error, ChatError::Closed)));
}

async fn a_message_on_its_way_at_the_close_is_answered_for(keep: &Keep) {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins_now, goes_on) = (Arc::clone(&begun), Arc::clone(&go_on));
    let store = Meddling::judging(&keep.store, move |change| {
        let held = begins(change).then(|| (Arc::clone(&begins_now), Arc::clone(&goes_on)));
        async move {
            if let Some((begins_now, goes_on)) = held {
                begins_now.notify_one();
                goes_on.notified().await;
            }
            Verdict::Pass
        }
    });
    let stage = Stage::on(&store);
    let id = keep.session_of(0).await.id;
    let (chat, session) = (stage.chat.clone(), id.clone());
    let send = tokio::spawn(async move { chat.send(&session, SendOptions::new("hi")).await });
    within(begun.notified()).await;
    assert_eq!(stage.chat.n_open_runs(), 1, "it counts from the first moment");
    let chat = stage.chat.clone();
    let drain = tokio::spawn(async move { chat.drain(Duration::ZERO).await });
    // Asked without sending: a message that came before the drain would wait with the first one.
    until("no more is taken in", || async { stage.chat.ready().await.is_err() }).await;
    let error = refused(stage.chat.send(&id, SendOptions::new("more")).await);
    assert!(matches!(error, ChatError::Unavailable { .. }), "{error:?}");
    go_on.notify_one();
    within(drain).await.unwrap();
    let sent = within(send).await.unwrap().unwrap();
    assert_eq!(hear(sent.reader).await.error_code(), "server_stopped");
    assert_eq!(keep.words(&id).await, ["hi"]);
    assert_eq!(stage.chat.n_open_runs(), 0);
}

/// Says the same for ever and never waits.
#[derive(Debug)]
struct Endless(ReplyPart);

impl Responder for Endless {
    fn model(&self) -> Option<String> {
        None
    }

    fn respond(&self, _prompt: Prompt) -> Reply {
        Box::pin(stream::repeat(Ok(self.0.clone())))
    }
}

/// On one thread: whoever never lets others run would never be stopped.
#[tokio::test]
async fn a_model_that_never_waits_can_be_stopped() {
    let keep = Keep::in_memory();
    for part in [
        ReplyPart::Text(String::new()),
        ReplyPart::Text("x".to_owned()),
        ReplyPart::Text("x".repeat(20_000)),
        ReplyPart::Reasoning(String::new()),
    ] {
        let chat = Chat::builder(Arc::clone(&keep.store)).responder(Arc::new(Endless(part.clone()))).build();
        let id = keep.session_of(0).await.id;
        let sent = chat.send(&id, SendOptions::new("go on")).await.unwrap();
        within(chat.cancel(&id, None)).await.unwrap();
        assert_eq!(hear(sent.reader).await.error_code(), "cancelled", "{part:?}");
    }
    keep.check().await;
}
