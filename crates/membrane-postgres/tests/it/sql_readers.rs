//! What other programs read through SQL: V1's columns, with the values that the calls answer.
//!
//! Every figure is added up anew from the turns and their signals, not from Membrane's own totals.

use membrane_core::run::RunShape;
use std::sync::Arc;
use std::time::Duration;

use membrane_core::crystal::Crystal;
use membrane_core::evidence::LegacySet;
use membrane_core::ids::SessionId;
use membrane_core::json::Json;
use membrane_core::session::{NewSession, SessionPatch};
use membrane_core::time::Timestamp;
use membrane_core::turn::{KeptTurn, Linearity, SignalKind, TurnStatus};
use membrane_store::Write;
use membrane_store::change::Origin;
use membrane_store::conformance::fixture::{Fixture, append, json};
use membrane_testservers::Database;
use tokio_postgres::{Client, NoTls, Row};

use crate::keep::{database, open};

/// The four names that the published guide gives.
const INDEXES: [&str; 4] = [
    "idx_chat_sessions_active",
    "idx_chat_sessions_parent",
    "idx_chat_sessions_project",
    "idx_chat_turns_session",
];

/// Beta counts after each turn, from what the turns and their signals say.
fn counts_after(turns: &[KeptTurn], legacy: (f64, f64)) -> Vec<(f64, f64)> {
    let (mut alpha, mut beta) = (1.0 + legacy.0, 1.0 + legacy.1);
    let after = |kept: &KeptTurn| {
        if kept.turn.status == TurnStatus::Complete {
            let failed = kept.turn.tools().any(|tool| !tool.success);
            let turned = kept.signals.last().is_some_and(|signal| signal.kind != SignalKind::Positive);
            if failed || turned { beta += 1.0 } else { alpha += 1.0 }
        }
        (alpha, beta)
    };
    turns.iter().map(after).collect()
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9
}

fn count(row: &Row, column: usize) -> usize {
    usize::try_from(row.get::<_, i64>(column)).unwrap()
}

/// A program of its own that reads the database.
async fn plain(database: &Database) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn keep(database: &Database) -> Fixture {
    Fixture::new(Arc::new(open(database.url()).await))
}

/// A text as Membrane writes it where a column cannot hold a NUL.
fn held(text: &str) -> String {
    text.replace('\u{1}', "\u{1}1").replace('\0', "\u{1}0")
}

/// Compares what SQL says of a session, column by column, with its turns.
async fn agrees(f: &Fixture, plain: &Client, id: &SessionId) {
    let thread = f.thread(id).await;
    let (session, turns) = (&thread.session, &thread.turns);
    let legacy = (session.legacy.alpha, session.legacy.beta);
    let counts = counts_after(turns, legacy);
    let tokens: usize = turns
        .iter()
        .map(|kept| {
            (kept.turn.user.content.chars().count() + 1 + kept.turn.assistant.content.chars().count()) / 4
        })
        .sum();
    let sql =
        "SELECT turn_count, context_size, state, branch_name, parent_id, fork_point, is_merged, merged_into,
            created_at, last_active, project_id, metadata_json,
            (evidence_json::json ->> 'prior_alpha')::float8, (evidence_json::json ->> 'prior_beta')::float8,
            (evidence_json::json ->> 'confidence')::float8, evidence_json::json ->> 'id'
        FROM chat_sessions WHERE id = $1";
    let row = plain.query_one(sql, &[&id.as_str()]).await.unwrap();
    assert_eq!(count(&row, 0), turns.len(), "{id}");
    assert_eq!(count(&row, 1), tokens, "{id}: context_size");
    assert_eq!(row.get::<_, &str>(2), session.state.as_str());
    assert_eq!(row.get::<_, &str>(3), session.branch_name);
    assert_eq!(row.get::<_, Option<&str>>(4), session.parent_id.as_ref().map(SessionId::as_str));
    assert_eq!(row.get::<_, Option<i64>>(5), session.fork_point.map(u64::cast_signed));
    assert_eq!(row.get::<_, bool>(6), session.is_merged);
    assert_eq!(row.get::<_, Option<&str>>(7), session.merged_into.as_ref().map(SessionId::as_str));
    assert_eq!(row.get::<_, &str>(8), session.created_at.to_string());
    assert_eq!(row.get::<_, &str>(9), session.last_active.to_string());
    assert_eq!(row.get::<_, Option<String>>(10), session.project_id);
    assert_eq!(row.get::<_, &str>(11), session.metadata.as_str());
    let (alpha, beta) = counts.last().copied().unwrap_or((1.0 + legacy.0, 1.0 + legacy.1));
    assert!(close(row.get(12), alpha) && close(row.get(13), beta), "{id}: evidence");
    assert!(close(row.get(14), alpha / (alpha + beta)), "{id}: confidence");
    assert!(row.get::<_, &str>(15).starts_with("chat-evd-"));
    let sql = "SELECT turn_number, user_message, assistant_response, user_linearity, assistant_linearity, tools_json,
            confidence::float8, (evidence_delta_json::json ->> 'tools_executed')::bigint,
            (evidence_delta_json::json ->> 'tools_succeeded')::bigint,
            (evidence_delta_json::json ->> 'confidence_change')::float8, started_at, completed_at
        FROM chat_turns WHERE session_id = $1 ORDER BY turn_number";
    let rows = plain.query(sql, &[&id.as_str()]).await.unwrap();
    assert_eq!(rows.len(), turns.len(), "{id}");
    let mut before = (1.0 + legacy.0) / (2.0 + legacy.0 + legacy.1);
    for (number, ((kept, (alpha, beta)), row)) in turns.iter().zip(counts).zip(&rows).enumerate() {
        let turn = &kept.turn;
        let text = |column: usize| row.get::<_, String>(column);
        assert_eq!(count(row, 0), number, "{id}");
        assert_eq!((text(1), text(2)), (held(&turn.user.content), held(&turn.assistant.content)));
        assert_eq!(
            (text(3), text(4)),
            (turn.user.linearity.as_str().into(), turn.assistant.linearity.as_str().into())
        );
        let tools = row.get::<_, Option<String>>(5);
        assert_eq!(tools.is_some(), turn.tools().next().is_some(), "{id} {number}: tools_json");
        let confidence = alpha / (alpha + beta);
        assert!(close(row.get(6), confidence), "{id} {number}: confidence");
        assert_eq!(count(row, 7), turn.tools().count());
        assert_eq!(count(row, 8), turn.tools().filter(|tool| tool.success).count());
        assert!(close(row.get(9), confidence - before), "{id} {number}: confidence_change");
        assert_eq!((text(10), text(11)), (turn.started_at.to_string(), turn.completed_at.to_string()));
        before = confidence;
    }
}

