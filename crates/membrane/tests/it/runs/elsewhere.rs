//! Two processes on one store: a turn that one drives is heard, gone on with and stopped through the other.

use std::time::Duration;

use membrane::{Chat, ChatError, RunEvent, RunOutcome, RunSettings, TurnStatus};

use super::stage::{Stage, hear, hear_text, within};
use crate::keep::{Keep, on_every_store, refused};

on_every_store!(
    a_turn_is_heard_to_its_end_through_another_process,
    a_reader_that_was_cut_off_goes_on_elsewhere_without_loss_or_repeat,
    a_turn_that_has_just_ended_is_heard_elsewhere_from_where_it_was_left,
    a_turn_that_ended_long_ago_or_was_taken_off_is_not_heard_elsewhere,
    many_readers_elsewhere_share_one_copy,
    a_turn_is_stopped_from_another_process,
    a_reader_that_saw_more_than_was_kept_is_told_the_end_and_nothing_twice,
    a_session_deleted_elsewhere_ends_its_readers,
);

/// A log that is written at once.
fn quick() -> RunSettings {
    RunSettings { flush_every: Duration::from_millis(1), ..RunSettings::default() }
}

fn other(keep: &Keep) -> Chat {
    Chat::create(keep.store.clone())
}

async fn a_turn_is_heard_to_its_end_through_another_process(keep: &Keep) {
    let mut stage = Stage::with(&keep.store, quick());
    let elsewhere = other(keep);
    let id = stage.session().await;
    let (here, answer) = stage.send(&id, "hi").await;
    answer.think("hm");
    answer.say("one ");
    let mut there = within(elsewhere.attach(&id, None)).await.unwrap().unwrap();
    assert_eq!(hear_text(&mut there, "one ").await.len(), 2, "with the thought");
    answer.say("two");
    hear_text(&mut there, "two").await;
    answer.end();
    let (here, there) = (hear(here).await, hear(there).await);
    assert_eq!(here.finished().turn, there.finished().turn);
    assert_eq!(here.ids.last(), there.ids.last(), "the same numbers");
    assert_eq!(here.finished().turn.assistant.content, "one two");
}

async fn a_reader_that_was_cut_off_goes_on_elsewhere_without_loss_or_repeat(keep: &Keep) {
    let mut stage = Stage::with(&keep.store, quick());
    let elsewhere = other(keep);
    let id = keep.session_of(3).await.id;
    let (mut here, answer) = stage.send(&id, "hi").await;
    let mut seen = Vec::new();
    for text in ["a", "b", "c"] {
        answer.say(text);
        seen.extend(hear_text(&mut here, text).await);
    }
    // Ahead of the log, perhaps: what was seen here is waited for there.
    let after = Some(membrane::EventId(seen[2]));
    let mut there = within(elsewhere.attach(&id, after)).await.unwrap().unwrap();
    answer.say("d");
    assert_eq!(hear_text(&mut there, "d").await, [seen[2] + 1]);
    answer.say("e");
    answer.end();
    let (here, there) = (hear(here).await, hear(there).await);
    assert_eq!((there.text.as_str(), there.ids), ("e", here.ids[1..].to_vec()));
}

async fn a_turn_that_has_just_ended_is_heard_elsewhere_from_where_it_was_left(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let elsewhere = other(keep);
    let id = keep.session_of(1).await.id;
    let (mut here, answer) = stage.send(&id, "hi").await;
    answer.think("hm");
    let mut seen = Vec::new();
    for text in ["日", "本", "語"] {
        answer.say(text);
        seen.extend(hear_text(&mut here, text).await);
    }
    answer.end();
    let here = hear(here).await;
    stage.until_idle(&id).await;
    let after = |id| Some(membrane::EventId(id));
    let whole = hear(elsewhere.attach(&id, None).await.unwrap().unwrap()).await;
    assert_eq!((whole.text.as_str(), whole.reasoning.as_str()), ("日本語", "hm"));
    assert_eq!(whole.ids, (seen[0]..=seen[seen.len() - 1] + 1).collect::<Vec<_>>());
    // After the thought and the first character.
    let rest = hear(elsewhere.attach(&id, after(seen[1])).await.unwrap().unwrap()).await;
    assert_eq!((rest.text.as_str(), &rest.outcome), ("本語", &here.outcome));
    let end = *here.ids.last().unwrap();
    assert!(elsewhere.attach(&id, after(end)).await.unwrap().is_none(), "all was seen");
}

