//! Merging two sessions into a new one.

use serde_json::{Value, json};

use crate::app::{TestApp, at, words};
use crate::shape::{assert_same, evidence, new_session, normal, with, without};

/// Two sessions without a common turn, whose turns began alternately.
async fn two(app: &TestApp) -> (String, String) {
    let (base, other) = (app.new_session().await, app.new_session().await);
    for number in 0..2 {
        app.say(&base, &format!("b{number}")).await;
        app.say(&other, &format!("o{number}")).await;
    }
    (base, other)
}

#[tokio::test]
async fn a_merge_is_shown_whole_and_marks_both_of_its_sources() {
    let app = TestApp::start().await;
    let (base, other) = two(&app).await;
    let names = json!({"project_id": "p", "branch_name": "x"});
    let third = app.post("/api/chat/session", names).await.json(201)["id"].as_str().unwrap().to_owned();
    let merged = app.post(at(&base, "merge"), json!({"other_id": other})).await.json(201);
    let id = merged["id"].as_str().unwrap();
    let expected = with(
        new_session(id),
        json!({"parent_id": base, "branch_name": "main+main", "turn_count": 4, "context_size": 88,
            "metadata": {"merged_from": [base, other]}, "evidence": evidence(4, 0), "turns": []}),
    );
    assert_same(&with(normal(merged.clone()), json!({"turns": []})), &expected);
    assert_eq!(words(&merged), ["b0", "b1", "o0", "o1"]);
    let numbers: Vec<_> =
        merged["turns"].as_array().unwrap().iter().map(|turn| &turn["turn_number"]).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    for source in [&base, &other] {
        let session = app.session(source).await;
        assert_eq!((&session["is_merged"], &session["merged_into"]), (&json!(true), &json!(id)));
    }
    let again = app.post(at(&base, "merge"), json!({"other_id": third})).await.json(201);
    assert_eq!((&again["project_id"], &again["branch_name"]), (&json!("p"), &json!("main+x")));
    app.stop().await;
}

#[tokio::test]
async fn each_strategy_puts_the_turns_in_its_order() {
    let app = TestApp::start().await;
    let (base, other) = two(&app).await;
    let pick = |id: &str, number: u32| json!({"session_id": id, "turn_number": number});
    for (strategy, expected) in [
        (json!({"strategy": "sequential"}), vec!["b0", "b1", "o0", "o1"]),
        (json!({"strategy": "interleave"}), vec!["b0", "o0", "b1", "o1"]),
        (json!({"strategy": "sequential", "turns": null}), vec!["b0", "b1", "o0", "o1"]),
        (
            json!({"strategy": "manual", "turns": [pick(&other, 1), pick(&base, 0), pick(&other, 0)]}),
            vec!["o1", "b0", "o0"],
        ),
    ] {
        let mut body = strategy.clone();
        body["other_id"] = json!(other);
        let merged = app.post(at(&base, "merge"), body).await.json(201);
        assert_eq!(words(&merged), expected, "{strategy}");
        let counted = u32::try_from(expected.len()).unwrap();
        assert_same(&normal(merged["evidence"].clone()), &evidence(counted, 0));
    }
    app.stop().await;
}

#[tokio::test]
async fn turns_that_both_hold_are_there_once() {
    let app = TestApp::start().await;
    let id = app.session_of(3).await;
    let fork = app.post(at(&id, "fork"), json!({"branch_name": "b"})).await.json(201);
    let merged = app.post(at(&id, "merge"), json!({"other_id": fork["id"]})).await.json(201);
    assert_eq!(merged["turns"], fork["turns"]);
    let same = ["id", "parent_id", "branch_name", "metadata", "fork_point", "created_at", "last_active"];
    let same = [&same[..], &["evidence"]].concat();
    assert_eq!(without(merged, &same), without(fork, &same));
    app.stop().await;
}

#[tokio::test]
async fn what_cannot_be_merged_is_refused_and_nothing_is_made() {
    let app = TestApp::start().await;
    let (base, other) = two(&app).await;
    let third = app.session_of(1).await;
    let pick = |id: &str, number: i64| json!({"session_id": id, "turn_number": number});
    let with_itself = format!("session {base} cannot be merged with itself; name another session");
    for (body, detail) in [
        (json!({"other_id": base}), with_itself),
        (
            json!({"other_id": other, "strategy": "manual", "turns": [pick(&third, 0)]}),
            format!(
                "the manual merge picks from session {third}, which is neither of the two that are merged"
            ),
        ),
        (
            json!({"other_id": other, "strategy": "manual", "turns": [pick(&base, 2)]}),
            format!("session {base} has no turn 2; its 2 turns count from 0"),
        ),
        (
            json!({"other_id": other, "strategy": "manual", "turns": [pick(&base, 0), pick(&base, 0)]}),
            format!("turn 0 of session {base} is picked twice; name each turn once"),
        ),
    ] {
        app.post(at(&base, "merge"), body).await.refused(400, "invalid_argument", &detail);
    }
    let missing = json!({"other_id": ""});
    app.post(at(&base, "merge"), missing).await.refused(404, "not_found", "Session  not found");
    assert_eq!(app.get("/api/chat/sessions").await.json(200)["total"], 3);
    assert_eq!(app.session(&base).await["is_merged"], false);
    app.stop().await;
}

#[tokio::test]
async fn a_merge_of_the_wrong_shape_is_told_field_by_field() {
    let app = TestApp::start().await;
    let (base, other) = two(&app).await;
    for (body, expected) in [
        (json!({"other_id": other, "strategy": "manual"}), vec![("missing", json!(["body", "turns"]))]),
        (
            json!({"other_id": other, "strategy": "manual", "turns": []}),
            vec![("missing", json!(["body", "turns"]))],
        ),
        (json!({"other_id": other, "strategy": "all"}), vec![("literal_error", json!(["body", "strategy"]))]),
        (json!({"other_id": other, "strategy": null}), vec![("literal_error", json!(["body", "strategy"]))]),
        (json!({}), vec![("missing", json!(["body", "other_id"]))]),
        (
            json!({"other_id": 1, "strategy": "manual", "turns": [{"session_id": "a", "turn_number": -1}, 7, {}]}),
            vec![
                ("string_type", json!(["body", "other_id"])),
                ("greater_than_equal", json!(["body", "turns", 0, "turn_number"])),
                ("model_attributes_type", json!(["body", "turns", 1])),
                ("missing", json!(["body", "turns", 2, "session_id"])),
                ("missing", json!(["body", "turns", 2, "turn_number"])),
            ],
        ),
    ] {
        let wrong = app.post(at(&base, "merge"), body.clone()).await.wrong_fields();
        let told: Vec<_> = wrong.iter().map(|wrong| json!([wrong["type"], wrong["loc"]])).collect();
        let expected: Vec<_> = expected.iter().map(|(kind, loc)| json!([kind, loc])).collect();
        assert_eq!(Value::from(told), Value::from(expected), "{body}");
    }
    app.stop().await;
}
