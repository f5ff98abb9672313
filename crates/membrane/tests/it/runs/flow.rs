//! Flow: how an answer is cut into pieces, when they reach the log, and how much of it there may be.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use membrane::responder::{Prompt, Reply, ReplyPart};
use membrane::{Chat, Limits, Responder, RunSettings, SendOptions, TurnStatus};

use super::stage::{Stage, finishes, hear, hear_text, n_pieces, store_in_paused_time, until};
use crate::keep::{Keep, on_every_store};
use crate::meddling::{Meddling, Verdict};

on_every_store!(
    what_arrives_is_in_the_log_while_the_answer_goes_on,
    an_answer_over_the_limit_is_kept_up_to_it,
);

async fn what_arrives_is_in_the_log_while_the_answer_goes_on(keep: &Keep) {
    let settings = RunSettings { flush_every: Duration::from_millis(1), ..RunSettings::default() };
    let mut stage = Stage::with(&keep.store, settings);
    let elsewhere = Stage::on(&keep.store);
    let id = keep.session_of(2).await.id;
    let (reader, answer) = stage.send(&id, "hi").await;
    let mut whole = String::new();
    for text in ["a", "b\0", "🙂"] {
        answer.say(text);
        answer.think("hm");
        whole.push_str(text);
        until("it is in the log", || async {
            let session = keep.record(&id).await;
            let pending = elsewhere.chat.find_pending(&session).await.unwrap().unwrap();
            assert_eq!((pending.turn_number, pending.user_message.as_str()), (2, "hi"));
            pending.partial == whole
        })
        .await;
    }
    let run = keep.store.find_run(&id).await.unwrap().unwrap();
    let here = stage.chat.find_pending(&keep.record(&id).await).await.unwrap().unwrap();
    assert_eq!((here.partial, here.started_at), (whole.clone(), run.started_at));
    answer.end();
    assert_eq!(hear(reader).await.finished().turn.assistant.content, whole);
    assert_eq!(keep.store.list_pieces(&run.id, 0).await.unwrap(), [], "the log goes with the run");
    assert_eq!(stage.chat.find_pending(&keep.record(&id).await).await.unwrap(), None);
}

async fn an_answer_over_the_limit_is_kept_up_to_it(keep: &Keep) {
    let parts = ["1234567", "89", "x"];
    let limits = Limits { max_turn_bytes: 11, ..Limits::default() };
    let said = Said(parts.map(|text| ReplyPart::Text(text.to_owned())).to_vec());
    let chat = Chat::builder(Arc::clone(&keep.store)).limits(limits).responder(Arc::new(said)).build();
    for (words, expected, is_whole) in [("u", "123456789x", true), ("us", "123456789", false)] {
        let id = keep.session_of(0).await.id;
        let heard = hear(chat.send(&id, SendOptions::new(words)).await.unwrap().reader).await;
        let turn = &heard.finished().turn;
        assert_eq!((turn.assistant.content.as_str(), heard.text.as_str()), (expected, expected));
        if is_whole {
            assert_eq!(turn.status, TurnStatus::Complete);
        } else {
            assert_eq!((heard.error_code(), turn.status), ("too_large", TurnStatus::Interrupted));
        }
    }
}

/// Says it all at once.
#[derive(Debug)]
struct Said(Vec<ReplyPart>);

impl Responder for Said {
    fn model(&self) -> Option<String> {
        None
    }

    fn respond(&self, _prompt: Prompt) -> Reply {
        Box::pin(stream::iter(self.0.clone().into_iter().map(Ok)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_in_small_parts_makes_few_pieces() {
    let n_logged = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&n_logged);
    let store = Meddling::judging(&store_in_paused_time(), move |change| {
        count.fetch_add(n_pieces(change), Ordering::SeqCst);
        async { Verdict::Pass }
    });
    let text = || ReplyPart::Text("x".to_owned());
    let thought = || ReplyPart::Reasoning("y".to_owned());
    let n_parts = 1 << 20;
    let aloud: Vec<_> = (0..n_parts).map(|n| if n % 2 == 0 { text() } else { thought() }).collect();
    for parts in [vec![text(); n_parts], aloud] {
        let chat = Chat::builder(Arc::clone(&store)).responder(Arc::new(Said(parts))).build();
        let id = Stage::on(&store).session().await;
        let heard = hear(chat.send(&id, SendOptions::new("hi")).await.unwrap().reader).await;
        assert_eq!(heard.text.len() + heard.reasoning.len(), n_parts);
        assert!(heard.ids.len() < 200, "{} events", heard.ids.len());
    }
    assert!(n_logged.load(Ordering::SeqCst) < 400);
}

#[tokio::test(start_paused = true)]
async fn pieces_are_handed_on_at_a_pace() {
    let mut stage = Stage::on(&store_in_paused_time());
    let id = stage.session().await;
    let (mut reader, answer) = stage.send(&id, "hi").await;
    answer.say("first");
    let start = tokio::time::Instant::now();
    hear_text(&mut reader, "first").await;
    assert_eq!(start.elapsed(), Duration::ZERO, "the first is not held back");
    for _ in 0..1000 {
        answer.say("x");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    answer.end();
    let heard = hear(reader).await;
    assert_eq!(heard.text.len(), 1000);
    assert!((150..=250).contains(&heard.ids.len()), "{} events", heard.ids.len());
}

#[tokio::test(start_paused = true)]
async fn the_log_is_written_when_there_is_news_and_the_lease_is_renewed_when_there_is_none() {
    let settings = RunSettings::default();
    let start = tokio::time::Instant::now();
    let commits = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&commits);
    let store = Meddling::judging(&store_in_paused_time(), move |change| {
        if !finishes(change) {
            noted.lock().unwrap().push((start.elapsed(), n_pieces(change)));
        }
        async { Verdict::Pass }
    });
    let mut stage = Stage::with(&store, settings);
    let id = stage.session().await;
    let (mut reader, answer) = stage.send(&id, "hi").await;
    commits.lock().unwrap().clear();
    answer.say("one");
    hear_text(&mut reader, "one").await;
    tokio::time::sleep(settings.renew_every + settings.flush_every * 3).await;
    answer.say("two");
    hear_text(&mut reader, "two").await;
    tokio::time::sleep(settings.flush_every * 2).await;
    answer.end();
    hear(reader).await;
    let (flush, renew) = (settings.flush_every, settings.renew_every);
    // The last news come when the log has been quiet for long.
    let seconds = |(at, n): &(Duration, usize)| (at.as_millis(), *n);
    let commits: Vec<_> = commits.lock().unwrap().iter().map(seconds).collect();
    // What is written says nothing of the lease, which keeps its own time.
    let expected = [(flush, 1), (renew, 0), (renew + flush * 3, 1)].map(|commit| seconds(&commit));
    for ((at, n), (at_least, expected)) in commits.iter().zip(expected) {
        assert_eq!(*n, expected, "{commits:?}");
        assert!((at_least..=at_least + 30).contains(at), "{commits:?}");
    }
    assert_eq!(commits.len(), 3, "{commits:?}");
}
