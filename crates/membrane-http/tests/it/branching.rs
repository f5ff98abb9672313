//! Forking, rewinding, comparing, and the tree.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::app::{TestApp, at, words};
use crate::shape::{assert_same, evidence, new_session, normal, plain_turn, with};

#[tokio::test]
async fn a_fork_holds_as_many_of_the_first_turns_as_its_fork_point_says() {
    let app = TestApp::start().await;
    let names = json!({"project_id": "p", "branch_name": "trunk"});
    let id = app.post("/api/chat/session", names).await.json(201)["id"].as_str().unwrap().to_owned();
    app.extend(&id, 3).await;
    let before = app.session(&id).await;
    for (fork_point, n_turns) in
        [(json!(0), 0), (json!(1), 1), (json!(3), 3), (json!(null), 3), (json!("2"), 2), (json!(true), 1)]
    {
        let body = json!({"branch_name": "b", "fork_point": fork_point});
        let fork = app.post(at(&id, "fork"), body).await.json(201);
        let fork_id = fork["id"].as_str().unwrap();
        let turns: Vec<_> = (0..n_turns).map(|n| plain_turn(n, &format!("u{n}"), &format!("a{n}"))).collect();
        let expected = with(
            new_session(fork_id),
            json!({"project_id": "p", "branch_name": "b", "parent_id": id, "fork_point": n_turns,
                "turn_count": n_turns, "context_size": n_turns, "evidence": evidence(n_turns, 0),
                "turns": turns}),
        );
        assert_same(&normal(fork.clone()), &expected);
        assert_eq!(app.session(fork_id).await, fork);
    }
    let all = app.post(at(&id, "fork"), json!({"branch_name": ""})).await.json(201);
    assert_eq!((&all["fork_point"], &all["branch_name"]), (&json!(3), &json!("")));
    assert_eq!(app.session(&id).await, before, "the parent is as it was");
    app.stop().await;
}

#[tokio::test]
async fn a_fork_point_beyond_the_end_or_negative_is_refused_with_both_numbers() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    for fork_point in [3, -1, i64::MAX, i64::MIN] {
        let body = json!({"branch_name": "b", "fork_point": fork_point});
        let detail =
            format!("fork point {fork_point} exceeds the session's 2 turns; give 0..=2, or null for all");
        app.post(at(&id, "fork"), body).await.refused(400, "invalid_argument", &detail);
    }
    let tree = app.get(format!("/api/chat/sessions/{id}/branches")).await.json(200);
    assert_eq!(tree["branches"].as_array().unwrap().len(), 1, "nothing was made");
    app.stop().await;
}

#[tokio::test]
async fn a_fork_and_its_parent_go_separate_ways() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    let fork = app.post(at(&id, "fork"), json!({"branch_name": "b", "fork_point": 1})).await.json(201);
    let fork_id = fork["id"].as_str().unwrap();
    assert_eq!(app.say(fork_id, "there").await["turn"]["turn_number"], 1);
    assert_eq!(app.say(&id, "here").await["turn"]["turn_number"], 2);
    assert_eq!(app.words(&id).await, ["u0", "u1", "here"]);
    assert_eq!(app.words(fork_id).await, ["u0", "there"]);
    app.stop().await;
}

#[tokio::test]
async fn rewinding_takes_exactly_so_many_turns_off_with_their_evidence() {
    let app = TestApp::start().await;
    let id = app.session_of(5).await;
    let whole = app.session(&id).await;
    assert_eq!(whole["evidence"]["should_stop"], true);
    let rewound = app.post(at(&id, "rewind"), json!({"turns": 2})).await.json(200);
    assert_eq!(rewound, app.session(&id).await);
    assert_eq!(rewound["turns"], json!(whole["turns"].as_array().unwrap()[..3]));
    assert_eq!(rewound["turn_count"], 3);
    assert_same(&normal(rewound["evidence"].clone()), &evidence(3, 0));
    assert_eq!(app.say(&id, "other").await["turn"]["turn_number"], 3);
    let empty = app.post(at(&id, "rewind"), json!({"turns": "4"})).await.json(200);
    assert_eq!((&empty["turns"], &empty["context_size"]), (&json!([]), &json!(0)));
    assert_same(&normal(empty["evidence"].clone()), &evidence(0, 0));
    app.stop().await;
}

