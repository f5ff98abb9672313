//! Columns of every type that somebody may have given them.

use membrane_store::kgents::Oddity;

use super::Old;

/// As a migration by hand would make them.
const BY_HAND: &str = "
    CREATE TYPE state_word AS ENUM ('idle', 'processing');
    CREATE DOMAIN linearity AS VARCHAR(20);
    CREATE TABLE chat_sessions (
        id UUID PRIMARY KEY, project_id VARCHAR(64), parent_id UUID REFERENCES chat_sessions(id), fork_point BIGINT,
        branch_name VARCHAR(255) NOT NULL DEFAULT 'main', state state_word NOT NULL DEFAULT 'idle',
        turn_count BIGINT NOT NULL DEFAULT 0, context_size NUMERIC NOT NULL DEFAULT 0,
        evidence_json JSONB NOT NULL DEFAULT '{}', metadata_json JSON NOT NULL DEFAULT '{}',
        is_merged BOOLEAN NOT NULL DEFAULT false, merged_into UUID,
        created_at TIMESTAMPTZ NOT NULL, last_active TIMESTAMP NOT NULL);
    CREATE TABLE chat_turns (
        id BIGSERIAL PRIMARY KEY, session_id UUID NOT NULL REFERENCES chat_sessions(id) ON DELETE CASCADE,
        turn_number NUMERIC NOT NULL, user_message TEXT NOT NULL, assistant_response VARCHAR NOT NULL,
        user_linearity linearity NOT NULL DEFAULT 'preserved', assistant_linearity CHAR(12) NOT NULL DEFAULT 'required',
        tools_json JSONB, evidence_delta_json JSON, confidence NUMERIC, started_at TIMESTAMP NOT NULL,
        completed_at TIMESTAMPTZ NOT NULL);
    CREATE TABLE chat_crystals (
        session_id UUID PRIMARY KEY, title TEXT NOT NULL, summary TEXT NOT NULL, key_decisions_json JSONB,
        artifacts_json TEXT[], final_evidence_json JSONB, final_turn_count SMALLINT NOT NULL, created_at DATE NOT NULL);
    CREATE TABLE chat_checkpoints (
        id BIGINT PRIMARY KEY, session_id UUID NOT NULL, turn_count INTEGER NOT NULL, context_json JSONB NOT NULL,
        evidence_json JSONB NOT NULL, created_at TIMESTAMPTZ NOT NULL)";

const ID: &str = "11111111-2222-3333-4444-555555555555";
const FORK: &str = "99999999-2222-3333-4444-555555555555";

