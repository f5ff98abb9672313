//! Tools: the model calls, the run waits, clients answer, allow and refuse, and the turn goes on, wherever that is.

use futures_util::future::join_all;
use membrane::core::run::PieceBody;
use membrane::{
    Chat, ChatError, ClientKey, ConsentKind, DomainError, Item, Json, NewSessionOptions, RunOutcome,
    RunReader, RunSettings, SendOptions, SessionId, SessionPatch, State, ToolAnswer, ToolDecision,
    ToolEffect, ToolUse, TurnStatus,
};

use super::stage::{Stage, hear, hear_calls, hear_text, within};
use crate::keep::{Keep, on_every_store, refused};

on_every_store!(
    a_turn_waits_for_its_tools_and_goes_on_with_their_results,
    a_turn_goes_on_only_when_all_calls_have_their_results,
    what_was_said_before_a_tool_stands_apart_from_what_is_said_after_it,
    a_destructive_tool_is_approved_first_and_who_said_so_is_kept,
    a_denied_call_has_its_result_and_the_model_is_told,
    a_call_is_answered_once_and_only_while_it_waits,
    a_waiting_turn_survives_its_process_and_goes_on_elsewhere,
    a_waiting_turn_can_be_cancelled_and_keeps_what_was_called,
    a_call_is_what_its_tool_was_when_the_model_was_asked,
    a_model_that_fails_after_its_tools_leaves_what_was_done,
    large_results_of_tools_push_old_turns_out_of_what_the_model_is_asked,
    a_waiting_session_allows_what_it_says,
    calls_of_the_same_name_are_told_apart,
    the_same_key_again_hears_the_same_answer,
    of_many_answers_at_once_one_counts,
    odd_tools_in_metadata_fail_the_turn_with_the_reason,
);

/// A session that offers a tool of each kind.
async fn session(chat: &Chat) -> SessionId {
    let tools = r#"{"tools": [{"name": "look", "effect": "read"}, {"name": "put", "effect": "write"},
        {"name": "wipe", "effect": "destructive", "description": "all of it", "parameters": {"type": "object"}}]}"#;
    let metadata = Some(Json::parse("metadata", tools).unwrap());
    chat.create_session(NewSessionOptions { metadata, ..NewSessionOptions::default() }).await.unwrap().id
}

fn result(output: &str) -> ToolAnswer {
    ToolAnswer {
        output: Json::parse("output", output).unwrap(),
        success: true,
        error: None,
        duration_ms: None,
        by: None,
        key: None,
    }
}

async fn answer(chat: &Chat, id: &SessionId, call: &str, output: &str) -> RunReader {
    within(chat.answer_tool(id, call, result(output))).await.unwrap().reader
}

fn tools(items: &[Item]) -> Vec<&ToolUse> {
    let tools = items.iter().filter_map(|item| match item {
        Item::Tool(tool) => Some(tool),
        _ => None,
    });
    tools.collect()
}