async fn a_turn_that_ended_long_ago_or_was_taken_off_is_not_heard_elsewhere(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let elsewhere = other(keep);
    let id = stage.session().await;
    stage.exchange(&id, "hi", "ho").await;
    stage.until_idle(&id).await;
    let impatient = RunSettings { keep_ended_for: Duration::ZERO, ..RunSettings::default() };
    let forgetful = Chat::builder(keep.store.clone()).runs(impatient).build();
    assert!(forgetful.attach(&id, None).await.unwrap().is_none());
    elsewhere.rewind(&id, 1, membrane::WriteOptions::default()).await.unwrap();
    assert!(elsewhere.attach(&id, None).await.unwrap().is_none());
    assert!(stage.chat.attach(&id, None).await.unwrap().is_none(), "nor where it was driven");
    stage.exchange(&id, "again", "once more").await;
    stage.until_idle(&id).await;
    forgetful.sweep().await.unwrap();
    assert!(elsewhere.attach(&id, None).await.unwrap().is_none(), "it is swept");
}

async fn many_readers_elsewhere_share_one_copy(keep: &Keep) {
    let mut stage = Stage::with(&keep.store, quick());
    let elsewhere = other(keep);
    let id = stage.session().await;
    let (here, answer) = stage.send(&id, "hi").await;
    answer.say("x");
    let mut readers = Vec::new();
    for _ in 0..50 {
        readers.push(elsewhere.attach(&id, None).await.unwrap().unwrap());
    }
    drop(readers.split_off(25));
    answer.say("y");
    answer.end();
    let expected = hear(here).await;
    for reader in readers {
        let heard = hear(reader).await;
        assert_eq!((heard.text.as_str(), &heard.outcome), ("xy", &expected.outcome));
    }
}

async fn a_turn_is_stopped_from_another_process(keep: &Keep) {
    let mut stage = Stage::with(&keep.store, quick());
    let elsewhere = other(keep);
    let id = stage.session().await;
    let (mut here, answer) = stage.send(&id, "hi").await;
    answer.say("half");
    hear_text(&mut here, "half").await;
    within(elsewhere.cancel(&id, None)).await.unwrap();
    let turn = stage.turns(&id).await.pop().unwrap();
    assert_eq!((turn.status, turn.assistant.content.as_str()), (TurnStatus::Interrupted, "half"));
    answer.unheard().await;
    assert_eq!(hear(here).await.error_code(), "cancelled");
    let refusal = refused(elsewhere.cancel(&id, None).await);
    assert!(matches!(refusal, ChatError::Refused(_)), "{refusal:?}");
}

async fn a_reader_that_saw_more_than_was_kept_is_told_the_end_and_nothing_twice(keep: &Keep) {
    // Nothing goes to the log before the lease is lost.
    let settings = RunSettings {
        lease_for: Duration::from_millis(1),
        renew_every: Duration::from_secs(3600),
        flush_every: Duration::from_secs(3600),
        ..RunSettings::default()
    };
    let mut stage = Stage::with(&keep.store, settings);
    let elsewhere = other(keep);
    let id = stage.session().await;
    let (mut here, answer) = stage.send(&id, "hi").await;
    let mut seen = Vec::new();
    for text in ["a", "b", "c"] {
        answer.say(text);
        seen.extend(hear_text(&mut here, text).await);
    }
    let after = Some(membrane::EventId(seen[2]));
    let mut there = elsewhere.attach(&id, after).await.unwrap().unwrap();
    super::stage::until("the lease has expired", || async { elsewhere.recover_runs().await.unwrap() == 1 })
        .await;
    let (id_of_end, event) = within(there.next()).await.unwrap();
    let RunEvent::Ended(outcome) = event else { panic!("nothing that was lost is told: {event:?}") };
    assert!(id_of_end.0 > seen[2], "{id_of_end} after {seen:?}");
    let RunOutcome::Finished(finished) = &*outcome else { panic!("{outcome:?}") };
    assert_eq!(finished.turn.assistant.content, "");
    assert_eq!(within(there.next()).await, None);
    // Whoever asks later is told the same.
    let late = hear(elsewhere.attach(&id, after).await.unwrap().unwrap()).await;
    assert_eq!((late.text.as_str(), &late.outcome), ("", &outcome));
    drop(answer);
    // The one that was taken for dead finds the turn as it is kept.
    assert_eq!(hear(here).await.outcome, outcome);
}

async fn a_session_deleted_elsewhere_ends_its_readers(keep: &Keep) {
    let mut stage = Stage::with(&keep.store, quick());
    let elsewhere = other(keep);
    let id = stage.session().await;
    let (here, answer) = stage.send(&id, "hi").await;
    answer.say("x");
    let there = elsewhere.attach(&id, None).await.unwrap().unwrap();
    elsewhere.delete_session(&id).await.unwrap();
    assert_eq!(hear(there).await.lost(), "not_found");
    answer.say("y");
    assert_eq!(hear(here).await.lost(), "not_found");
}
