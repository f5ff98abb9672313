//! Sending: what the reader hears is what is kept, one at a time per session, and whoever sent may go away.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use futures_util::future::join_all;
use futures_util::stream;
use membrane::core::run::Run;
use membrane::responder::{Prompt, Reply};
use membrane::{
    Chat, ChatError, Item, Json, Limits, Responder, SendOptions, SessionId, State, Store, TurnStatus,
};
use tokio::sync::Notify;

use super::stage::{Stage, finishes, hear, hear_text, until, within};
use crate::keep::{Keep, on_every_store, refused};
use crate::meddling::{Meddling, Verdict};

on_every_store!(
    what_the_reader_hears_is_the_turn_that_is_kept,
    the_users_words_are_in_the_store_before_the_model_is_asked,
    nobody_is_told_of_a_turn_that_is_not_kept_yet,
    of_many_sends_at_once_exactly_one_is_taken,
    sends_on_different_sessions_run_side_by_side,
    a_caller_that_goes_away_leaves_nothing_or_a_turn_that_finishes,
    a_reader_that_leaves_stops_nothing,
    what_is_refused_leaves_no_run,
    an_empty_message_and_an_empty_answer_make_a_turn,
);

async fn what_the_reader_hears_is_the_turn_that_is_kept(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(2).await.id;
    let (reader, answer) = stage.send(&id, "why?").await;
    assert_eq!((answer.words.as_str(), reader.turn_number()), ("why?", 2));
    let (usage, start) =
        (Json::parse("usage", r#"{"in": 3, "x": [1e3]}"#).unwrap(), stage.chat.n_open_runs());
    answer.think("hm");
    answer.say("Be");
    answer.think("m");
    answer.say("cause 🙂\0");
    answer.end_with(Some("length"), Some(usage.clone()));
    let heard = hear(reader).await;
    let kept = keep.kept(&id).await.pop().unwrap();
    let session = keep.record(&id).await;
    let finished = heard.finished();
    assert_eq!(start, 1);
    assert_eq!((heard.text.as_str(), heard.reasoning.as_str()), ("Because 🙂\0", "hmm"));
    assert_eq!((&finished.turn, finished.number), (&kept.turn, kept.number));
    assert_eq!((finished.number, finished.turn_count, session.turn_count()), (2, 3, 3));
    assert_eq!((finished.standing, finished.evidence()), (session.standing(), session.evidence()));
    assert_eq!((session.state, keep.store.find_run(&id).await.unwrap()), (State::Idle, None));
    let turn = kept.turn;
    assert_eq!((turn.user.content.as_str(), turn.assistant.content.as_str()), ("why?", "Because 🙂\0"));
    assert_eq!((turn.status, turn.error), (TurnStatus::Complete, None));
    assert_eq!(turn.items, [Item::Reasoning("hmm".to_owned())]);
    assert_eq!((turn.model.as_deref(), turn.finish_reason.as_deref()), (Some("script"), Some("length")));
    assert_eq!(turn.usage, Some(usage));
    stage.until_idle(&id).await;
}

/// Looks into the store at the moment when it is asked.
#[derive(Debug)]
struct Looking {
    store: Arc<dyn Store>,
    session: SessionId,
    found: Mutex<Option<Run>>,
}

impl Responder for Looking {
    fn model(&self) -> Option<String> {
        None
    }

    fn respond(&self, _prompt: Prompt) -> Reply {
        let look = self.store.find_run(&self.session);
        let found = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(look));
        *self.found.lock().unwrap() = found.unwrap();
        Box::pin(stream::empty())
    }
}

async fn the_users_words_are_in_the_store_before_the_model_is_asked(keep: &Keep) {
    let session = keep.session_of(1).await.id;
    let responder = Arc::new(Looking {
        store: Arc::clone(&keep.store),
        session: session.clone(),
        found: Mutex::default(),
    });
    let chat = Chat::builder(Arc::clone(&keep.store)).responder(Arc::clone(&responder) as _).build();
    let sent = chat.send(&session, SendOptions::new("keep this")).await.unwrap();
    let heard = hear(sent.reader).await;
    let run = responder.found.lock().unwrap().take().expect("the run is there");
    assert_eq!((run.user.content.as_str(), run.session), ("keep this", session));
    assert_eq!(
        (run.turn_id, run.started_at),
        (heard.finished().turn.id.clone(), heard.finished().turn.started_at)
    );
}

async fn nobody_is_told_of_a_turn_that_is_not_kept_yet(keep: &Keep) {
    let (offered, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (offers, goes_on) = (Arc::clone(&offered), Arc::clone(&go_on));
    let store = Meddling::judging(&keep.store, move |change| {
        let held = finishes(change).then(|| (Arc::clone(&offers), Arc::clone(&goes_on)));
        async move {
            if let Some((offers, goes_on)) = held {
                offers.notify_one();
                goes_on.notified().await;
            }
            Verdict::Pass
        }
    });
    let mut stage = Stage::on(&store);
    let id = keep.session_of(0).await.id;
    let (reader, answer) = stage.send(&id, "hi").await;
    answer.say("ho");
    answer.end();
    within(offered.notified()).await;
    assert_eq!((reader.text().as_str(), reader.outcome()), ("ho", None));
    assert_eq!((keep.record(&id).await.turn_count(), stage.chat.n_open_runs()), (0, 1));
    let pending = stage.chat.find_pending(&keep.record(&id).await).await.unwrap().unwrap();
    assert_eq!((pending.user_message.as_str(), pending.partial.as_str()), ("hi", "ho"));
    go_on.notify_one();
    assert_eq!(hear(reader).await.finished().turn_count, 1);
}

async fn of_many_sends_at_once_exactly_one_is_taken(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    for (round, n_sends) in [2, 100, 2].into_iter().enumerate() {
        let sends = (0..n_sends).map(|n| {
            let (chat, id) = (stage.chat.clone(), id.clone());
            tokio::spawn(async move { chat.send(&id, SendOptions::new(format!("{n}"))).await })
        });
        let mut taken = Vec::new();
        for result in join_all(sends).await {
            match result.unwrap() {
                Ok(sent) => taken.push(sent.reader),
                Err(ChatError::Busy { session, .. }) => assert_eq!(session, id),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(taken.len(), 1);
        let answer = stage.asked().await;
        // The one before may have been told of a moment before it is counted as ended.
        until("one is open", || async { stage.chat.n_open_runs() == 1 }).await;
        assert!(!stage.is_asked(), "one answer was asked for");
        answer.end();
        let heard = hear(taken.pop().unwrap()).await;
        assert_eq!(heard.finished().turn_count, round as u64 + 1);
    }
}

async fn sends_on_different_sessions_run_side_by_side(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let mut open = Vec::new();
    for n in 0..5 {
        let id = keep.session_of(n).await.id;
        open.push((stage.send(&id, &format!("u{n}")).await, id));
    }
    assert_eq!(stage.chat.n_open_runs(), 5);
    for (n, ((reader, answer), id)) in open.into_iter().enumerate().rev() {
        assert_eq!(answer.words, format!("u{n}"));
        answer.say(&format!("a{n}"));
        answer.end();
        assert_eq!(hear(reader).await.text, format!("a{n}"));
        stage.chat.find_session(&id).await.unwrap().unwrap();
    }
}

async fn a_caller_that_goes_away_leaves_nothing_or_a_turn_that_finishes(keep: &Keep) {
    // The store lets others run now and then, so that there is something to leave in the middle of.
    let store = Meddling::judging(&keep.store, |_| async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Verdict::Pass
    });
    let chat = Chat::create(store);
    for n_polls in 0..12 {
        let id = keep.session_of(0).await.id;
        {
            let mut send = pin!(chat.send(&id, SendOptions::new("hi")));
            for _ in 0..n_polls {
                if send.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let n_turns = u64::from(n_polls > 0);
        until("the turn is kept", || async { keep.record(&id).await.turn_count() == n_turns }).await;
        until("nothing is under way", || async { chat.n_open_runs() == 0 }).await;
        assert_eq!(keep.record(&id).await.state, State::Idle);
    }
}

async fn a_reader_that_leaves_stops_nothing(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    let (mut reader, answer) = stage.send(&id, "hi").await;
    answer.say("one ");
    hear_text(&mut reader, "one ").await;
    drop(reader);
    answer.say("two");
    answer.end();
    stage.until_idle(&id).await;
    assert_eq!(keep.kept(&id).await[0].turn.assistant.content, "one two");
}

async fn what_is_refused_leaves_no_run(keep: &Keep) {
    let nobody = SessionId::parse("nobody").unwrap();
    let error = refused(keep.chat.send(&nobody, SendOptions::new("hi")).await);
    assert!(matches!(error, ChatError::NotFound { .. }), "{error:?}");
    let chat = keep.with_limits(Limits { max_message_bytes: 4, ..Limits::default() });
    let id = keep.session_of(0).await.id;
    let error = refused(chat.send(&id, SendOptions::new("12345")).await);
    assert!(matches!(error, ChatError::TooLarge { bytes: 5, max_bytes: 4, .. }), "{error:?}");
    keep.begin_run(&id).await;
    let owner = keep.store.find_run(&id).await.unwrap().unwrap().lease.owner;
    keep.store.hold_instance(&owner).await.unwrap();
    let error = refused(chat.send(&id, SendOptions::new("hi")).await);
    assert!(matches!(error, ChatError::Busy { .. }), "{error:?}");
    assert_eq!((chat.n_open_runs(), keep.chat.n_open_runs()), (0, 0));
}

async fn an_empty_message_and_an_empty_answer_make_a_turn(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(0).await.id;
    let (reader, answer) = stage.send(&id, "").await;
    answer.say("");
    drop(answer);
    let heard = hear(reader).await;
    assert_eq!((heard.ids.len(), heard.text.as_str()), (1, ""));
    let turn = &heard.finished().turn;
    assert_eq!((turn.status, turn.finish_reason.as_deref()), (TurnStatus::Complete, Some("stop")));
    assert_eq!(keep.kept(&id).await[0].turn, *turn);
}
