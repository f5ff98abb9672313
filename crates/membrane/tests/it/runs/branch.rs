//! Saying something else at a point: edits, answers made once more, and what stands there.

use membrane::{
    Chat, ChatError, ClientKey, DomainError, EditOptions, ForkOptions, Message, RegenerateOptions, SessionId,
    WriteOptions,
};

use super::stage::{Stage, hear, within};
use crate::keep::{Keep, on_every_store, refused};

on_every_store!(
    an_edit_makes_a_session_that_holds_the_turns_before_and_the_old_one_stays,
    a_message_is_answered_once_more_with_all_that_it_was,
    the_alternatives_of_a_point_are_told_once_each_and_this_one_first,
    a_turn_that_is_not_there_cannot_be_replaced,
    the_same_key_again_is_the_same_session_and_answer,
    a_session_under_way_can_be_edited_and_a_failed_edit_leaves_nothing,
    the_model_is_shown_what_comes_before_and_as_much_as_fits,
);

fn edit(words: &str) -> EditOptions {
    EditOptions { message: Message::new(words), branch_name: None, key: None }
}

async fn an_edit_makes_a_session_that_holds_the_turns_before_and_the_old_one_stays(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let old = keep.session_of(3).await;
    let sent = stage.chat.edit_turn(&old.id, 1, edit("else")).await.unwrap();
    let said = stage.asked().await;
    let shown: Vec<_> = said.prompt.history.iter().map(|turn| turn.user.content.as_str()).collect();
    assert_eq!((said.words.as_str(), shown), ("else", vec!["u0"]));
    said.say("other");
    said.end();
    let new = sent.session.clone();
    assert_eq!(hear(sent.reader).await.finished().number, 1);
    stage.until_idle(&new).await;
    let record = keep.record(&new).await;
    assert_eq!((record.parent_id, record.fork_point), (Some(old.id.clone()), Some(1)));
    assert_eq!((record.branch_name.as_str(), &record.family), ("edit-1", &old.family));
    assert_eq!(keep.words(&new).await, ["u0", "else"]);
    assert_eq!(keep.record(&old.id).await, old, "nothing happened to it");
    let named = EditOptions { branch_name: Some("b".into()), ..edit("first") };
    let sent = stage.chat.edit_turn(&old.id, 0, named).await.unwrap();
    assert_eq!(keep.record(&sent.session).await.branch_name, "b");
    stage.asked().await.end();
    hear(sent.reader).await;
}

async fn a_message_is_answered_once_more_with_all_that_it_was(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let old = keep.session_of(2).await.id;
    let sent = stage.chat.regenerate_turn(&old, 1, RegenerateOptions::default()).await.unwrap();
    let said = stage.asked().await;
    assert_eq!((said.words.as_str(), said.prompt.history.len()), ("u1", 1));
    said.say("better");
    said.end();
    let turn = hear(sent.reader).await.finished().turn.clone();
    assert_eq!((turn.user.content.as_str(), turn.assistant.content.as_str()), ("u1", "better"));
    assert_eq!(keep.record(&sent.session).await.branch_name, "regenerate-1");
    let before = &keep.kept(&old).await[1].turn;
    assert_eq!((turn.user, turn.id != before.id), (before.user.clone(), true));
}

async fn the_alternatives_of_a_point_are_told_once_each_and_this_one_first(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let root = keep.session_of(3).await.id;
    let mut made = Vec::new();
    for n in 0..3 {
        let sent = stage.chat.regenerate_turn(&root, 1, RegenerateOptions::default()).await.unwrap();
        let said = stage.asked().await;
        said.say(&format!("again {n}"));
        said.end();
        made.push(sent.session.clone());
        hear(sent.reader).await;
        stage.until_idle(&sent.session).await;
    }
    // Forks that share a turn do not make it two, and what follows other turns is no alternative.
    for (id, fork_point) in [(&root, 3), (&made[0], 2)] {
        let options = ForkOptions { fork_point: Some(fork_point), ..ForkOptions::default() };
        stage.chat.fork(id, options).await.unwrap();
    }
    let sent = stage.chat.edit_turn(&root, 0, edit("else")).await.unwrap();
    stage.asked().await.end();
    hear(sent.reader).await;
    keep.extend(&sent.session, 1).await;
    let told = |id: SessionId| async move {
        let found = stage_chat(keep).alternatives(&id, 1).await.unwrap();
        found
            .into_iter()
            .map(|found| (found.session.id, found.kept.turn.assistant.content, found.kept.number))
            .collect::<Vec<_>>()
    };
    let at = |id: &SessionId, answer: &str| (id.clone(), answer.to_owned(), 1);
    assert_eq!(
        told(root.clone()).await,
        [at(&root, "a1"), at(&made[0], "again 0"), at(&made[1], "again 1"), at(&made[2], "again 2")]
    );
    let of_second = told(made[1].clone()).await;
    assert_eq!(of_second[..2], [at(&made[1], "again 1"), at(&root, "a1")]);
    assert_eq!(of_second.len(), 4);
    let at_0: Vec<_> = keep.chat.alternatives(&root, 0).await.unwrap();
    let users: Vec<_> = at_0.iter().map(|found| found.kept.turn.user.content.as_str()).collect();
    assert_eq!(users, ["u0", "else"]);
    // One that is gone is not told of; what only it held is not, either.
    keep.chat.delete_session(&made[2]).await.unwrap();
    assert_eq!(told(root.clone()).await.len(), 3);
    assert_eq!(keep.chat.alternatives(&root, 2).await.unwrap().len(), 1);
}

