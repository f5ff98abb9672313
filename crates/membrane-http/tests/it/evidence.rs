//! Evidence, what users say of turns, and crystals.

use serde_json::json;

use crate::app::{TestApp, at};
use crate::shape::{assert_same, evidence, normal, time};

#[tokio::test]
async fn a_session_may_stop_after_four_plain_successes_and_not_before() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    for n_turns in 0..6 {
        let shown = app.get(at(&id, "evidence")).await.json(200);
        assert_same(&normal(shown.clone()), &evidence(n_turns, 0));
        assert_eq!(shown["should_stop"], n_turns >= 4);
        let session = app.session(&id).await;
        assert_eq!(session["evidence"], shown);
        assert_eq!(time(&shown["created_at"]), time(&session["created_at"]));
        assert_eq!(time(&shown["updated_at"]), time(&session["last_active"]));
        assert_eq!(app.say(&id, "on").await["turn_count"], n_turns + 1);
    }
    app.stop().await;
}

#[tokio::test]
async fn the_latest_word_on_a_turn_counts() {
    let app = TestApp::start().await;
    let id = app.session_of(4).await;
    let mut said = Vec::new();
    for (signal, comment, turned) in [
        ("negative", json!("no"), 1),
        ("positive", json!(null), 0),
        ("correction", json!("🙂\u{0}"), 1),
        ("negative", json!(""), 1),
    ] {
        let body = json!({"turn_number": 2, "signal": signal, "comment": comment});
        let answer = app.post(at(&id, "feedback"), body).await.json(200);
        said.push(json!({"signal": signal, "comment": comment, "created_at": "<time>"}));
        let expected = json!({"turn_number": 2, "signals": said, "evidence": evidence(4, turned)});
        assert_same(&normal(answer.clone()), &expected);
        let session = app.session(&id).await;
        assert_eq!(session["evidence"], answer["evidence"]);
        assert_eq!(session["turns"][2]["signals"], answer["signals"]);
    }
    app.stop().await;
}

#[tokio::test]
async fn what_is_said_of_a_turn_counts_in_every_session_that_holds_it() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    let fork = async |fork_point: u32| {
        let body = json!({"branch_name": "b", "fork_point": fork_point});
        app.post(at(&id, "fork"), body).await.json(201)["id"].as_str().unwrap().to_owned()
    };
    let (with_it, without_it) = (fork(2).await, fork(1).await);
    app.post(at(&with_it, "feedback"), json!({"turn_number": 1, "signal": "negative"})).await.json(200);
    for (session, expected) in
        [(&id, evidence(2, 1)), (&with_it, evidence(2, 1)), (&without_it, evidence(1, 0))]
    {
        assert_same(&normal(app.session(session).await["evidence"].clone()), &expected);
    }
    app.stop().await;
}

#[tokio::test]
async fn feedback_on_a_turn_that_is_not_there_is_refused() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    for number in [2, -1, i64::MAX, i64::MIN] {
        let answer =
            app.post(at(&id, "feedback"), json!({"turn_number": number, "signal": "positive"})).await;
        let detail = format!("session {id} has no turn {number}; its 2 turns count from 0");
        answer.refused(400, "invalid_argument", &detail);
    }
    let wrong = app.post(at(&id, "feedback"), json!({"signal": "maybe", "comment": 1})).await.wrong_fields();
    let told: Vec<_> = wrong.iter().map(|wrong| (&wrong["type"], &wrong["loc"][1])).collect();
    let expected = [
        (&json!("missing"), &json!("turn_number")),
        (&json!("literal_error"), &json!("signal")),
        (&json!("string_type"), &json!("comment")),
    ];
    assert_eq!(told, expected);
    assert_eq!(wrong[1]["ctx"]["expected"], "'positive', 'negative' or 'correction'");
    app.stop().await;
}

#[tokio::test]
async fn a_crystal_is_kept_with_the_evidence_of_its_time_and_replaced_by_the_next() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    let none = format!("No crystal found for session {id}");
    app.get(at(&id, "crystal")).await.refused(404, "not_found", &none);
    let body = json!({"title": "t 🙂", "summary": "", "key_decisions": ["a", ""], "artifacts": ["b\u{0}"]});
    let saved = app.post(at(&id, "crystal"), body).await.json(201);
    let expected = json!({"session_id": id, "title": "t 🙂", "summary": "", "key_decisions": ["a", ""],
        "artifacts": ["b\u{0}"], "final_evidence": evidence(2, 0), "final_turn_count": 2,
        "created_at": "<time>"});
    assert_same(&normal(saved.clone()), &expected);
    app.say(&id, "on").await;
    assert_eq!(app.get(at(&id, "crystal")).await.json(200), saved, "it is of its time");
    let second = app.post(at(&id, "crystal"), json!({"title": "u", "summary": "s"})).await.json(201);
    let expected = json!({"session_id": id, "title": "u", "summary": "s", "key_decisions": [],
        "artifacts": [], "final_evidence": evidence(3, 0), "final_turn_count": 3, "created_at": "<time>"});
    assert_same(&normal(second.clone()), &expected);
    assert_eq!(app.get(at(&id, "crystal")).await.json(200), second);
    app.stop().await;
}

#[tokio::test]
async fn a_crystal_of_the_wrong_shape_is_told_item_by_item() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let body = json!({"title": null, "key_decisions": ["a", 1, null], "artifacts": null});
    let wrong = app.post(at(&id, "crystal"), body).await.wrong_fields();
    let told: Vec<_> = wrong.iter().map(|wrong| json!([wrong["type"], wrong["loc"]])).collect();
    let expected = json!([
        ["string_type", ["body", "title"]],
        ["missing", ["body", "summary"]],
        ["string_type", ["body", "key_decisions", 1]],
        ["string_type", ["body", "key_decisions", 2]],
        ["list_type", ["body", "artifacts"]],
    ]);
    assert_eq!(json!(told), expected);
    app.stop().await;
}
