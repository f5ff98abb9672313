//! Creating, reading and deleting sessions, whole as clients know them.

use membrane::{Item, Json, NewTurn, SignalKind, ToolUse, TurnError, TurnStatus, WriteOptions};
use serde_json::{Value, json};

use crate::app::{TestApp, at, session_id};
use crate::client::Call;
use crate::shape::{assert_same, evidence, message, new_session, normal, plain_turn, with, without};

#[tokio::test]
async fn a_new_session_is_shown_whole_by_both_names_of_each_call() {
    let app = TestApp::start().await;
    for create in ["/api/chat/session", "/api/chat/sessions"] {
        let created = app.post(create, json!({})).await.json(201);
        let id = created["id"].as_str().unwrap();
        assert!(id.starts_with("session-") && id.len() == "session-".len() + 32, "{id}");
        assert_same(&normal(created.clone()), &new_session(id));
        for read in ["/api/chat/session", "/api/chat/sessions"] {
            assert_eq!(app.get(format!("{read}/{id}")).await.json(200), created);
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn a_session_keeps_the_names_it_was_given() {
    let app = TestApp::start().await;
    for (project_id, branch_name) in [(json!("p"), "b"), (json!(null), ""), (json!(""), "a b/🙂\u{0}")] {
        let body = json!({"project_id": project_id, "branch_name": branch_name, "unknown": [1]});
        let created = app.post("/api/chat/session", body.clone()).await.json(201);
        let id = created["id"].as_str().unwrap();
        let named = json!({"project_id": project_id, "branch_name": branch_name});
        assert_same(&normal(app.session(id).await), &with(new_session(id), named));
    }
    app.stop().await;
}

#[tokio::test]
async fn turns_are_shown_whole() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let tool = |success| {
        Item::Tool(ToolUse {
            output: Json::parse("output", "[1.50]").unwrap(),
            success,
            duration_ms: 12.5,
            ..ToolUse::new("call_1", "read_file", Json::parse("input", r#"{"path":"a"}"#).unwrap())
        })
    };
    let stopped = NewTurn {
        error: Some(TurnError { code: "cancelled".into(), message: "enough".into() }),
        ..NewTurn::new("second", "half").status(TurnStatus::Interrupted)
    };
    let turns = vec![
        NewTurn::new("first", "one").items(vec![tool(true), Item::Reasoning("hm".into()), tool(false)]),
        stopped,
        NewTurn {
            model: Some("m".into()),
            usage: Some(Json::parse("usage", r#"{"tokens":7}"#).unwrap()),
            finish_reason: Some("stop".into()),
            ..NewTurn::new("third", "three")
        },
    ];
    app.chat.append_many(&session_id(&id), turns, WriteOptions::default()).await.unwrap();
    let comment = Some("wrong".to_owned());
    app.chat.feedback(&session_id(&id), 2, SignalKind::Correction, comment, None).await.unwrap();

    let session = normal(app.session(&id).await);
    let tool = |success| {
        json!({"call_id": "call_1", "name": "read_file", "input": {"path": "a"}, "output": [1.50],
            "success": success, "duration_ms": 12.5})
    };
    let third = 1.0 / 3.0;
    let first = with(
        plain_turn(0, "first", "one"),
        json!({
            "tools_used": [tool(true), tool(false)], "confidence": third, "reasoning": "hm",
            "evidence_delta": {"tools_executed": 2, "tools_succeeded": 1, "confidence_change": third - 0.5},
        }),
    );
    let second = with(
        plain_turn(1, "second", "half"),
        json!({
            "status": "interrupted", "confidence": third, "error": {"code": "cancelled", "message": "enough"},
            "evidence_delta": {"tools_executed": 0, "tools_succeeded": 0, "confidence_change": 0.0},
        }),
    );
    let last = with(
        plain_turn(2, "third", "three"),
        json!({
            "confidence": 0.25, "model": "m", "usage": {"tokens": 7}, "finish_reason": "stop",
            "signals": [{"signal": "correction", "comment": "wrong", "created_at": "<time>"}],
            "evidence_delta": {"tools_executed": 0, "tools_succeeded": 0, "confidence_change": 0.25 - third},
        }),
    );
    assert_same(&session["turns"], &json!([first, second, last]));
    let sums = json!({"prior_alpha": 1, "prior_beta": 3, "confidence": 0.25, "tools_succeeded": 1,
        "tools_failed": 1});
    assert_same(&session["evidence"], &with(evidence(0, 0), sums));
    // floor(len(user + "\n" + answer) / 4), turn by turn.
    assert_eq!((&session["turn_count"], &session["context_size"]), (&json!(3), &json!(2 + 2 + 2)));
    app.stop().await;
}

#[tokio::test]
async fn a_sent_message_is_a_turn_of_the_session() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let done = app.say(&id, "hi").await;
    let session = app.session(&id).await;
    let answer = "Echo: hi\n\nThis is a simulated response. Session is now persistent and survives restarts!";
    let turn = with(plain_turn(0, "hi", answer), json!({"model": "echo", "finish_reason": "stop"}));
    let expected = json!({"turn_count": 1, "context_size": 22, "turns": [turn], "evidence": evidence(1, 0),
        "version": session["version"]});
    assert_same(&normal(session.clone()), &with(new_session(&id), expected));
    assert_eq!(done, json!({"type": "done", "turn_count": 1, "turn": session["turns"][0]}));
    assert_eq!(session["turns"][0]["user_message"], message("user", "hi"));
    app.stop().await;
}

#[tokio::test]
async fn turns_are_left_out_on_request_wherever_a_session_is_answered() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    let other = app.session_of(1).await;
    let checkpoint = app.post(at(&id, "checkpoint"), json!({})).await.json(201)["id"].clone();
    let whole = app.session(&id).await;
    let without_turns = app.get(format!("/api/chat/session/{id}?turns=none")).await.json(200);
    assert_eq!(without_turns, with(without(whole, &["turns"]), json!({"turns_truncated": true})));
    for (path, body, status) in [
        ("/api/chat/session".to_owned(), json!({}), 201),
        ("/api/chat/sessions".to_owned(), json!({}), 201),
        (at(&id, "fork"), json!({"branch_name": "f"}), 201),
        (at(&id, "merge"), json!({"other_id": other}), 201),
        (at(&id, "rewind"), json!({"turns": 1}), 200),
        (at(&id, "restore"), json!({"checkpoint_id": checkpoint}), 200),
    ] {
        for (query, has_turns) in [("turns=none", false), ("turns=newest", true)] {
            let session = app.post(format!("{path}?{query}"), body.clone()).await.json(status);
            assert_eq!(session.get("turns").is_some(), has_turns, "{path}");
        }
    }
    let wrong = app.get(format!("/api/chat/session/{id}?turns=all")).await.wrong_fields();
    let expected = json!([{"type": "literal_error", "loc": ["query", "turns"], "input": "all",
        "msg": "Input should be 'newest' or 'none'", "ctx": {"expected": "'newest' or 'none'"}}]);
    assert_eq!(Value::from(wrong), expected);
    app.stop().await;
}

#[tokio::test]
async fn of_a_long_session_the_newest_thousand_turns_are_shown_and_pages_show_all() {
    let app = TestApp::start().await;
    let id = app.session_of(1000).await;
    assert_eq!(app.session(&id).await["turns_truncated"], false);
    app.extend(&id, 3).await;
    let session = app.session(&id).await;
    assert_eq!((&session["turns_truncated"], &session["turn_count"]), (&json!(true), &json!(1003)));
    let turns = session["turns"].as_array().unwrap();
    assert_eq!((turns.len(), &turns[0]["turn_number"]), (1000, &json!(3)));

    let page = async |query: &str| app.get(at(&id, &format!("turns?{query}"))).await.json(200);
    let mut paged = Vec::new();
    while paged.len() < 1003 {
        let page = page(&format!("from={}&limit=500", paged.len())).await;
        assert_eq!((&page["total"], &page["from"]), (&json!(1003), &json!(paged.len())));
        assert_eq!(page.as_object().unwrap().len(), 3);
        let turns = page["turns"].as_array().unwrap();
        assert!(!turns.is_empty() && turns.len() <= 500);
        paged.extend_from_slice(turns);
    }
    assert_eq!(paged[3..], turns[..]);
    assert!(paged.iter().zip(0..).all(|(turn, number)| turn["turn_number"] == number));
    assert_eq!(page("").await["turns"], json!(paged[..100]));
    assert_eq!(page("from=1002&limit=1").await["turns"], json!(paged[1002..]));
    let beyond = json!({"turns": [], "total": 1003, "from": 9_223_372_036_854_775_807_i64});
    assert_eq!(page("from=9223372036854775807&limit=500").await, beyond);
    app.stop().await;
}

#[tokio::test]
async fn bounds_of_turn_pages_are_told() {
    let app = TestApp::start().await;
    let id = app.session_of(1).await;
    for (query, kind, field) in [
        ("limit=0", "greater_than_equal", "limit"),
        ("limit=501", "less_than_equal", "limit"),
        ("from=-1", "greater_than_equal", "from"),
        ("from=x", "int_parsing", "from"),
    ] {
        let wrong = app.get(at(&id, &format!("turns?{query}"))).await.wrong_fields();
        assert_eq!((&wrong[0]["type"], &wrong[0]["loc"]), (&json!(kind), &json!(["query", field])));
        assert_eq!(wrong.len(), 1);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_session_that_is_not_there_is_not_found_by_any_call() {
    let app = TestApp::start().await;
    let other = app.new_session().await;
    let gets =
        ["turns", "evidence", "crystal", "checkpoints", "stream"].map(|what| Call::get(at("nil", what)));
    let diff = Call::get(at("nil", &format!("diff?other={other}")));
    let reads = ["session/nil", "sessions/nil", "sessions/nil/branches"];
    let reads = reads.map(|path| Call::get(format!("/api/chat/{path}")));
    let posts = [
        ("send", json!({"message": "hi"})),
        ("fork", json!({"branch_name": "b"})),
        ("rewind", json!({"turns": 1})),
        ("merge", json!({"other_id": other})),
        ("checkpoint", json!({})),
        ("restore", json!({"checkpoint_id": "c"})),
        ("feedback", json!({"turn_number": 0, "signal": "positive"})),
        ("crystal", json!({"title": "t", "summary": "s"})),
        ("cancel", json!({})),
    ];
    let posts = posts.map(|(what, body)| Call::post(at("nil", what), &body));
    let deletes = ["nil", "nil/checkpoints/c"].map(|path| Call::delete(format!("/api/chat/{path}")));
    for call in gets.into_iter().chain([diff]).chain(reads).chain(posts).chain(deletes) {
        app.call(call).await.refused(404, "not_found", "Session nil not found");
    }
    app.get(at(&other, "diff?other=nil")).await.refused(404, "not_found", "Session nil not found");
    let merge = app.post(at(&other, "merge"), json!({"other_id": "nil"})).await;
    merge.refused(404, "not_found", "Session nil not found");
    app.stop().await;
}

#[tokio::test]
async fn a_deleted_session_is_gone_and_its_forks_stay_whole() {
    let app = TestApp::start().await;
    let id = app.session_of(3).await;
    let fork = app.post(at(&id, "fork"), json!({"branch_name": "f", "fork_point": 2})).await.json(201);
    let fork_id = fork["id"].as_str().unwrap();
    app.delete(format!("/api/chat/{id}")).await.empty(204);
    let gone = format!("Session {id} not found");
    app.delete(format!("/api/chat/{id}")).await.refused(404, "not_found", &gone);
    app.get(format!("/api/chat/session/{id}")).await.refused(404, "not_found", &gone);
    assert_eq!(app.session(fork_id).await, fork);
    assert_eq!(app.words(fork_id).await, ["u0", "u1"]);
    app.say(fork_id, "on").await;
    assert_eq!(app.words(fork_id).await, ["u0", "u1", "on"]);
    app.stop().await;
}
