//! The documents of `--json`: the keys that clients of the HTTP interface know, every one always there.

use serde_json::{Value, json};

use crate::tool::Tool;

const SESSION: [&str; 22] = [
    "archived",
    "branch_name",
    "context_size",
    "created_at",
    "evidence",
    "fork_point",
    "id",
    "is_merged",
    "last_active",
    "merged_into",
    "metadata",
    "parent_id",
    "pending",
    "pinned",
    "project_id",
    "state",
    "tags",
    "title",
    "trailing",
    "turn_count",
    "version",
    "turns",
];

const EVIDENCE: [&str; 11] = [
    "ashc_equivalence",
    "confidence",
    "created_at",
    "id",
    "metadata",
    "prior_alpha",
    "prior_beta",
    "should_stop",
    "tools_failed",
    "tools_succeeded",
    "updated_at",
];

const TURN: [&str; 17] = [
    "assistant_response",
    "completed_at",
    "confidence",
    "error",
    "evidence_delta",
    "finish_reason",
    "id",
    "model",
    "portal_emissions",
    "reasoning",
    "signals",
    "started_at",
    "status",
    "tools_used",
    "turn_number",
    "usage",
    "user_message",
];

#[track_caller]
fn has_exactly(value: &Value, keys: &[&str]) {
    let mut found: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    let mut keys = keys.to_vec();
    found.sort_unstable();
    keys.sort_unstable();
    assert_eq!(found, keys);
}

#[test]
fn a_session_and_a_turn_have_every_key() {
    let tool = Tool::new();
    let line = json!({
        "user": "\0 🙂", "assistant": "b", "model": "m", "usage": {"in": 1}, "finish_reason": "stop",
        "reasoning": "hm",
        "tools": [{"call_id": "c", "name": "read", "input": {"path": "a"}, "output": "x", "duration_ms": 12.5}],
    });
    let ran = tool.feed(&["append", "--new", "--stdin"], format!("{line}\n").as_bytes());
    let id = ran.stdout.trim_end();
    tool.ok(&["feedback", id, "0", "correction", "--comment", "no"]);
    tool.ok(&["append", id, "--user", "plain", "--assistant", "answer"]);
    let session = tool.json(&["show", id]);
    has_exactly(&session, &[&SESSION[..], &["turns_truncated"]].concat());
    has_exactly(&session["evidence"], &EVIDENCE);
    assert_eq!(
        (&session["evidence"]["prior_alpha"], &session["evidence"]["prior_beta"]),
        (&json!(2), &json!(2))
    );
    for turn in session["turns"].as_array().unwrap() {
        has_exactly(turn, &TURN);
        has_exactly(&turn["user_message"], &["role", "content", "mentions", "linearity_tag"]);
    }
    let turn = &session["turns"][0];
    assert_eq!(turn["user_message"]["content"], "\0 🙂");
    assert_eq!(
        turn["tools_used"],
        json!([{"call_id": "c", "name": "read", "input": {"path": "a"}, "output": "x", "success": true, "duration_ms": 12.5}])
    );
    assert_eq!((&turn["usage"], &turn["reasoning"]), (&json!({"in": 1}), &json!("hm")));
    assert_eq!(turn["signals"][0]["signal"], "correction");
    assert_eq!(turn["evidence_delta"]["tools_executed"], 1);
    let near = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 1e-12;
    assert!(near(&turn["confidence"], 1.0 / 3.0), "{turn}");
    assert!(near(&turn["evidence_delta"]["confidence_change"], 1.0 / 3.0 - 0.5), "{turn}");
    let second = &session["turns"][1];
    assert!(near(&second["confidence"], 0.5), "{second}");
    assert!(near(&second["evidence_delta"]["confidence_change"], 0.5 - 1.0 / 3.0), "{second}");
}