async fn all_agree(f: &Fixture, plain: &Client) {
    let ids = plain.query("SELECT id FROM chat_sessions", &[]).await.unwrap();
    assert!(!ids.is_empty());
    for row in ids {
        agrees(f, plain, &SessionId::from_stored(row.get(0))).await;
    }
    let row = plain.query_one("SELECT count(*), count(DISTINCT id) FROM chat_turns", &[]).await.unwrap();
    assert_eq!(count(&row, 0), count(&row, 1), "chat_turns.id is unique over all sessions");
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}

async fn texts(plain: &Client, sql: &str) -> Vec<String> {
    plain.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_says_what_the_calls_say_after_every_operation_and_of_every_session() {
    let database = database();
    let f = keep(&database).await;
    let plain = plain(&database).await;
    let old = f.session_id();
    let legacy = vec![LegacySet::from_total(SessionId::from_stored("old"), 3.5, 2.25)];
    let session = NewSession { project_id: Some("p".into()), ..NewSession::root(old.clone()) };
    f.write(Write::CreateSession { session, origin: Origin::Empty { legacy }, created_at: None }).await;
    let a = f.session(3).await;
    let mut interrupted = f.turn("cut off \0 🙂");
    interrupted.status = TurnStatus::Interrupted;
    interrupted.user.linearity = Linearity::Required;
    interrupted.assistant.linearity = Linearity::Droppable;
    let more = vec![f.tool_turn("good", true), f.tool_turn("bad", false), interrupted, f.turn("last")];
    f.write(append(&a, more.clone())).await;
    f.write(append(&old, more)).await;
    all_agree(&f, &plain).await;
    let fork = f.fork(&a, 5).await;
    let unused = f.fork(&a, 7).await;
    all_agree(&f, &plain).await;
    f.append(&fork, 2).await;
    let deep = f.fork(&fork, 6).await;
    f.say(&deep, "deep").await;
    all_agree(&f, &plain).await;
    // A signal is felt in every session that holds the turn, whichever it was given in.
    for (session, number, kind) in [
        (&fork, 1, SignalKind::Negative),
        (&a, 4, SignalKind::Negative),
        (&deep, 5, SignalKind::Correction),
        (&a, 5, SignalKind::Negative),
        (&old, 0, SignalKind::Correction),
        (&deep, 6, SignalKind::Negative),
        (&a, 1, SignalKind::Positive),
        (&unused, 2, SignalKind::Correction),
    ] {
        f.signal(session, number, kind).await;
        all_agree(&f, &plain).await;
    }
    let merge = f.merge(&a, &deep).await;
    let across = f.merge(&old, &merge).await;
    all_agree(&f, &plain).await;
    f.signal(&across, 6, SignalKind::Positive).await;
    f.say(&across, "after the merge").await;
    let named = f.name_place(&fork, "here").await;
    let left = f.rewind(&fork, 2).await;
    all_agree(&f, &plain).await;
    f.signal(&a, 2, SignalKind::Positive).await;
    f.say(&fork, "another way").await;
    f.restore(&fork, &left).await;
    all_agree(&f, &plain).await;
    f.rewind(&merge, 0).await;
    f.restore(&fork, &named).await;
    all_agree(&f, &plain).await;
    f.delete(&a).await;
    all_agree(&f, &plain).await;
    let patch = SessionPatch { metadata: Some(json(r#"{"a":"\u0000"}"#)), ..SessionPatch::default() };
    f.write(Write::PatchSession { session: deep.clone(), patch }).await;
    let run = f.begin(&deep, Duration::from_secs(3600)).await;
    all_agree(&f, &plain).await;
    let turn = Box::new(f.turn("answered"));
    f.write(Write::FinishRun { run: run.id, turn, shape: RunShape::default() }).await;
    f.delete(&fork).await;
    f.signal(&across, 1, SignalKind::Negative).await;
    all_agree(&f, &plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_rfc_3339_with_microseconds_even_before_1970() {
    let database = database();
    let f = keep(&database).await;
    let id = f.create().await;
    let times = [
        (-1, "1969-12-31T23:59:59.999999Z"),
        (-1_000_000, "1969-12-31T23:59:59.000000Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00.000000Z"),
        (0, "1970-01-01T00:00:00.000000Z"),
        (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
        (253_402_207_199_999_999, "9999-12-30T21:59:59.999999Z"),
    ];
    for (micros, _) in times {
        let mut turn = f.turn("then");
        turn.started_at = Timestamp::from_micros(micros);
        turn.completed_at = Timestamp::from_micros(micros);
        f.write(append(&id, vec![turn])).await;
    }
    let plain = plain(&database).await;
    for name in ["started_at", "completed_at"] {
        let sql = format!("SELECT {name} FROM chat_turns ORDER BY turn_number");
        assert_eq!(texts(&plain, &sql).await, times.map(|(_, text)| text));
    }
    agrees(&f, &plain, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crystals_and_checkpoints_keep_their_old_columns() {
    let database = database();
    let f = keep(&database).await;
    let id = f.session(2).await;
    f.signal(&id, 0, SignalKind::Negative).await;
    let crystal = Crystal {
        session: id.clone(),
        title: "t".into(),
        summary: "s".into(),
        key_decisions: vec!["one \"two\"".into()],
        artifacts: Vec::new(),
        final_evidence: Json::parse("test", r#"{"prior_alpha":2}"#).unwrap(),
        final_turn_count: 2,
        created_at: Timestamp::from_micros(1),
    };
    f.write(Write::SaveCrystal(crystal)).await;
    f.name_place(&id, "here").await;
    f.rewind(&id, 1).await;
    let plain = plain(&database).await;
    let crystal = "SELECT session_id || '|' || title || '|' || summary || '|' || key_decisions_json || '|' ||
        artifacts_json || '|' || final_evidence_json || '|' || final_turn_count || '|' || created_at FROM chat_crystals";
    assert_eq!(
        texts(&plain, crystal).await,
        [format!(r#"{id}|t|s|["one \"two\""]|[]|{{"prior_alpha":2}}|2|1970-01-01T00:00:00.000001Z"#)]
    );
    let row = "SELECT session_id || '|' || turn_count || '|' || context_json || '|' ||
        (evidence_json::json ->> 'prior_alpha')::float8 || '|' || (evidence_json::json ->> 'prior_beta')::float8
        FROM chat_checkpoints WHERE name = 'here'";
    assert_eq!(texts(&plain, row).await, [format!("{id}|2|{{}}|2|2")]);
    assert_eq!(texts(&plain, "SELECT id FROM chat_checkpoints WHERE created_at LIKE '%Z'").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_indexes_are_there_and_the_view_finds_one_session_by_index() {
    let database = database();
    let f = keep(&database).await;
    f.session(2).await;
    let plain = plain(&database).await;
    let names = "SELECT indexname::text FROM pg_indexes WHERE indexname LIKE 'idx\\_chat\\_%' ORDER BY 1";
    assert_eq!(texts(&plain, names).await, INDEXES);
    plain.batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off").await.unwrap();
    for sql in [
        "SELECT user_message, confidence FROM chat_turns WHERE session_id = 'x' AND turn_number = 1",
        "SELECT * FROM chat_turns WHERE session_id = 'x' ORDER BY turn_number",
    ] {
        let steps = texts(&plain, &format!("EXPLAIN {sql}")).await.join("\n");
        for step in [
            "using chat_sessions_pkey on chat_sessions s",
            "on slices sl",
            "using idx_chat_turns_session on turns t",
        ] {
            assert!(steps.contains(step), "{step}: {sql}:\n{steps}");
        }
        assert!(!steps.contains("Seq Scan"), "{sql}:\n{steps}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_to_the_view_is_refused_and_names_the_api() {
    let database = database();
    let f = keep(&database).await;
    f.session(1).await;
    let plain = plain(&database).await;
    for (sql, named) in [
        (
            "INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response) VALUES ('s', 0, '', '')",
            "POST /api/chat/{id}/send",
        ),
        ("UPDATE chat_turns SET user_message = 'x'", "API"),
        ("DELETE FROM chat_turns", "POST /api/chat/{id}/rewind"),
    ] {
        let error = plain.execute(sql, &[]).await.unwrap_err();
        let error = error.as_db_error().unwrap().message();
        assert!(error.contains(named), "{sql}: {error}");
    }
    all_agree(&f, &plain).await;
}
