//! What V1 has no column for: it stands where V1's readers pass over it, and comes back.

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::evidence::LegacySet;
use membrane_core::ids::SessionId;
use membrane_core::session::{NewSession, SessionPatch};
use membrane_core::turn::{KeptTurn, Linearity, SignalKind, Turn};
use membrane_store::change::Origin;
use membrane_store::conformance::fixture::append;
use membrane_store::kgents::extras::{CheckpointExtras, SessionExtras, TurnExtras};
use membrane_store::{Write, codec};
use serde_json::Value;

use super::furniture::rich;
use super::stage::{Exported, same_in_sql};
use crate::keep::{Keep, column, value};

/// Puts a turn together from what stands in a row and its extras.
fn put_together(kept: &KeptTurn, tools_json: Option<&str>, extras: &TurnExtras) -> Turn {
    let mut turn = kept.turn.clone();
    turn.id = extras.id.clone();
    turn.status = extras.status;
    turn.is_legacy = extras.is_legacy;
    codec::decode_turn(&mut turn, tools_json, extras.extra_json.as_deref()).unwrap();
    turn
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_turn_comes_back_from_its_row() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.create().await;
    let mut legacy = f.tool_turn("legacy", true);
    legacy.is_legacy = true;
    let turns = vec![f.turn("plain"), rich(&f), legacy, f.tool_turn("tools", true)];
    f.write(append(&id, turns)).await;
    f.signal(&id, 0, SignalKind::Negative).await;
    f.signal(&id, 0, SignalKind::Positive).await;
    let exported = Exported::of(&f, keep.folder()).await;
    same_in_sql(&keep, &exported);
    let sql = |name| format!("SELECT {name} FROM chat_turns ORDER BY turn_number");
    let deltas = column::<String>(&exported.conn, &sql("evidence_delta_json"), []);
    let tools = column::<Option<String>>(&exported.conn, &sql("tools_json"), []);
    let kept = f.kept(&id).await;
    assert_eq!((kept.len(), deltas.len()), (4, 4));
    for ((kept, delta), tools) in kept.iter().zip(&deltas).zip(&tools) {
        let extras = TurnExtras::decode(delta).unwrap().unwrap();
        assert_eq!(put_together(kept, tools.as_deref(), &extras), kept.turn);
        assert_eq!(extras.signals, kept.signals);
    }
    assert_eq!(
        deltas[2],
        format!(r#"{{"membrane":{{"id":"{}","legacy":true}}}}"#, kept[2].turn.id),
        "what a legacy turn changed is not known"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_session_comes_back_from_its_row() {
    let keep = Keep::new();
    let f = keep.open().await;
    let plain = f.session(1).await;
    let id = f.session_id();
    let legacy = vec![LegacySet { origin: SessionId::from_stored("o"), alpha: 0.1, beta: 2.0 }];
    let session = NewSession { title: Some("a \"title\"".into()), ..NewSession::root(id.clone()) };
    let origin = Origin::Empty { legacy: legacy.clone() };
    f.write(Write::CreateSession { session, origin, created_at: None }).await;
    let patch = SessionPatch {
        tags: Some(vec!["b".into(), "a".into()]),
        pinned: Some(true),
        archived: Some(true),
        trailing: Some(true),
        ..SessionPatch::default()
    };
    f.write(Write::PatchSession { session: id.clone(), patch }).await;
    let exported = Exported::of(&f, keep.folder()).await;
    same_in_sql(&keep, &exported);
    let extras = |id| SessionExtras::decode(&exported.text(id, "evidence_json").unwrap()).unwrap().unwrap();
    assert_eq!(extras(&plain), SessionExtras::default());
    let expected = SessionExtras {
        title: Some("a \"title\"".into()),
        tags: vec!["b".into(), "a".into()],
        pinned: true,
        archived: true,
        trailing: true,
        legacy,
        ..SessionExtras::default()
    };
    assert_eq!(extras(&id), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_has_its_turns_in_full() {
    let keep = Keep::new();
    let f = keep.open().await;
    let id = f.session(2).await;
    f.write(append(&id, vec![rich(&f), f.tool_turn("tool", true)])).await;
    f.signal(&id, 1, SignalKind::Correction).await;
    let kept = f.kept(&id).await;
    let named = f.name_place(&id, "here").await;
    let left = f.rewind(&id, 1).await;
    f.say(&id, "another way").await;
    let exported = Exported::of(&f, keep.folder()).await;
    same_in_sql(&keep, &exported);
    for (checkpoint, name, kind) in
        [(&named, Some("here"), CheckpointKind::Named), (&left, None, CheckpointKind::Rewind)]
    {
        let sql = "SELECT context_json FROM chat_checkpoints WHERE id = ?1";
        let text: String = value(&exported.conn, sql, [checkpoint.as_str()]);
        let extras = CheckpointExtras { name: name.map(str::to_owned), kind };
        assert_eq!(CheckpointExtras::decode(&text).unwrap(), Some(extras));
        // The numbers of one turn are beyond what this reader knows.
        let context: Value =
            serde_json::from_str(&text.replace("1e400", "1").replace("\\ud800", "")).unwrap();
        assert!(context["id"].as_str().unwrap().starts_with("ctx-"), "{context}");
        assert_eq!(context["context_window"], 200_000);
        assert_eq!(context["token_count"], kept.last().unwrap().totals.tokens);
        assert_eq!(context["last_compression"], Value::Null);
        let turns = context["turns"].as_array().unwrap();
        assert_eq!(turns.len(), kept.len());
        for (number, (turn, kept)) in turns.iter().zip(&kept).enumerate() {
            assert_eq!(turn["turn_number"], number);
            assert_eq!(turn["id"], kept.turn.id.as_str());
            assert_eq!(turn["user_message"], kept.turn.user.content);
            assert_eq!(turn["assistant_response"], kept.turn.assistant.content);
            assert_eq!(turn["linearity_tag"], kept.turn.user.linearity.as_str());
            let tools: Vec<&str> = kept.turn.tools().map(|tool| tool.name.as_str()).collect();
            assert_eq!(turn["tools_used"], serde_json::json!(tools));
            let extras = TurnExtras::decode(&turn["metadata"].to_string()).unwrap().unwrap();
            assert_eq!(extras.signals, kept.signals);
            assert_eq!(extras.assistant_linearity, (number == 2).then_some(Linearity::Droppable));
            if number != 2 {
                assert_eq!(put_together(kept, extras.tools_json.as_deref(), &extras), kept.turn);
            }
        }
    }
    let evidence = |sql: &str| value::<f64>(&exported.conn, sql, [named.as_str()]);
    assert!(
        (evidence("SELECT evidence_json ->> 'prior_alpha' FROM chat_checkpoints WHERE id = ?1") - 3.0).abs()
            < 1e-12
    );
    assert!(
        (evidence("SELECT evidence_json ->> 'prior_beta' FROM chat_checkpoints WHERE id = ?1") - 2.0).abs()
            < 1e-12
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_automatic_checkpoint_ends_before_a_gap() {
    let keep = Keep::new();
    let f = keep.open().await;
    let root = f.session(2).await;
    let fork = f.fork(&root, 2).await;
    let other = f.session(3).await;
    // What the fork sees of the other is deleted with it, but for what stands in front.
    let merged = f.merge(&fork, &other).await;
    let left = f.rewind(&merged, 1).await;
    f.delete(&other).await;
    let exported = Exported::of(&f, keep.folder()).await;
    assert_eq!(exported.report.left_out.cut_checkpoints, 1);
    let sql = "SELECT turn_count || ' ' || json_array_length(context_json, '$.turns') FROM chat_checkpoints \
        WHERE id = ?1";
    assert_eq!(value::<String>(&exported.conn, sql, [left.as_str()]), "2 2");
}