#[tokio::test]
async fn rewinding_too_far_is_refused_in_the_words_that_clients_know() {
    let app = TestApp::start().await;
    let id = app.session_of(2).await;
    let refused = app.post(at(&id, "rewind"), json!({"turns": 3})).await;
    refused.refused(400, "invalid_argument", "Cannot rewind 3 turns, session only has 2 turns");
    for (turns, kind) in [(json!(0), "greater_than_equal"), (json!(-1), "greater_than_equal")] {
        let wrong = app.post(at(&id, "rewind"), json!({"turns": turns})).await.wrong_fields();
        let expected = json!([{"type": kind, "loc": ["body", "turns"], "input": turns, "ctx": {"ge": 1},
            "msg": "Input should be greater than or equal to 1"}]);
        assert_eq!(Value::from(wrong), expected);
    }
    assert_eq!(app.words(&id).await, ["u0", "u1"]);
    app.stop().await;
}

#[tokio::test]
async fn two_sessions_are_compared_by_their_turns() {
    let app = TestApp::start().await;
    let left = app.session_of(3).await;
    let fork = app.post(at(&left, "fork"), json!({"branch_name": "b", "fork_point": 2})).await.json(201);
    let right = fork["id"].as_str().unwrap();
    app.say(right, "there").await;
    app.say(right, "on").await;
    let (left_session, right_session) = (app.session(&left).await, app.session(right).await);
    let diff = app.get(at(&left, &format!("diff?other={right}"))).await.json(200);
    let expected = json!({
        "common": 2, "only_left": [left_session["turns"][2]],
        "only_right": [right_session["turns"][2], right_session["turns"][3]],
        "turn_count": {"left": 3, "right": 4, "diff": 1}, "content_hash_same": false,
        "evidence_equivalent": false,
        "evidence": {"left": left_session["evidence"], "right": right_session["evidence"]},
    });
    assert_eq!(diff, expected);
    let same = app.get(at(&left, &format!("diff?other={left}"))).await.json(200);
    assert_eq!(
        (&same["common"], &same["only_left"], &same["only_right"]),
        (&json!(3), &json!([]), &json!([]))
    );
    assert_eq!((&same["content_hash_same"], &same["evidence_equivalent"]), (&json!(true), &json!(true)));
    let wrong = app.get(at(&left, "diff")).await.wrong_fields();
    let expected = json!([{"type": "missing", "loc": ["query", "other"], "msg": "Field required",
        "input": null}]);
    assert_eq!(Value::from(wrong), expected);
    app.stop().await;
}

#[tokio::test]
async fn the_tree_holds_together_when_an_ancestor_is_deleted() {
    let app = TestApp::start().await;
    let root = app.session_of(2).await;
    let fork = async |parent: &str, name: &str, fork_point: u32| {
        let body = json!({"branch_name": name, "fork_point": fork_point});
        let fork = app.post(at(parent, "fork"), body).await.json(201);
        fork["id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (fork(&root, "first", 1).await, fork(&root, "second", 2).await);
    let grandchild = fork(&first, "grandchild", 0).await;
    let node = |id: &str, parent: Option<&str>, name: &str, n_turns: u32| {
        json!({"id": id, "parent_id": parent, "fork_point": if parent.is_some() { n_turns } else { 0 },
            "branch_name": name, "turn_count": n_turns, "created_at": "<time>", "last_active": "<time>",
            "is_merged": false, "merged_into": null, "is_active": id == second, "deleted": false})
    };
    let tree = async || {
        let tree = app.get(format!("/api/chat/sessions/{second}/branches")).await.json(200);
        normal(tree)["branches"].clone()
    };
    let others = [
        node(&first, Some(&root), "first", 1),
        node(&second, Some(&root), "second", 2),
        node(&grandchild, Some(&first), "grandchild", 0),
    ];
    let mut expected = vec![node(&root, None, "main", 2)];
    expected.extend(others.clone());
    assert_same(&tree().await, &json!(expected));
    app.delete(format!("/api/chat/{root}")).await.empty(204);
    expected[0] = json!({"id": root, "parent_id": null, "fork_point": 0, "branch_name": null,
        "turn_count": null, "created_at": null, "last_active": null, "is_merged": false, "merged_into": null,
        "is_active": false, "deleted": true});
    assert_same(&tree().await, &json!(expected));
    app.delete(format!("/api/chat/{first}")).await.empty(204);
    let tree = tree().await;
    let deleted = tree.as_array().unwrap().iter().filter(|node| node["deleted"] == true);
    let deleted: BTreeSet<_> = deleted.map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(deleted, BTreeSet::from([root.as_str(), first.as_str()]));
    assert_eq!(tree.as_array().unwrap().len(), 4);
    assert_eq!(words(&app.session(&second).await), ["u0", "u1"]);
    app.stop().await;
}