fn stage_chat(keep: &Keep) -> Chat {
    Chat::create(keep.store.clone())
}

async fn a_turn_that_is_not_there_cannot_be_replaced(keep: &Keep) {
    let stage = Stage::on(&keep.store);
    let id = keep.session_of(2).await.id;
    for n in [-1, 2, i64::MAX] {
        let error = refused(stage.chat.edit_turn(&id, n, edit("x")).await);
        let expected = matches!(&error, ChatError::Refused(DomainError::NoSuchTurn { turn_number, .. })
            if *turn_number == n);
        assert!(expected, "{error:?}");
        refused(stage.chat.regenerate_turn(&id, n, RegenerateOptions::default()).await);
        refused(stage.chat.alternatives(&id, n).await);
    }
    let nobody = SessionId::from_stored("nobody");
    let error = refused(stage.chat.edit_turn(&nobody, 0, edit("x")).await);
    assert!(matches!(error, ChatError::NotFound { .. }), "{error:?}");
    let long = EditOptions { branch_name: Some("x".repeat(100_000)), ..edit("x") };
    let error = refused(stage.chat.edit_turn(&id, 0, long).await);
    assert!(matches!(error, ChatError::TooLarge { what: "branch name", .. }), "{error:?}");
    assert_eq!(stage.chat.n_open_runs(), 0);
    assert_eq!(keep.chat.branches(&id).await.unwrap().len(), 1, "nothing was made");
}

async fn the_same_key_again_is_the_same_session_and_answer(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(2).await.id;
    let keyed = |body: &[u8]| EditOptions { key: Some(ClientKey::for_body("k", body)), ..edit("x") };
    let first = stage.chat.edit_turn(&id, 1, keyed(b"x")).await.unwrap();
    let said = stage.asked().await;
    let second = stage.chat.edit_turn(&id, 1, keyed(b"x")).await.unwrap();
    assert_eq!((second.replayed, &second.session), (true, &first.session));
    said.say("ho");
    said.end();
    let outcome = hear(first.reader).await.outcome;
    assert_eq!(hear(second.reader).await.outcome, outcome);
    stage.until_idle(&first.session).await;
    let third = within(stage_chat(keep).edit_turn(&id, 1, keyed(b"x"))).await.unwrap();
    assert_eq!((third.replayed, &third.session), (true, &first.session));
    assert_eq!(hear(third.reader).await.outcome, outcome);
    let other = refused(stage.chat.edit_turn(&id, 1, keyed(b"y")).await);
    assert!(matches!(other, ChatError::KeyReused { .. }), "{other:?}");
    assert_eq!(keep.chat.branches(&id).await.unwrap().len(), 2);
}

async fn a_session_under_way_can_be_edited_and_a_failed_edit_leaves_nothing(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(1).await.id;
    let (reader, said) = stage.send(&id, "and?").await;
    let sent = stage.chat.edit_turn(&id, 0, edit("x")).await.unwrap();
    stage.asked().await.fail("rejected", "no");
    let heard = hear(sent.reader).await;
    assert_eq!(heard.error_code(), "rejected");
    stage.until_idle_but_one(&sent.session).await;
    assert_eq!(keep.words(&sent.session).await, ["x"], "what was said is kept");
    said.end();
    hear(reader).await;
    assert_eq!(keep.words(&id).await, ["u0", "and?"]);
    stage.chat.rewind(&sent.session, 1, WriteOptions::default()).await.unwrap();
    stage.chat.fork(&id, ForkOptions::default()).await.unwrap();
}

async fn the_model_is_shown_what_comes_before_and_as_much_as_fits(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(200).await.id;
    let (reader, said) = stage.send(&id, "and?").await;
    let shown: Vec<_> = said.prompt.history.iter().map(|turn| turn.user.content.clone()).collect();
    assert_eq!((shown.len(), shown[0].as_str(), shown[199].as_str()), (200, "u0", "u199"), "in order");
    said.end();
    hear(reader).await;
    let settings = membrane::RunSettings { context_tokens: 10, ..membrane::RunSettings::default() };
    let mut narrow = Stage::with(&keep.store, settings);
    let (reader, said) = narrow.send(&id, "and?").await;
    let tokens: i64 = said.prompt.history.iter().map(|turn| turn.measures().tokens).sum();
    assert!(tokens <= 10 && !said.prompt.history.is_empty(), "{tokens}");
    assert_eq!(said.prompt.history.last().unwrap().user.content, "and?", "the newest");
    said.end();
    hear(reader).await;
}
