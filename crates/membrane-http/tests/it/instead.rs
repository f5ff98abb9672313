//! Saying something else at a point, answers made once more, what stands there; and names that are changed.

use serde_json::{Value, json};

use crate::app::{TestApp, at, words};
use crate::client::Call;

fn turn(id: &str, n: &str, what: &str) -> String {
    at(id, &format!("turns/{n}/{what}"))
}

#[tokio::test]
async fn an_edit_answers_on_a_new_session_that_its_first_event_and_a_header_name() {
    let app = TestApp::start().await;
    let id = app.session_of(3).await;
    for form in ["", "?stream=delta"] {
        let call = Call::post(turn(&id, "1", &format!("edit{form}")), &json!({"message": "else"}));
        let mut events = app.open(call).await;
        assert_eq!(events.head.status, 201);
        let new = events.head.header("membrane-session").expect("the header").to_owned();
        let first = events.plain().await;
        assert_eq!(first, json!({"type": "session", "session_id": new}));
        let frames = events.rest().await;
        let last = frames.last().unwrap().0.clone();
        let done: Value = serde_json::from_str(last.split("data: ").nth(1).unwrap()).unwrap();
        assert_eq!((&done["type"], &done["turn_count"]), (&json!("done"), &json!(2)));
        let session = app.session(&new).await;
        assert_eq!(words(&session), ["u0", "else"]);
        assert_eq!((&session["parent_id"], &session["fork_point"]), (&json!(id), &json!(1)));
        assert_eq!(session["branch_name"], "edit-1");
    }
    assert_eq!(app.words(&id).await, ["u0", "u1", "u2"], "the old one stays");
    app.stop().await;
}

#[tokio::test]
async fn alternatives_are_listed_with_their_sessions_and_this_one_first() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    let mut events =
        app.open(Call::post(turn(&id, "1", "regenerate"), &json!({"branch_name": "again"}))).await;
    let new = events.plain().await["session_id"].as_str().unwrap().to_owned();
    events.last().await;
    let alone = app.call(Call::new("POST", turn(&id, "0", "regenerate"), "")).await;
    assert_eq!(alone.status(), 201, "the body may be left out");
    let found = app.get(turn(&id, "1", "alternatives")).await.json(200);
    let found = found["alternatives"].as_array().unwrap();
    let places: Vec<_> = found.iter().map(|found| (&found["session_id"], &found["turn_number"])).collect();
    assert_eq!(places, [(&json!(id), &json!(1)), (&json!(new), &json!(1))]);
    assert_eq!(found[1]["turn"]["user_message"]["content"], "u1");
    assert_eq!(found[1]["turn"], app.session(&new).await["turns"][1]);
    assert_eq!(app.session(&new).await["branch_name"], "again");
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_turn_is_refused_by_number() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    for what in ["edit", "regenerate"] {
        for n in ["2", "-1"] {
            let refused = app.post(turn(&id, n, what), json!({"message": "x"})).await;
            let detail = format!("session {id} has no turn {n}; its 2 turns count from 0");
            refused.refused(400, "invalid_argument", &detail);
        }
        let odd = app.post(turn(&id, "x", what), json!({"message": "x"})).await.wrong_fields();
        assert_eq!((&odd[0]["loc"], &odd[0]["type"]), (&json!(["path", "n"]), &json!("int_parsing")));
        app.post(turn("nobody", "0", what), json!({"message": "x"})).await.json(404);
    }
    app.get(turn(&id, "2", "alternatives")).await.json(400);
    let missing = app.post(turn(&id, "0", "edit"), json!({})).await.wrong_fields();
    assert_eq!(missing[0]["type"], "missing");
    assert_eq!(
        app.get(format!("/api/chat/sessions/{id}/branches")).await.json(200)["branches"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    app.stop().await;
}

#[tokio::test]
async fn the_same_key_again_is_the_same_session() {
    let app = TestApp::start().await;
    let id = app.session_of(1).await;
    let call = || Call::post(turn(&id, "0", "edit"), &json!({"message": "else"})).key("k");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut events = app.open(call()).await;
        seen.push((events.plain().await, events.last().await));
    }
    assert!(seen.iter().all(|each| *each == seen[0]), "{seen:?}");
    let other = Call::post(turn(&id, "0", "edit"), &json!({"message": "other"})).key("k");
    assert_eq!(app.call(other).await.json(409)["code"], "key_reused");
    app.stop().await;
}

#[tokio::test]
async fn names_and_flags_are_changed_one_by_one_and_null_removes() {
    let app = TestApp::start().await;
    let body = json!({"project_id": "p", "title": "t", "tags": ["a"], "metadata": {"a": 1.50}});
    let made = app.post("/api/chat/session", body).await.json(201);
    let id = made["id"].as_str().unwrap();
    assert_eq!((&made["title"], &made["tags"]), (&json!("t"), &json!(["a"])));
    let patch =
        |body: Value| Call { method: "PATCH".to_owned(), ..Call::post(format!("/api/chat/{id}"), &body) };
    let changed = app.call(patch(json!({"pinned": true, "tags": ["b", "c"]}))).await.json(200);
    assert_eq!(
        (&changed["pinned"], &changed["tags"], &changed["title"], &changed["version"]),
        (&json!(true), &json!(["b", "c"]), &json!("t"), &json!(2))
    );
    let changed =
        app.call(patch(json!({"title": null, "project_id": null, "archived": true}))).await.json(200);
    assert_eq!(
        (&changed["title"], &changed["project_id"], &changed["archived"], &changed["pinned"]),
        (&json!(null), &json!(null), &json!(true), &json!(true))
    );
    let same = app.call(patch(json!({"unknown": 1}))).await.json(200);
    assert_eq!(same["version"], changed["version"], "nothing was changed");
    let changed = app.call(patch(json!({"metadata": {"model": "m"}}))).await.json(200);
    assert_eq!(changed["metadata"], json!({"model": "m"}));
    for (body, field) in [
        (json!({"title": 5}), "title"),
        (json!({"tags": null}), "tags"),
        (json!({"pinned": null}), "pinned"),
        (json!({"metadata": null}), "metadata"),
        (json!({"metadata": []}), "metadata"),
    ] {
        assert_eq!(app.call(patch(body)).await.wrong_fields()[0]["loc"][1], field);
    }
    let nobody = Call { path: "/api/chat/nobody".to_owned(), ..patch(json!({"title": "t"})) };
    app.call(nobody).await.refused(404, "not_found", "Session nobody not found");
    app.stop().await;
}