#[tokio::test]
async fn tables_that_were_made_by_hand_are_read_as_what_they_mean() {
    let old = Old::made_by(BY_HAND);
    old.run(&format!(
        "SET timezone = 'Asia/Tokyo';
         INSERT INTO chat_sessions (id, project_id, turn_count, metadata_json, is_merged, merged_into, created_at, last_active)
             VALUES ('{ID}', 'p', 10, '{{\"a\":  1, \"nul\": \"\\u0000\"}}', TRUE, '{FORK}',
                     '2025-12-24 10:00:00+02', '2025-12-24 11:00:00.000001');
         INSERT INTO chat_sessions (id, parent_id, fork_point, turn_count, created_at, last_active)
             VALUES ('{FORK}', '{ID}', 2, 2, '2025-12-24 10:00:00+02', '2025-12-24 11:00:00');
         INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, tools_json, confidence,
                 started_at, completed_at)
             SELECT s, n, 'u' || n, 'a' || n, CASE n WHEN 1 THEN '[{{\"name\": \"read\", \"success\": true}}]'::jsonb END, 0.5,
                 timestamp '2025-12-24 10:00:00' + n * interval '1 second', '2025-12-24 12:00:00.25+00'
             FROM unnest(ARRAY['{ID}', '{FORK}']::uuid[]) s, generate_series(0, 9) n WHERE s = '{ID}' OR n < 2
             ORDER BY n DESC;
         INSERT INTO chat_crystals VALUES ('{ID}', 't', 's', '[\"d\"]', ARRAY['x', 'y'], '{{}}', 10, '2025-12-24');
         INSERT INTO chat_checkpoints VALUES (7, '{ID}', 2, '{{}}', '{{}}', '2025-12-24 12:00:00+00')"
    ));
    let new = old.upgrade().await;
    let said: Vec<_> = (0..10).map(|n| format!("u{n}/a{n}")).collect();
    assert_eq!(new.said(ID).await, said, "in the order of numbers, not of their texts");
    let (root, fork) = (new.thread(ID).await, new.thread(FORK).await);
    assert_eq!(fork.turns[1].at, root.turns[1].at);
    let session = root.session;
    assert_eq!(session.created_at.to_string(), "2025-12-24T08:00:00.000000Z");
    assert_eq!(session.last_active.to_string(), "2025-12-24T11:00:00.000001Z");
    assert_eq!(session.metadata.as_str(), r#"{"a":  1, "nul": "\u0000"}"#);
    assert_eq!(session.merged_into.unwrap().as_str(), FORK);
    assert!(session.is_merged);
    let turn = &root.turns[1].turn;
    assert_eq!(turn.started_at.to_string(), "2025-12-24T10:00:01.000000Z");
    assert_eq!(turn.completed_at.to_string(), "2025-12-24T12:00:00.250000Z");
    assert_eq!(turn.tools().count(), 1);
    assert_eq!((turn.user.linearity.as_str(), turn.assistant.linearity.as_str()), ("preserved", "required"));
    let id = membrane_core::ids::SessionId::from_stored(ID);
    let crystal = membrane_store::Store::find_crystal(&new.store, &id).await.unwrap().unwrap();
    assert_eq!((crystal.artifacts, crystal.final_turn_count), (vec!["x".to_owned(), "y".to_owned()], 10));
    let checkpoints = membrane_store::Store::list_checkpoints(&new.store, &id).await.unwrap();
    assert_eq!(checkpoints[0].id.as_str(), "7");
    assert_eq!(
        new.count(Oddity::BadTime) + new.count(Oddity::WrongType),
        1,
        "the id of the checkpoint is a number"
    );
}

#[tokio::test]
async fn times_beyond_the_calendar_and_words_for_numbers_are_said_to_be_odd() {
    let old = Old::new();
    old.run(
        "ALTER TABLE chat_sessions ALTER created_at TYPE timestamp USING created_at::timestamp,
             ALTER last_active TYPE timestamptz USING last_active::timestamptz,
             ALTER is_merged DROP DEFAULT, ALTER is_merged TYPE text, ALTER turn_count TYPE text;
         ALTER TABLE chat_turns ALTER turn_number TYPE text, ALTER user_message TYPE bytea USING user_message::bytea",
    );
    old.run(
        "INSERT INTO chat_sessions (id, is_merged, turn_count, created_at, last_active) VALUES
             ('s', 'yes', '10', 'infinity', '2025-12-24 10:00:00+00'), ('t', 'perhaps', 'many', '0044-03-15 BC', '-infinity');
         INSERT INTO chat_turns (session_id, turn_number, user_message, assistant_response, started_at, completed_at)
             SELECT 's', n, ('u' || n)::bytea, 'a', '2025-12-24T10:00:00', '2025-12-24T10:00:00' FROM generate_series(0, 9) n",
    );
    old.run("UPDATE chat_turns SET user_message = '\\xff00fe' WHERE turn_number = '3'");
    let new = old.upgrade().await;
    let said = new.said("s").await;
    assert_eq!((said[2].as_str(), said[3].as_str(), said.len()), ("u2/a", "\u{fffd}\0\u{fffd}/a", 10));
    assert!(new.thread("s").await.session.is_merged && !new.thread("t").await.session.is_merged);
    assert_eq!(new.count(Oddity::BadTime), 3);
    let kept = new.kept(Some("t")).await;
    let values: Vec<_> = kept.iter().map(|row| row.value.as_str()).collect();
    for value in ["perhaps", "many", "-infinity"] {
        assert!(values.contains(&value), "{value} is not in {values:?}");
    }
    let bytes = new.kept(Some("s")).await.into_iter().find(|row| row.value.contains("ff00fe")).unwrap();
    assert_eq!(bytes.value, r#"{"hex":"ff00fe"}"#);
}