fn refusal(error: ChatError) -> DomainError {
    match error {
        ChatError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

async fn state(chat: &Chat, id: &SessionId) -> State {
    chat.find_session(id).await.unwrap().unwrap().state
}

async fn a_turn_waits_for_its_tools_and_goes_on_with_their_results(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "what is in a?").await;
    let offered: Vec<_> = said.prompt.tools.iter().map(|tool| (tool.name.as_str(), tool.effect)).collect();
    assert_eq!(
        offered,
        [("look", ToolEffect::Read), ("put", ToolEffect::Write), ("wipe", ToolEffect::Destructive)]
    );
    said.think("let me see");
    said.call("call_1", "look", r#"{"path": "a"}"#);
    said.wait(r#"{"total_tokens":3}"#, Some(r#"["signed"]"#));
    let (_, calls) = hear_calls(reader).await;
    assert_eq!(calls, ["call_1"]);
    assert_eq!(state(&stage.chat, &id).await, State::AwaitingTool);
    let record = keep.record(&id).await;
    let pending = stage.chat.find_pending(&record).await.unwrap().unwrap();
    assert_eq!((pending.calls.len(), pending.calls[0].call.name.as_str()), (1, "look"));

    let reader = answer(&stage.chat, &id, "call_1", r#""1, 2""#).await;
    let said = stage.asked().await;
    let step = &said.prompt.steps[0];
    assert_eq!((said.prompt.steps.len(), step.thoughts.concat().as_str()), (1, "let me see"));
    assert_eq!(step.carry.as_ref().unwrap().as_str(), r#"["signed"]"#);
    assert_eq!((step.tools[0].output.as_str(), step.tools[0].success), (r#""1, 2""#, true));
    said.say("1 and 2.");
    said.end_with(Some("stop"), Some(Json::parse("usage", r#"{"total_tokens":4}"#).unwrap()));
    let heard = hear(reader).await;
    let turn = &heard.finished().turn;
    assert_eq!((turn.status, turn.assistant.content.as_str()), (TurnStatus::Complete, "1 and 2."));
    assert_eq!(turn.usage.as_ref().unwrap().as_str(), r#"{"total_tokens":7}"#, "of both parts");
    assert_eq!(turn.items[0], Item::Reasoning("let me see".into()));
    let used = tools(&turn.items)[0];
    assert_eq!((used.name.as_str(), used.input.as_str()), ("look", r#"{"path": "a"}"#));
    assert_eq!((used.effect, &used.consent, &used.error), (Some(ToolEffect::Read), &None, &None));
    assert!(used.duration_ms >= 0.0);
    assert_eq!(heard.finished().evidence().tools_succeeded, 1);
    stage.until_idle(&id).await;
    // The next message shows the model what was done.
    let (_reader, said) = stage.send(&id, "thanks").await;
    assert_eq!(tools(&said.prompt.history[0].items)[0].call_id, "call_1");
    said.end();
}

async fn a_turn_goes_on_only_when_all_calls_have_their_results(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "do it").await;
    said.call("a", "look", "{}");
    said.call("b", "put", "{}");
    said.call("c", "look", "{}");
    said.wait("{}", None);
    assert_eq!(hear_calls(reader).await.1, ["a", "b", "c"]);
    let reader = answer(&stage.chat, &id, "b", "2").await;
    assert_eq!(hear_calls(reader).await.1, ["a", "c"], "two are still open");
    let reader = answer(&stage.chat, &id, "c", "3").await;
    assert_eq!(hear_calls(reader).await.1, ["a"]);
    assert!(!stage.is_asked());
    let failed = ToolAnswer { success: false, error: Some("gone".into()), ..result("null") };
    let reader = stage.chat.answer_tool(&id, "a", failed).await.unwrap().reader;
    let said = stage.asked().await;
    let order: Vec<_> = said.prompt.steps[0].tools.iter().map(|tool| tool.call_id.as_str()).collect();
    assert_eq!(order, ["a", "b", "c"], "as they were called");
    said.end();
    let heard = hear(reader).await;
    let turn = &heard.finished().turn;
    assert_eq!(turn.observes_success(), Some(false));
    let put = tools(&turn.items)[1];
    let consent = put.consent.as_ref().unwrap();
    assert_eq!((consent.kind, consent.by.as_str()), (ConsentKind::Answered, "user"), "a write was seen");
    assert_eq!(tools(&turn.items)[0].error.as_deref(), Some("gone"));
}

async fn what_was_said_before_a_tool_stands_apart_from_what_is_said_after_it(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (mut reader, said) = stage.send(&id, "why?").await;
    said.say("Let me look.");
    let seen = hear_text(&mut reader, "Let me look.").await;
    said.call("a", "look", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    let mut reader = answer(&stage.chat, &id, "a", "1").await;
    let said = stage.asked().await;
    assert_eq!(said.prompt.steps[0].text, "Let me look.");
    said.say("So.");
    let ids = hear_text(&mut reader, "\n\nSo.").await;
    assert!(ids[0] > *seen.last().unwrap(), "the reader goes on where the first one ended");
    said.end();
    let turn = hear(reader).await.finished().turn.clone();
    assert_eq!(turn.assistant.content, "Let me look.\n\nSo.");
    assert!(matches!(&turn.items[0], Item::Message(message) if message.content == "Let me look."));
    // The whole, for whoever comes now.
    let whole = hear(stage.attach(&id, None).await.unwrap()).await;
    assert_eq!(whole.text, "Let me look.\n\nSo.");
}

async fn a_destructive_tool_is_approved_first_and_who_said_so_is_kept(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "clean up").await;
    said.call("a", "wipe", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    let refused = refused(stage.chat.answer_tool(&id, "a", result("1")).await);
    assert!(matches!(refusal(refused), DomainError::NotApproved { tool, .. } if tool == "wipe"));
    let yes = ToolDecision { reason: Some("go on".into()), by: Some("ada".into()), key: None };
    stage.chat.approve_tool(&id, "a", yes).await.unwrap();
    stage.chat.approve_tool(&id, "a", ToolDecision::default()).await.unwrap();
    let pending = stage.chat.find_pending(&keep.record(&id).await).await.unwrap().unwrap();
    assert_eq!(pending.calls[0].consent.as_ref().unwrap().by, "ada");
    let reader = answer(&stage.chat, &id, "a", "1").await;
    stage.asked().await.end();
    let turn = hear(reader).await.finished().turn.clone();
    let consent = tools(&turn.items)[0].consent.as_ref().unwrap();
    assert_eq!((consent.kind, consent.by.as_str()), (ConsentKind::Approved, "ada"), "who said so first");
    assert_eq!(consent.reason.as_deref(), Some("go on"));
}

async fn a_denied_call_has_its_result_and_the_model_is_told(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "clean up").await;
    said.call("a", "wipe", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    let no = ToolDecision { reason: Some("not today".into()), ..ToolDecision::default() };
    stage.chat.deny_tool(&id, "a", no).await.unwrap();
    let said = stage.asked().await;
    let denied = &said.prompt.steps[0].tools[0];
    assert!(!denied.success && denied.error.as_deref().unwrap().contains("not today"), "{denied:?}");
    let reader = stage.attach(&id, None).await.unwrap();
    said.say("Then not.");
    said.end();
    let heard = within(async {
        let mut reader = reader;
        while let Some((_, event)) = reader.next().await {
            if let membrane::RunEvent::Ended(outcome) = event {
                return outcome;
            }
        }
        panic!("it ends")
    });
    let membrane::RunOutcome::Finished(finished) = &*heard.await else { panic!("it is kept") };
    assert_eq!(finished.turn.assistant.content, "Then not.");
    assert_eq!(tools(&finished.turn.items)[0].consent.as_ref().unwrap().kind, ConsentKind::Denied);
}

async fn a_call_is_answered_once_and_only_while_it_waits(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let error = refused(stage.chat.answer_tool(&id, "a", result("1")).await);
    assert!(matches!(refusal(error), DomainError::WrongState { state: State::Idle, .. }));
    let (reader, said) = stage.send(&id, "do it").await;
    let error = refused(stage.chat.answer_tool(&id, "a", result("1")).await);
    assert!(matches!(refusal(error), DomainError::WrongState { state: State::Processing, .. }));
    said.call("a", "look", "{}");
    said.call("b", "look", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    let error = refused(stage.chat.answer_tool(&id, "z", result("1")).await);
    assert!(matches!(&error, ChatError::NotFound { id, .. } if id == "z"), "{error:?}");
    answer(&stage.chat, &id, "a", "1").await;
    let again = refused(stage.chat.answer_tool(&id, "a", result("2")).await);
    assert!(matches!(refusal(again), DomainError::AlreadyAnswered { .. }));
    let late = refused(stage.chat.deny_tool(&id, "a", ToolDecision::default()).await);
    assert!(matches!(refusal(late), DomainError::AlreadyAnswered { .. }));
    let huge = format!("\"{}\"", "x".repeat(5 * 1024 * 1024));
    let error = refused(stage.chat.answer_tool(&id, "b", result(&huge)).await);
    assert!(matches!(error, ChatError::TooLarge { what: "tool's output", .. }), "{error:?}");
    let nobody = SessionId::from_stored("nobody");
    assert!(matches!(
        refused(stage.chat.answer_tool(&nobody, "a", result("1")).await),
        ChatError::NotFound { .. }
    ));
    stage.chat.cancel(&id, None).await.unwrap();
}

async fn a_waiting_turn_survives_its_process_and_goes_on_elsewhere(keep: &Keep) {
    let mut first = Stage::on(&keep.store);
    let id = session(&first.chat).await;
    let (mut reader, said) = first.send(&id, "why?").await;
    said.say("Hm.");
    let seen = hear_text(&mut reader, "Hm.").await;
    said.call("a", "look", "{}");
    said.wait(r#"{"total_tokens":3}"#, None);
    hear_calls(reader).await;
    first.chat.drain(std::time::Duration::ZERO).await;
    drop(first);

    let mut second = Stage::on(&keep.store);
    assert_eq!(second.chat.recover_runs().await.unwrap(), 0, "it waits for nobody's process");
    let waiting = second.attach(&id, None).await.unwrap();
    assert_eq!(hear_calls(waiting).await, ("Hm.".to_owned(), vec!["a".to_owned()]));
    let mut reader = answer(&second.chat, &id, "a", "1").await;
    let said = second.asked().await;
    said.say("So.");
    let ids = hear_text(&mut reader, "\n\nSo.").await;
    assert!(ids[0] > *seen.last().unwrap(), "one numbering for both");
    said.end();
    let turn = hear(reader).await.finished().turn.clone();
    assert_eq!((turn.user.content.as_str(), turn.assistant.content.as_str()), ("why?", "Hm.\n\nSo."));
}

async fn a_waiting_turn_can_be_cancelled_and_keeps_what_was_called(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "do it").await;
    said.say("One moment.");
    said.call("a", "look", "{}");
    said.call("b", "put", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    answer(&stage.chat, &id, "a", "1").await;
    Chat::create(keep.store.clone()).cancel(&id, None).await.unwrap();
    let turn = stage.turns(&id).await.pop().unwrap();
    assert_eq!((turn.status, turn.assistant.content.as_str()), (TurnStatus::Interrupted, "One moment."));
    let tools = tools(&turn.items);
    assert_eq!((tools[0].success, tools[0].output.as_str()), (true, "1"));
    assert!(!tools[1].success && tools[1].error.is_some(), "{:?}", tools[1]);
    assert_eq!(turn.observes_success(), None);
    let reader = stage.attach(&id, None).await.unwrap();
    assert_eq!(hear(reader).await.finished().turn, turn, "who waited here is told that it is over");
    stage.exchange(&id, "again", "yes").await;
}

async fn a_call_is_what_its_tool_was_when_the_model_was_asked(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "do it").await;
    let patch =
        SessionPatch { metadata: Some(Json::parse("metadata", "{}").unwrap()), ..SessionPatch::default() };
    stage.chat.patch_session(&id, patch, membrane::WriteOptions::default()).await.unwrap();
    said.call("a", "wipe", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    let error = refusal(refused(stage.chat.answer_tool(&id, "a", result("1")).await));
    assert!(matches!(error, DomainError::NotApproved { .. }), "{error:?}");
}

async fn a_model_that_fails_after_its_tools_leaves_what_was_done(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "do it").await;
    said.call("a", "put", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    let reader = answer(&stage.chat, &id, "a", "1").await;
    stage.asked().await.fail("rate_limited", "later");
    let heard = hear(reader).await;
    let turn = &heard.finished().turn;
    assert_eq!((turn.status, heard.error_code()), (TurnStatus::Interrupted, "rate_limited"));
    assert_eq!(tools(&turn.items)[0].output.as_str(), "1");
}

async fn large_results_of_tools_push_old_turns_out_of_what_the_model_is_asked(keep: &Keep) {
    let settings = RunSettings { context_tokens: 1000, ..RunSettings::default() };
    let mut stage = Stage::with(&keep.store, settings);
    let id = session(&stage.chat).await;
    stage.exchange(&id, "first", "yes").await;
    let (reader, said) = stage.send(&id, "do it").await;
    assert_eq!(said.prompt.history.len(), 1);
    said.call("a", "look", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    let reader = answer(&stage.chat, &id, "a", &format!("{:?}", "x".repeat(3972))).await;
    let said = stage.asked().await;
    assert_eq!((said.prompt.history.len(), said.prompt.steps.len()), (1, 1));
    said.end();
    hear(reader).await;
    stage.until_idle(&id).await;
    stage.exchange(&id, "small", "yes").await;
    let (_reader, said) = stage.send(&id, "what now?").await;
    let left: Vec<_> = said.prompt.history.iter().map(|turn| turn.user.content.as_str()).collect();
    assert_eq!(left, ["do it", "small"], "the first does not fit beside them");
    said.end();
}

async fn a_waiting_session_allows_what_it_says(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "do it").await;
    said.call("a", "look", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    let fork = stage.chat.fork(&id, membrane::ForkOptions::default()).await.unwrap();
    assert_eq!((fork.turn_count(), fork.state), (0, State::Idle));
    let error = refused(stage.chat.send(&id, SendOptions::new("x")).await);
    assert!(matches!(error, ChatError::Busy { .. }), "{error:?}");
    let error = refused(stage.chat.rewind(&id, 1, membrane::WriteOptions::default()).await);
    assert!(matches!(refusal(error), DomainError::WrongState { state: State::AwaitingTool, .. }));
    stage.chat.delete_session(&id).await.unwrap();
    let error = refused(stage.chat.answer_tool(&id, "a", result("1")).await);
    assert!(matches!(error, ChatError::NotFound { .. }), "{error:?}");
}

async fn calls_of_the_same_name_are_told_apart(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "do it").await;
    said.call("call_0", "look", "1");
    said.call("call_0", "look", "2");
    said.call("", "look", "3");
    said.wait("{}", None);
    let (_, first) = hear_calls(reader).await;
    assert_eq!((first.len(), first[0].as_str()), (3, "call_0"));
    for call in &first {
        answer(&stage.chat, &id, call, "0").await;
    }
    let said = stage.asked().await;
    said.call("call_0", "look", "4");
    let reader = stage.attach(&id, None).await.unwrap();
    said.wait("{}", None);
    let (_, second) = hear_calls(reader).await;
    assert!(second.len() == 1 && !first.contains(&second[0]), "{first:?}, {second:?}");
    let reader = answer(&stage.chat, &id, &second[0], "0").await;
    stage.asked().await.end();
    let turn = hear(reader).await.finished().turn.clone();
    let inputs: Vec<_> = tools(&turn.items).iter().map(|tool| tool.input.as_str()).collect();
    assert_eq!(inputs, ["1", "2", "3", "4"]);
}

async fn the_same_key_again_hears_the_same_answer(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "do it").await;
    said.call("a", "look", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    let keyed = |body: &[u8]| ToolAnswer { key: Some(ClientKey::for_body("k", body)), ..result("1") };
    let reader = stage.chat.answer_tool(&id, "a", keyed(b"1")).await.unwrap().reader;
    let said = stage.asked().await;
    let again = stage.chat.answer_tool(&id, "a", keyed(b"1")).await.unwrap();
    assert!(again.replayed);
    said.say("So.");
    said.end();
    let outcome = hear(reader).await.outcome;
    let replayed = |mut reader: RunReader| async move {
        while let Some((_, event)) = within(reader.next()).await {
            if let membrane::RunEvent::Ended(outcome) = event {
                return outcome;
            }
        }
        panic!("it ends")
    };
    assert_eq!(replayed(again.reader).await, outcome);
    stage.until_idle(&id).await;
    let late = Chat::create(keep.store.clone()).answer_tool(&id, "a", keyed(b"1")).await.unwrap();
    assert!(late.replayed);
    assert_eq!(replayed(late.reader).await, outcome);
    stage.exchange(&id, "and then?", "more").await;
    let later = Chat::create(keep.store.clone()).answer_tool(&id, "a", keyed(b"1")).await.unwrap();
    let RunOutcome::Finished(first) = &*outcome else { panic!("{outcome:?}") };
    let later = replayed(later.reader).await;
    let RunOutcome::Finished(same) = &*later else { panic!("it is a turn") };
    assert_eq!((&same.turn, same.number), (&first.turn, first.number), "though other turns came after it");
    let other = refused(stage.chat.answer_tool(&id, "a", keyed(b"2")).await);
    assert!(matches!(other, ChatError::KeyReused { .. }), "{other:?}");
}

async fn of_many_answers_at_once_one_counts(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "do it").await;
    for n in 0..4 {
        said.call(&format!("c{n}"), "look", "{}");
    }
    said.wait("{}", None);
    hear_calls(reader).await;
    let chats = [stage.chat.clone(), Chat::create(keep.store.clone())];
    let tries = (0..32).map(|n| {
        let (chat, id) = (chats[0].clone(), id.clone());
        async move { chat.answer_tool(&id, &format!("c{}", n % 4), result(&n.to_string())).await.is_ok() }
    });
    let taken = join_all(tries).await.into_iter().filter(|taken| *taken).count();
    assert_eq!(taken, 4, "each call has one result");
    let said = stage.asked().await;
    assert_eq!(said.prompt.steps[0].tools.len(), 4);
    said.end();
    stage.until_idle(&id).await;
    let turns = stage.turns(&id).await;
    assert_eq!((turns.len(), tools(&turns[0].items).len()), (1, 4));
    assert!(!stage.is_asked());
}

async fn odd_tools_in_metadata_fail_the_turn_with_the_reason(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    for (metadata, code) in [(r#"{"tools": 5}"#, "invalid_tools"), (r#"{"model": [1]}"#, "invalid_model")] {
        let metadata = Some(Json::parse("metadata", metadata).unwrap());
        let options = NewSessionOptions { metadata, ..NewSessionOptions::default() };
        let id = stage.chat.create_session(options).await.unwrap().id;
        let sent = stage.chat.send(&id, SendOptions::new("hi")).await.unwrap();
        let heard = hear(sent.reader).await;
        assert_eq!((heard.error_code(), heard.finished().turn.status), (code, TurnStatus::Failed));
        stage.until_idle(&id).await;
        assert_eq!(stage.turns(&id).await[0].user.content, "hi");
    }
    assert!(!stage.is_asked());
    // What is kept of a log reads as what was said.
    let id = session(&stage.chat).await;
    let (reader, said) = stage.send(&id, "do it").await;
    said.call("a", "look", "{}");
    said.wait("{}", None);
    hear_calls(reader).await;
    let run = keep.store.find_run(&id).await.unwrap().unwrap();
    let pieces = keep.store.list_pieces(&run.id, 0).await.unwrap();
    assert!(matches!(&pieces[0].body, PieceBody::Call(call) if call.effect == ToolEffect::Read));
    stage.chat.cancel(&id, None).await.unwrap();
}
