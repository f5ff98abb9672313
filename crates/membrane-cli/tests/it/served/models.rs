//! Real models behind the real server: a server on this machine speaks their protocols, well and badly. On a file and on
//! PostgreSQL, through one process and through another.
//!
//! Not here: each provider's protocol (`membrane-responder`), and every order of events (`membrane`).

use std::path::Path;
use std::thread;

use membrane_testservers::model::{Answer, ModelServer, Tokens};
use membrane_testservers::{Database, Postgres};
use serde_json::{Value, json};

use super::http::{Client, Events};
use super::server::{PATIENCE, Serving, until};

/// A database, gone with this.
enum Place {
    File(tempfile::TempDir),
    Postgres(Database),
}

impl Place {
    fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    fn postgres() -> Self {
        Self::Postgres(Postgres::shared().unwrap().create_database().unwrap())
    }

    /// Servers on it that ask this model.
    fn serving(&self, model: &ModelServer) -> Serving {
        let serving = match self {
            Self::File(folder) => Serving::on(&folder.path().join("keep.db")),
            Self::Postgres(database) => Serving::on(Path::new(&database.url())),
        };
        serving
            .with_text("chat.model.provider", "openai")
            .with_text("chat.model.name", "gpt-test")
            .with_text("chat.model.base_url", &format!("{}/v1", model.url()))
            .with_text("chat.anthropic.base_url", &model.url())
            .with("chat.runs.recover_ms", 200)
    }
}

fn session(client: Client, metadata: &Value) -> String {
    let made = client.post("/api/chat/session", &json!({"metadata": metadata}));
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

/// The rest of the text, and how it ended.
fn read_on(mut events: Events) -> (String, Value) {
    let mut text = String::new();
    loop {
        let event = events.next();
        match event["type"].as_str().unwrap() {
            "delta" => text.push_str(event["delta"].as_str().unwrap()),
            "reasoning" | "tool_call" | "tool_result" => {}
            _ => return (text, event),
        }
    }
}

#[test]
fn a_model_answers_with_the_conversation_before_it_and_all_it_says_is_kept() {
    let model = ModelServer::start().unwrap();
    let place = Place::file();
    let (server, client) = place.serving(&model).with_text("chat.openai.api_key", "sk-secret").start();
    let id = client.create();
    let cost = Tokens { prompt: 3, completion: 4 };
    model.then(Answer::default().think("hm ").think("so").words("It is this.").finish("stop", cost));
    let (text, done) = read_on(client.send(&id, "what is it?"));
    let turn = &done["turn"];
    assert_eq!((text.as_str(), &turn["reasoning"]), ("It is this.", &json!("hm so")));
    assert_eq!((&turn["model"], &turn["finish_reason"]), (&json!("gpt-test"), &json!("stop")));
    assert_eq!(
        (&turn["usage"]["prompt_tokens"], &turn["usage"]["completion_tokens"]),
        (&json!(3), &json!(4))
    );
    read_on(client.send(&id, "and that?"));
    let asked = model.requests().pop().unwrap();
    let words: Vec<_> = asked.body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (message["role"].as_str().unwrap(), message["content"].as_str().unwrap()))
        .collect();
    assert_eq!(words, [("user", "what is it?"), ("assistant", "It is this."), ("user", "and that?")]);
    assert_eq!(asked.header("authorization"), Some("Bearer sk-secret"));
    assert!(!server.stderr().contains("sk-secret") && !server.stderr().contains("what is it"));
    assert_eq!(client.metric("membrane_model_requests_total{provider=\"openai\",outcome=\"ok\"}"), "2");

    // A session may choose another model, of another provider, too.
    let other = session(client, &json!({"model": "gpt-other"}));
    assert_eq!(read_on(client.send(&other, "hi")).1["turn"]["model"], "gpt-other");
    assert_eq!(model.requests().pop().unwrap().body["model"], "gpt-other");
    let other = session(client, &json!({"model": {"provider": "anthropic", "name": "claude-test"}}));
    let (_, done) = read_on(client.send(&other, "hi"));
    assert_eq!((&done["type"], &done["turn"]["model"]), (&json!("done"), &json!("claude-test")));
    assert!(model.requests().pop().unwrap().path.ends_with("/messages"));
    let odd = session(client, &json!({"model": {"provider": "nobody", "name": "m"}}));
    let (_, failed) = read_on(client.send(&odd, "hi"));
    assert_eq!((&failed["type"], &failed["code"]), (&json!("error"), &json!("invalid_model")));
    assert_eq!(client.turns(&odd)[0]["user_message"]["content"], "hi");
    server.stop();
}

