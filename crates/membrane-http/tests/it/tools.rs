//! Tools over HTTP: the stream ends with the calls, and goes on where their results are handed in.

use serde_json::{Value, json};

use crate::app::{TestApp, at, send};
use crate::client::Call;
use crate::events::Events;

/// A session whose tools are of each kind.
async fn session(app: &TestApp) -> String {
    let tools = json!([{"name": "look", "effect": "read"}, {"name": "put", "effect": "write"},
        {"type": "function", "effect": "destructive", "function": {"name": "wipe", "parameters": {}}}]);
    let made = app.post("/api/chat/session", json!({"metadata": {"tools": tools}})).await.json(201);
    assert_eq!(made["metadata"]["tools"][0]["name"], "look");
    made["id"].as_str().unwrap().to_owned()
}

/// Has the model call these tools, and gives the frames up to where it waits.
async fn called(app: &TestApp, id: &str, calls: &[(&str, &str)]) -> Vec<Value> {
    let speaker = app.next_answer();
    let mut events = app.open(send(id, "do it")).await;
    speaker.say("One moment.");
    for (call, tool) in calls {
        speaker.call(call, tool, r#"{"path": "a", "n": 1.50}"#);
    }
    drop(speaker);
    frames(&mut events).await
}

async fn frames(events: &mut Events) -> Vec<Value> {
    events.rest().await.iter().map(crate::events::Frame::plain).collect()
}

fn tool(id: &str, call: &str, rest: &str) -> String {
    at(id, &format!("tools/{call}{rest}"))
}

#[tokio::test]
async fn a_turn_waits_and_goes_on_in_the_stream_of_the_last_result() {
    let app = TestApp::start().await;
    let id = session(&app).await;
    let waiting = called(&app, &id, &[("call_1", "look")]).await;
    let last = waiting.last().unwrap();
    assert_eq!((&last["type"], &last["turn_number"]), (&json!("awaiting_tool"), &json!(0)));
    let call = &last["calls"][0];
    assert_eq!(
        (&call["call_id"], &call["name"], &call["effect"]),
        (&json!("call_1"), &json!("look"), &json!("read"))
    );
    assert_eq!(call["input"], json!({"path": "a", "n": 1.5}));
    assert!(waiting.iter().all(|frame| frame["type"] != "pending_approval"), "{waiting:?}");
    let shown = app.session(&id).await;
    assert_eq!((&shown["state"], &shown["turn_count"]), (&json!("awaiting_tool"), &json!(0)));
    assert_eq!(shown["pending"]["tool_calls"][0]["call_id"], "call_1");
    assert_eq!(shown["pending"]["partial"], "One moment.");

    let speaker = app.next_answer();
    let body = json!({"output": {"lines": [1, 2]}, "duration_ms": 12.5});
    let mut events = app.open(Call::post(tool(&id, "call_1", ""), &body)).await;
    speaker.say("Two lines.");
    drop(speaker);
    let frames = frames(&mut events).await;
    let done = frames.last().unwrap();
    assert_eq!((&done["type"], &done["turn_count"]), (&json!("done"), &json!(1)));
    let turn = &done["turn"];
    assert_eq!(turn["assistant_response"]["content"], "One moment.\n\nTwo lines.");
    assert_eq!(
        turn["tools_used"],
        json!([{"call_id": "call_1", "name": "look", "input": {"path": "a", "n": 1.5},
            "output": {"lines": [1, 2]}, "success": true, "duration_ms": 12.5, "effect": "read"}])
    );
    assert_eq!(turn["evidence_delta"]["tools_executed"], 1);
    let kept = app.session(&id).await;
    assert_eq!((&kept["turns"][0], &kept["pending"]), (turn, &json!(null)));
    app.stop().await;
}

#[tokio::test]
async fn a_destructive_call_asks_for_approval_in_kgents_words_and_is_recorded_with_who_and_when() {
    let app = TestApp::start().await;
    let id = session(&app).await;
    let waiting = called(&app, &id, &[("call/1", "wipe")]).await;
    let asked = waiting.iter().find(|frame| frame["type"] == "pending_approval").expect("it is asked");
    assert_eq!((&asked["request_id"], &asked["tool_name"]), (&json!("call/1"), &json!("wipe")));
    assert_eq!((&asked["is_destructive"], asked["input_preview"].is_string()), (&json!(true), true));
    let path = |rest: &str| tool(&id, "call%2F1", rest);
    let early = app.post(path(""), json!({"output": 1})).await;
    early.refused(
        409,
        "wrong_state",
        "call call/1 of wipe is destructive and not approved; approve it first, or deny it",
    );
    let approved = app.post(path("/approve"), json!({"reason": "go on", "by": "ada"})).await.json(200);
    assert_eq!(approved, json!({"call_id": "call/1", "approved": true}));
    let speaker = app.next_answer();
    let mut events = app.open(Call::post(path(""), &json!({"success": false, "error": "gone"}))).await;
    drop(speaker);
    let done = frames(&mut events).await.pop().unwrap();
    let used = &done["turn"]["tools_used"][0];
    assert_eq!(
        (&used["success"], &used["error"], &used["output"]),
        (&json!(false), &json!("gone"), &json!(null))
    );
    let consent = &used["consent"];
    assert_eq!(
        (&consent["kind"], &consent["by"], &consent["reason"]),
        (&json!("approved"), &json!("ada"), &json!("go on"))
    );
    crate::shape::time(&consent["at"]);
    assert_eq!(
        (
            &done["turn"]["evidence_delta"]["tools_succeeded"],
            &app.session(&id).await["evidence"]["tools_failed"]
        ),
        (&json!(0), &json!(1))
    );
    app.stop().await;
}

#[tokio::test]
async fn a_denied_call_lets_the_turn_go_on_and_the_answer_is_heard_by_whoever_listens() {
    let app = TestApp::start().await;
    let id = session(&app).await;
    called(&app, &id, &[("call_1", "put")]).await;
    let speaker = app.next_answer();
    let denied = app.call(Call::new("POST", tool(&id, "call_1", "/deny"), "")).await.json(200);
    assert_eq!(denied, json!({"call_id": "call_1", "approved": false}));
    let mut events = app.listen(&id).await;
    speaker.say("Then not.");
    drop(speaker);
    let (_, done) = events.rest().await.last().unwrap().numbered();
    assert_eq!(done["turn"]["tools_used"][0]["consent"]["kind"], "denied");
    let late = app.post(tool(&id, "call_1", ""), json!({"output": 1})).await;
    assert_eq!(late.json(409)["code"], "wrong_state");
    app.stop().await;
}

#[tokio::test]
async fn numbered_events_tell_calls_and_results_and_can_be_resumed_through_a_wait() {
    let app = TestApp::start().await;
    let id = session(&app).await;
    let speaker = app.next_answer();
    let mut events = app.open(Call::post(at(&id, "send?stream=delta"), &json!({"message": "do it"}))).await;
    speaker.say("Hm.");
    speaker.call("a", "look", "{}");
    speaker.call("b", "put", "{}");
    drop(speaker);
    let told: Vec<(u64, Value)> = events.rest().await.iter().map(crate::events::Frame::numbered).collect();
    let kinds: Vec<_> = told.iter().map(|(_, data)| data["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["delta", "tool_call", "tool_call", "awaiting_tool"]);
    let ids: Vec<_> = told.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    // All was seen: there is nothing more to hear, until a result is there.
    let attach = |last: u64| Call::get(at(&id, "stream")).header("Last-Event-ID", last.to_string());
    app.call(attach(4)).await.empty(204);
    let again = app.open(attach(2)).await.rest().await;
    assert_eq!(again.len(), 2, "the second call, and that it waits");

    let mut partial = app.open(Call::post(tool(&id, "b", "?stream=delta"), &json!({"output": 2}))).await;
    let partial = partial.rest().await;
    let (number, result) = partial[0].numbered();
    assert_eq!(
        (number, &result["type"], &result["tool"]["call_id"]),
        (5, &json!("tool_result"), &json!("b"))
    );
    let waiting = partial[1].plain();
    assert_eq!((&waiting["type"], &waiting["calls"][0]["call_id"]), (&json!("awaiting_tool"), &json!("a")));
    let speaker = app.next_answer();
    let mut rest = app.open(Call::post(tool(&id, "a", "?stream=delta"), &json!({"output": 1}))).await;
    speaker.say("So.");
    drop(speaker);
    let rest: Vec<_> = rest.rest().await.iter().map(crate::events::Frame::numbered).collect();
    let ids: Vec<_> = rest.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [6, 7, 8], "the result, the words, and the end");
    assert_eq!(rest[1].1["delta"], "\n\nSo.");
    // The whole, with one numbering.
    let whole = app.listen(&id).await.rest().await;
    let text: String =
        whole.iter().filter_map(|frame| frame.numbered().1["delta"].as_str().map(str::to_owned)).collect();
    assert_eq!(text, "Hm.\n\nSo.");
    app.stop().await;
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_by_name() {
    let app = TestApp::start().await;
    let id = session(&app).await;
    let idle = app.post(tool(&id, "call_1", ""), json!({"output": 1})).await.json(409);
    assert_eq!(idle["code"], "wrong_state");
    called(&app, &id, &[("call_1", "look")]).await;
    let unknown = app.post(tool(&id, "call_9", ""), json!({"output": 1})).await;
    unknown.refused(404, "not_found", "Tool call call_9 not found");
    let nobody = app.post(tool("nobody", "call_1", ""), json!({"output": 1})).await;
    nobody.refused(404, "not_found", "Session nobody not found");
    for (body, field, kind) in [
        (json!({"output": 1, "success": "maybe"}), "success", "bool_parsing"),
        (json!({"output": 1, "duration_ms": -1}), "duration_ms", "greater_than_equal"),
        (json!({"output": 1, "duration_ms": "x"}), "duration_ms", "float_parsing"),
        (json!({"output": 1, "error": 5}), "error", "string_type"),
    ] {
        let wrong = app.post(tool(&id, "call_1", ""), body).await.wrong_fields();
        assert_eq!((&wrong[0]["loc"][1], &wrong[0]["type"]), (&json!(field), &json!(kind)));
    }
    let busy = app.post(at(&id, "send"), json!({"message": "x"})).await.json(409);
    assert_eq!(busy["code"], "busy");
    assert_eq!(app.post(at(&id, "cancel"), json!(null)).await.json(202), json!({"cancelled": true}));
    let turn = &app.session(&id).await["turns"][0];
    assert_eq!((&turn["status"], &turn["tools_used"][0]["success"]), (&json!("interrupted"), &json!(false)));
    app.stop().await;
}
