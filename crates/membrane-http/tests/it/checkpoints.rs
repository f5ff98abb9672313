//! Checkpoints: leaving one, listing them, returning to one, deleting one.

use serde_json::json;

use crate::app::{TestApp, at, words};
use crate::client::Call;
use crate::shape::{assert_same, evidence, normal};

#[tokio::test]
async fn a_checkpoint_tells_what_it_holds_with_a_name_or_without() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    let bodies = [
        (Call::new("POST", at(&id, "checkpoint"), ""), json!(null)),
        (Call::post(at(&id, "checkpoint"), &json!({})), json!(null)),
        (Call::post(at(&id, "checkpoint"), &json!({"name": null})), json!(null)),
        (Call::post(at(&id, "checkpoint"), &json!({"name": ""})), json!("")),
        (Call::post(at(&id, "checkpoint"), &json!({"name": "before 🙂"})), json!("before 🙂")),
    ];
    for (call, name) in bodies {
        let made = app.call(call).await.json(201);
        assert_eq!(made["id"], made["checkpoint_id"]);
        let expected = json!({
            "id": "<checkpoint>", "checkpoint_id": "<checkpoint>", "session_id": id, "name": name,
            "kind": "named", "turn_count": 2, "context_size": 2, "branch_name": "main",
            "created_at": "<time>",
            "evidence_snapshot": {"confidence": 0.75, "tools_succeeded": 2, "tools_failed": 0},
        });
        assert_same(&normal(made), &expected);
    }
    let empty = app.new_session().await;
    let made = app.post(at(&empty, "checkpoint"), json!({})).await.json(201);
    let nothing = json!({"confidence": 0.5, "tools_succeeded": 0, "tools_failed": 0});
    assert_eq!((&made["turn_count"], &made["evidence_snapshot"]), (&json!(0), &nothing));
    app.stop().await;
}

#[tokio::test]
async fn checkpoints_are_listed_newest_first_with_the_automatic_ones() {
    let app = TestApp::start().await;
    let id = app.session_of(3).await;
    assert_eq!(app.get(at(&id, "checkpoints")).await.json(200), json!({"checkpoints": []}));
    let named = app.post(at(&id, "checkpoint"), json!({"name": "n"})).await.json(201);
    app.post(at(&id, "rewind"), json!({"turns": 2})).await.json(200);
    app.post(at(&id, "restore"), json!({"checkpoint_id": named["id"]})).await.json(200);
    let list = app.get(at(&id, "checkpoints")).await.json(200);
    let item = |kind: &str, name: Option<&str>, n_turns: u32| json!({"id": "<checkpoint>", "name": name, "kind": kind, "turn_count": n_turns, "created_at": "<time>"});
    let expected = [item("restore", None, 1), item("rewind", None, 3), item("named", Some("n"), 3)];
    assert_same(&normal(list.clone()), &json!({"checkpoints": expected}));
    assert_eq!(list["checkpoints"][2]["id"], named["id"]);
    app.stop().await;
}

#[tokio::test]
async fn the_newest_twenty_automatic_checkpoints_and_all_named_ones_are_kept() {
    let app = TestApp::start().await;
    let id = app.session_of(30).await;
    app.post(at(&id, "checkpoint"), json!({"name": "n"})).await.json(201);
    for _ in 0..25 {
        app.post(at(&id, "rewind?turns=none"), json!({"turns": 1})).await.json(200);
    }
    let list = app.get(at(&id, "checkpoints")).await.json(200);
    let counts: Vec<_> = list["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| left["turn_count"].as_u64().unwrap())
        .collect();
    let expected: Vec<u64> = (6..26).chain([30]).collect();
    assert_eq!(counts, expected);
    app.stop().await;
}

#[tokio::test]
async fn restoring_goes_back_and_forth_and_brings_the_evidence_along() {
    let app = TestApp::start().await;
    let id = app.session_of(4).await;
    let whole = app.session(&id).await;
    let left = app.post(at(&id, "checkpoint"), json!({})).await.json(201);
    app.post(at(&id, "rewind"), json!({"turns": 3})).await.json(200);
    app.say(&id, "other").await;
    let restored = app.post(at(&id, "restore"), json!({"checkpoint_id": left["id"]})).await.json(200);
    assert_eq!(restored["turns"], whole["turns"]);
    assert_same(&normal(restored["evidence"].clone()), &evidence(4, 0));
    assert_eq!(restored, app.session(&id).await);
    let automatic = app.get(at(&id, "checkpoints")).await.json(200)["checkpoints"][0]["id"].clone();
    let back = app.post(at(&id, "restore"), json!({"checkpoint_id": automatic})).await.json(200);
    assert_eq!(words(&back), ["u0", "other"]);
    app.stop().await;
}

#[tokio::test]
async fn a_deleted_checkpoint_is_gone_and_one_of_another_session_is_not_found() {
    let app = TestApp::start().await;
    let (id, other) = (app.session_of(1).await, app.session_of(1).await);
    let left = app.post(at(&id, "checkpoint"), json!({})).await.json(201);
    let checkpoint = left["id"].as_str().unwrap();
    let missing = format!("Checkpoint {checkpoint} not found");
    let resource = format!("checkpoints/{checkpoint}");
    app.delete(at(&other, &resource)).await.refused(404, "not_found", &missing);
    let restore = json!({"checkpoint_id": checkpoint});
    app.post(at(&other, "restore"), restore.clone()).await.refused(404, "not_found", &missing);
    app.delete(at(&id, &resource)).await.empty(204);
    app.delete(at(&id, &resource)).await.refused(404, "not_found", &missing);
    app.post(at(&id, "restore"), restore).await.refused(404, "not_found", &missing);
    assert_eq!(app.get(at(&id, "checkpoints")).await.json(200), json!({"checkpoints": []}));
    let empty = app.post(at(&id, "restore"), json!({"checkpoint_id": ""})).await;
    empty.refused(404, "not_found", "Checkpoint  not found");
    assert_eq!(app.words(&id).await, ["u0"]);
    app.stop().await;
}