#[test]
fn what_goes_wrong_with_a_model_becomes_a_turn_that_says_so() {
    let model = ModelServer::start().unwrap();
    let place = Place::file();
    let serving = place.serving(&model).with("chat.model.max_retries", 0);
    let (server, client) = serving.with("chat.model.silence_timeout_ms", 300).start();
    let id = client.create();
    let limited = Answer::status(429, r#"{"error":{"message":"slow down"}}"#).header("retry-after", "40");
    let rejected = Answer::status(401, r#"{"error":{"message":"who are you?"}}"#);
    let cases = [
        (limited, "error", "failed", "rate_limited", "40"),
        (rejected, "error", "failed", "rejected", "who are you?"),
        (Answer::status(500, "oops"), "error", "failed", "provider_failed", "500"),
        (Answer::default().say("half").cut(), "done", "interrupted", "cut_off", ""),
        (Answer::default().say("half").hold(), "done", "interrupted", "timed_out", ""),
        (Answer::default().hold(), "error", "failed", "timed_out", ""),
    ];
    for (n, (answer, kind, status, code, words)) in cases.into_iter().enumerate() {
        model.then(answer);
        let (text, ended) = read_on(client.send(&id, "hi"));
        let turn = &ended["turn"];
        assert_eq!((&ended["type"], &turn["status"]), (&json!(kind), &json!(status)), "{ended}");
        assert_eq!(turn["error"]["code"], code, "{ended}");
        let message = turn["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        assert_eq!(turn["assistant_response"]["content"], text);
        assert_eq!(client.turns(&id).len(), n + 1, "what was said is kept");
    }
    // A history of such turns is no trouble for the next.
    let (_, done) = read_on(client.send(&id, "again"));
    assert_eq!(done["turn"]["status"], "complete");
    let asked = model.requests().pop().unwrap();
    let roles: Vec<_> =
        asked.body["messages"].as_array().unwrap().iter().map(|message| message["role"].clone()).collect();
    assert_eq!(
        roles,
        ["user", "assistant", "user", "assistant", "user"],
        "only what was answered, if in part"
    );
    drop(model);
    let (_, failed) = read_on(client.send(&id, "are you there?"));
    assert_eq!(failed["code"], "unreachable", "{failed}");
    server.stop();
    serving_must_be_sound(&place);
}

fn serving_must_be_sound(place: &Place) {
    let model = ModelServer::start().unwrap();
    place.serving(&model).must_be_sound();
}

#[test]
fn a_model_that_is_busy_for_a_moment_is_asked_again() {
    let model = ModelServer::start().unwrap();
    let place = Place::file();
    let (server, client) = place.serving(&model).start();
    let id = client.create();
    model.then(Answer::status(503, "").header("retry-after", "0"));
    model.then(Answer::status(429, "").header("retry-after-ms", "1"));
    assert_eq!(read_on(client.send(&id, "hi")).1["type"], "done");
    assert_eq!(model.n_requests(), 3);
    server.stop();
}

/// A turn is under way on one server: it is heard on another from where it was left, to its end.
fn streams_go_on_elsewhere(place: &Place) {
    let model = ModelServer::start().unwrap();
    let serving = place.serving(&model);
    let (first, one) = serving.start();
    let (second, other) = serving.start();
    let id = one.create();
    model.then(Answer::default().say("one ").say("two ").hold().say("three ").hold().say("four"));
    let mut here = one.send(&id, "count");
    assert_eq!(here.read_text("one two ".len()), "one two ");
    let seen = here.last_id().to_owned();
    drop(here);
    let mut there = other.attach_after(&id, &seen).expect("it goes on");
    model.release();
    assert_eq!(there.read_text("three ".len()), "three ");
    let seen = there.last_id().to_owned();
    // The same numbers on both, and as many readers as want.
    let whole = other.attach(&id).expect("from its beginning");
    let back = one.attach_after(&id, &seen).expect("back where it is driven");
    model.release();
    let ends: Vec<_> = [there, whole, back].into_iter().map(read_on).collect();
    assert_eq!(
        ends.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(),
        ["four", "one two three four", "four"]
    );
    assert!(ends.iter().all(|(_, done)| *done == ends[0].1), "{ends:?}");
    let done = &ends[0].1;
    assert_eq!(done["turn"]["assistant_response"]["content"], "one two three four");
    // Ended on the one, it replays on the other, from where it was left.
    let (rest, again) = read_on(other.attach_after(&id, &seen).expect("it has just ended"));
    assert_eq!((rest.as_str(), &again), ("four", done));
    assert!(other.attach_after(&id, &done["seq"].to_string()).is_none());
    // Stopped through the other.
    model.then(Answer::default().say("and ").hold());
    let mut here = one.send(&id, "more");
    here.read_text(4);
    let stopped = other.post(&format!("/api/chat/{id}/cancel"), &Value::Null);
    assert_eq!(stopped.status, 202, "{stopped:?}");
    assert_eq!(here.last()["turn"]["error"]["code"], "cancelled");
    model.wait_for_hung_up(1).unwrap();
    first.stop();
    second.stop();
    serving.must_be_sound();
}

#[test]
fn streams_go_on_elsewhere_on_a_file() {
    streams_go_on_elsewhere(&Place::file());
}

#[test]
fn streams_go_on_elsewhere_on_postgres() {
    streams_go_on_elsewhere(&Place::postgres());
}

/// A server is killed in the middle of an answer: another closes the turn with what had arrived, and whoever listened goes on
/// there.
fn a_killed_servers_turn_is_closed_elsewhere(place: &Place) {
    let model = ModelServer::start().unwrap();
    let serving = place.serving(&model);
    let (first, one) = serving.start();
    let (second, other) = serving.start();
    let id = one.create();
    model.then(Answer::default().say("one ").hold());
    let mut here = one.send(&id, "count");
    here.read_text(4);
    let seen = here.last_id().to_owned();
    // In the log, a flush later.
    assert!(until(PATIENCE, || other.session(&id)["pending"]["partial"] == "one "));
    let there = other.attach_after(&id, &seen).expect("it goes on");
    first.kill();
    let (rest, done) = read_on(there);
    assert_eq!((rest.as_str(), &done["turn"]["status"]), ("", &json!("interrupted")));
    assert_eq!(done["turn"]["assistant_response"]["content"], "one ");
    assert_eq!(done["turn"]["error"]["code"], "server_stopped");
    assert_eq!(read_on(other.send(&id, "go on")).1["turn_count"], 2);
    second.stop();
    serving.must_be_sound();
}

#[test]
fn a_killed_servers_turn_is_closed_elsewhere_on_a_file() {
    a_killed_servers_turn_is_closed_elsewhere(&Place::file());
}

#[test]
fn a_killed_servers_turn_is_closed_elsewhere_on_postgres() {
    a_killed_servers_turn_is_closed_elsewhere(&Place::postgres());
}

/// A turn waits for a tool; its server is killed, and the result is handed in at another.
fn a_tools_result_is_taken_by_another_server(place: &Place) {
    let model = ModelServer::start().unwrap();
    let serving = place.serving(&model);
    let (first, one) = serving.start();
    let tools = json!([{"name": "read_file", "description": "reads", "effect": "read",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}]);
    let id = session(one, &json!({"tools": tools}));
    model.then(Answer::default().say("Let me look.").call("call_abc", "read_file", r#"{"path":"a"}"#));
    let (text, waiting) = read_on(one.send(&id, "what is in a?"));
    assert_eq!((text.as_str(), &waiting["type"]), ("Let me look.", &json!("awaiting_tool")));
    assert_eq!(waiting["calls"][0]["input"], json!({"path": "a"}));
    let offered = &model.requests()[0].body["tools"][0]["function"];
    assert_eq!((&offered["name"], &offered["description"]), (&json!("read_file"), &json!("reads")));
    first.kill();

    let (second, other) = serving.start();
    thread::sleep(std::time::Duration::from_millis(600));
    assert_eq!(other.session(&id)["state"], "awaiting_tool", "nobody closes it");
    model.then(Answer::text("It says hello."));
    let path = format!("/api/chat/{id}/tools/call_abc?stream=delta");
    let (text, done) = read_on(other.post_for_events(&path, &json!({"output": "hello"})));
    assert_eq!((text.as_str(), &done["type"]), ("\n\nIt says hello.", &json!("done")));
    let asked = model.requests().pop().unwrap();
    let messages = asked.body["messages"].as_array().unwrap().clone();
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert_eq!(messages[1]["tool_calls"][0]["id"], "call_abc");
    assert_eq!((&messages[2]["role"], &messages[2]["tool_call_id"]), (&json!("tool"), &json!("call_abc")));
    assert_eq!(messages[2]["content"], "hello");
    let turn = &other.turns(&id)[0];
    assert_eq!(turn["tools_used"][0]["output"], "hello");
    assert_eq!(turn["assistant_response"]["content"], "Let me look.\n\nIt says hello.");
    second.stop();
    serving.must_be_sound();
}

#[test]
fn a_tools_result_is_taken_by_another_server_on_a_file() {
    a_tools_result_is_taken_by_another_server(&Place::file());
}

#[test]
fn a_tools_result_is_taken_by_another_server_on_postgres() {
    a_tools_result_is_taken_by_another_server(&Place::postgres());
}

#[test]
fn a_model_that_cannot_be_asked_stops_the_start_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let serving = |settings: &[(&str, &str)]| {
        let start = Serving::on(&folder.path().join("keep.db"));
        settings.iter().fold(start, |serving, (key, value)| serving.with_text(key, value))
    };
    let provider = ("chat.model.provider", "openai");
    for (settings, words) in [
        (vec![provider], "chat.model.name is not set"),
        (vec![provider, ("chat.model.name", "m")], "OPENAI_API_KEY"),
        (vec![provider, ("chat.model.name", "m"), ("chat.model.base_url", "no url")], "base URL"),
        (vec![("chat.model.provider", "nobody")], "one of: echo, openai, anthropic, gemini, ollama"),
        (vec![("chat.model.projects", "p")], "PROJECT=MODEL"),
    ] {
        let ended = serving(&settings).spawn().wait_for_end();
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
}