#[test]
fn every_command_answers_with_one_document() {
    let tool = Tool::new();
    let appended = tool.json(&["append", "--new", "--user", "a", "--assistant", "b"]);
    assert_eq!(
        (&appended["created"], &appended["turn_number"], &appended["turn_count"]),
        (&true.into(), &0.into(), &1.into())
    );
    let id = appended["session_id"].as_str().unwrap();
    let more = tool.json(&["append", id, "--user", "c", "--assistant", "d"]);
    assert_eq!(
        (&more["created"], &more["turn_number"], &more["version"]),
        (&false.into(), &1.into(), &2.into())
    );
    let without_turns = &SESSION[..21];

    let page = tool.json(&["sessions"]);
    has_exactly(&page, &["sessions", "total", "limit", "offset", "next_cursor"]);
    has_exactly(&page["sessions"][0], without_turns);

    let fork = tool.json(&["fork", id, "--at", "1"]);
    has_exactly(&fork, without_turns);
    assert_eq!((&fork["parent_id"], &fork["fork_point"]), (&json!(id), &json!(1)));
    let fork = fork["id"].as_str().unwrap();

    let left = tool.json(&["checkpoint", id, "--name", "n"]);
    let keys = [
        "id",
        "checkpoint_id",
        "session_id",
        "name",
        "kind",
        "turn_count",
        "context_size",
        "branch_name",
        "created_at",
        "evidence_snapshot",
    ];
    has_exactly(&left, &keys);
    assert_eq!(
        (&left["kind"], &left["turn_count"], &left["context_size"]),
        (&json!("named"), &json!(2), &json!(0))
    );
    assert_eq!(
        left["evidence_snapshot"],
        json!({"confidence": 0.75, "tools_succeeded": 2, "tools_failed": 0})
    );

    has_exactly(&tool.json(&["rewind", id, "1"]), without_turns);
    let list = tool.json(&["checkpoint", id, "--list"]);
    has_exactly(&list["checkpoints"][0], &["id", "name", "kind", "turn_count", "created_at"]);
    let restored = tool.json(&["restore", id, left["id"].as_str().unwrap()]);
    has_exactly(&restored["session"], without_turns);
    assert_eq!((&restored["missing"], &restored["session"]["turn_count"]), (&json!(0), &json!(2)));

    let diff = tool.json(&["diff", id, fork]);
    let keys = [
        "common",
        "only_left",
        "only_right",
        "turn_count",
        "content_hash_same",
        "evidence_equivalent",
        "evidence",
    ];
    has_exactly(&diff, &keys);
    has_exactly(&diff["only_left"][0], &TURN);
    assert_eq!(diff["turn_count"], json!({"left": 2, "right": 1, "diff": -1}));

    let said = tool.json(&["feedback", id, "0", "negative"]);
    has_exactly(&said, &["turn_number", "signals", "evidence"]);
    has_exactly(&said["evidence"], &EVIDENCE);

    let merged = tool.json(&["merge", id, fork]);
    assert_eq!(merged["metadata"], json!({"merged_from": [id, fork]}));
    let tree = tool.json(&["branches", id]);
    assert_eq!(tree["branches"].as_array().unwrap().len(), 3);
    assert_eq!(tool.json(&["delete", id]), json!({"deleted": id}));
    let tree = tool.json(&["branches", fork]);
    assert_eq!((&tree["branches"][0]["id"], &tree["branches"][0]["deleted"]), (&json!(id), &json!(true)));
    let mut keys: Vec<_> = tree["branches"][0].as_object().unwrap().keys().collect();
    let mut live: Vec<_> = tree["branches"][1].as_object().unwrap().keys().collect();
    keys.sort();
    live.sort();
    assert_eq!(keys, live, "a deleted node has the same keys");

    assert_eq!(tool.json(&["check"])["findings"], json!([]));
    assert_eq!(tool.json(&["migrate"]), tool.json(&["migrate", "--status"]));
    assert!(tool.json(&["migrate", "--print-sql"])["sql"].as_str().unwrap().contains("CREATE TABLE"));
}

#[test]
fn an_error_is_a_document_on_standard_error() {
    let tool = Tool::new();
    tool.session_of(1);
    let ran = tool.run(&["show", "nope", "--json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""));
    let error: Value = serde_json::from_str(&ran.stderr).unwrap();
    has_exactly(&error, &["detail", "code"]);
    assert_eq!(error["code"], "not_found");
}

#[test]
fn an_unfinished_turn_shows_as_pending() {
    use membrane::core::ids::{InstanceId, LeaseToken, RunId, TurnId};
    use membrane::core::run::{Lease, Piece, PieceBody, Run, RunPhase};
    use membrane::store::{Change, Write};
    use membrane::{Message, SessionId, Store, Timestamp};
    use membrane_sqlite::{SqliteOptions, SqliteStore};

    let tool = Tool::new();
    let id = tool.session_of(2);
    let run = Run {
        id: RunId::from_stored("run-1"),
        session: SessionId::from_stored(&id),
        turn_id: TurnId::from_stored("turn-1"),
        user: Message::new("and now?"),
        model: None,
        phase: RunPhase::Running,
        lease: Lease { owner: InstanceId::from_stored("elsewhere"), token: LeaseToken(1) },
        started_at: Timestamp::from_micros(5),
        version: 0,
    };
    let begin = Write::BeginRun { run, lease_for: std::time::Duration::from_secs(3600) };
    let pieces = ["so ", "far"].map(|text| PieceBody::Text(text.into()));
    let pieces = pieces.into_iter().zip(0..).map(|(body, seq)| Piece { seq, body }).collect();
    let append = Write::AppendPieces { run: RunId::from_stored("run-1"), pieces };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(SqliteOptions::at(tool.database())).await.unwrap();
        store.commit(Change::at(Timestamp::from_micros(5)).write(begin).write(append)).await.unwrap();
        store.close().await.unwrap();
    });
    let session = tool.json(&["show", &id]);
    assert_eq!((&session["state"], &session["turn_count"]), (&json!("processing"), &json!(2)));
    let pending = json!({
        "turn_number": 2, "user_message": "and now?", "partial": "so far",
        "started_at": "1970-01-01T00:00:00.000005Z",
    });
    assert_eq!(session["pending"], pending);
    tool.fails(4, &["append", &id, "--user", "a", "--assistant", "b"], &["processing", "cancel"]);
    tool.fails(4, &["rewind", &id, "1"], &["processing"]);
    let ran = tool.feed(&["append", &id, "--stdin"], b"{\"user\":\"a\",\"assistant\":\"b\"}\n");
    assert_eq!(ran.code, Some(4), "{ran:?}");
}
