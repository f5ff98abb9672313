//! Text of every kind comes back byte for byte, wherever it is put.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;

use membrane_core::crystal::Crystal;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, InstanceId, MAX_ID_BYTES, RunId, SessionId, TurnId};
use membrane_core::json::Json;
use membrane_core::page::{PageRequest, SessionFilter};
use membrane_core::run::{Lease, Piece, PieceBody, Run, RunShape};
use membrane_core::session::{NewSession, SessionPatch};
use membrane_core::turn::{Item, Message, Signal, SignalKind, TurnError};

use super::fixture::{Fixture, LONG_LEASE, append, json};
use crate::change::Origin;
use crate::{Store, Write};

/// Texts that a careless layer changes, cuts off or refuses.
fn samples() -> Vec<String> {
    let samples = [
        "",
        " ",
        "\0",
        "a\0b\0",
        "\0\0start",
        "line\nbreak\r\nand\rreturn\ttab\u{b}\u{c}\u{1}\u{7f}\u{85}",
        "emoji 🙂 family 👨‍👩‍👧 flag 🇩🇪",
        "שלום \u{202e}עולם\u{202c} مرحبا",
        "\u{301}lone combining",
        "é e\u{301} Å Å ﬁ", // Composed, decomposed and compatibility forms must not be unified.
        "\u{feff}with byte order mark \u{fffe} \u{ffff} \u{fffd}",
        "private \u{e000}\u{f8ff}\u{f0000} last \u{10ffff}",
        "quotes ' '' \" ` ; -- /* */ %s %_ $1 ?1 :a @b \\ \\\\",
        "Robert'); DROP TABLE chat_sessions;--",
        "escapes \\0 \\u0000 \\x00 \u{2400} &#0; %00",
        r#"{"json": ["\u0000", "\ud83d\ude42"]}"#,
        "NULL null None nil true 0 -0 1e5 0x10",
        "trailing space ",
        "日本語のテキスト 中文 한국어 ไทย",
    ];
    samples.into_iter().map(str::to_owned).chain(["x".repeat(10 * 1024), "🙂\0".repeat(2_048)]).collect()
}

pub async fn turns_hold_any_text(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.create().await;
    let mut turns = Vec::new();
    for (text, other) in samples().iter().zip(samples().iter().rev()) {
        let mut plain = f.turn(text);
        plain.assistant = Message::new(other);
        let mut full = f.tool_turn(text, true);
        if let Some(Item::Tool(tool)) = full.items.first_mut() {
            (tool.call_id, tool.name) = (text.clone(), other.clone());
            tool.input = Json::from_value(&serde_json::Value::String(text.clone()));
            tool.output = Json::from_value(&serde_json::json!({ text.as_str(): [other] }));
        }
        full.items.push(Item::Reasoning(text.clone()));
        full.items.push(Item::Message(Message::new(other)));
        full.model = Some(text.clone());
        full.finish_reason = Some(other.clone());
        full.error = Some(TurnError { code: other.clone(), message: text.clone() });
        turns.extend([plain, full]);
    }
    f.write(append(&id, turns.clone())).await;
    let kept: Vec<_> = f.kept(&id).await.into_iter().map(|kept| kept.turn).collect();
    assert_eq!(kept, turns);
}

pub async fn names_hold_any_text(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let texts = samples();
    for (text, other) in texts.iter().zip(texts.iter().rev()) {
        let id = f.session_id();
        let new = NewSession {
            project_id: Some(text.clone()),
            branch_name: other.clone(),
            title: Some(text.clone()),
            tags: vec![text.clone(), other.clone(), text.clone()],
            metadata: Json::from_value(&serde_json::json!({ text.as_str(): other })),
            ..NewSession::root(id.clone())
        };
        let origin = Origin::Empty { legacy: Vec::new() };
        f.write(Write::CreateSession { session: new.clone(), origin, created_at: None }).await;
        let session = f.get(&id).await;
        assert_eq!((&session.project_id, &session.branch_name), (&new.project_id, &new.branch_name));
        assert_eq!((&session.title, &session.tags), (&new.title, &new.tags));
        assert_eq!(session.metadata, new.metadata);
        let filter = SessionFilter { project_id: Some(text.clone()), branch_name: Some(other.clone()) };
        let found = f.store.list_sessions(&filter, &PageRequest::first(9)).await.unwrap();
        assert_eq!(
            (found.sessions, found.total),
            (vec![session], 1),
            "found by its names {text:?}, {other:?}"
        );
        let patch = SessionPatch {
            project_id: Some(Some(other.clone())),
            branch_name: Some(text.clone()),
            title: Some(Some(other.clone())),
            tags: Some(vec![other.clone()]),
            ..SessionPatch::default()
        };
        f.write(Write::PatchSession { session: id.clone(), patch }).await;
        let session = f.get(&id).await;
        assert_eq!((session.project_id.as_ref(), &session.branch_name), (Some(other), text));
        assert_eq!(
            (session.title.as_ref(), session.tags.as_slice()),
            (Some(other), std::slice::from_ref(other))
        );
        f.delete(&id).await;
    }
}

pub async fn checkpoints_crystals_and_signals_hold_any_text(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let at = f.kept(&id).await[0].at;
    for text in samples() {
        let checkpoint = f.name_place(&id, &text).await;
        assert_eq!(f.checkpoint(&id, &checkpoint).await.name.as_ref(), Some(&text));
        let crystal = Crystal {
            session: id.clone(),
            title: text.clone(),
            summary: text.clone(),
            key_decisions: vec![text.clone(), String::new()],
            artifacts: vec![text.clone()],
            final_evidence: Json::from_value(&serde_json::json!({ "text": text })),
            final_turn_count: 1,
            created_at: f.now(),
        };
        f.write(Write::SaveCrystal(crystal.clone())).await;
        assert_eq!(f.store.find_crystal(&id).await.unwrap(), Some(crystal));
        let signal = Signal { kind: SignalKind::Positive, comment: Some(text), created_at: f.now() };
        f.write(Write::AddSignal { at, signal: signal.clone() }).await;
        assert_eq!(f.kept(&id).await[0].signals.last(), Some(&signal));
    }
}

pub async fn runs_and_keys_hold_any_text(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(0).await;
    for (number, text) in samples().into_iter().enumerate() {
        let version = u64::try_from(number).unwrap_or_default() + 1;
        let run = Run { user: Message::new(&text), model: Some(text.clone()), version, ..f.run(&id, "") };
        let mut key = f.key(Some(&id), &text.chars().take(60).collect::<String>(), &text);
        key.route = format!("{number} {}", text.chars().take(60).collect::<String>());
        let begin = |f: &Fixture| {
            let write = Write::BeginRun { run: run.clone(), lease_for: LONG_LEASE };
            f.change().once(Some(key.clone())).write(write)
        };
        assert_eq!(f.commit(begin(&f)).await.result, text);
        assert_eq!(f.store.find_run(&id).await.unwrap(), Some(run.clone()));
        let replay = f.commit(begin(&f)).await;
        assert_eq!((replay.replayed, &replay.result), (true, &text));
        let pieces = vec![
            Piece { seq: 0, body: PieceBody::Text(text.clone()) },
            Piece { seq: 1, body: PieceBody::Reasoning(text.clone()) },
        ];
        f.write(Write::AppendPieces { run: run.id.clone(), pieces: pieces.clone() }).await;
        assert_eq!(f.store.list_pieces(&run.id, 0).await.unwrap(), pieces);
        f.write(Write::FinishRun { run: run.id, turn: Box::new(f.turn(&text)), shape: RunShape::default() })
            .await;
    }
}

pub async fn ids_of_any_form_are_kept_and_told_apart(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let long = "i".repeat(MAX_ID_BYTES);
    let mut forms: Vec<String> = samples().into_iter().filter(|text| !text.is_empty()).collect();
    forms.extend(
        ["7", "A", "a", "a ", " a", "a\0", "a/b?c#d", "550e8400-e29b-41d4-a716-446655440000"]
            .map(String::from),
    );
    forms.extend([long.clone(), format!("{}j", &long[1..])]);
    for form in &forms {
        let id = SessionId::parse(form).unwrap();
        let session = NewSession { parent_id: Some(id.clone()), ..NewSession::root(id.clone()) };
        let origin = Origin::Empty { legacy: Vec::new() };
        f.write(Write::CreateSession { session, origin, created_at: None }).await;
        let mut turn = f.turn(form);
        turn.id = TurnId::parse(form).unwrap();
        f.write(append(&id, vec![turn])).await;
        let checkpoint = CheckpointId::parse(form).unwrap();
        let cut: Cut = f.get(&id).await.cut;
        let create = Write::CreateCheckpoint { id: checkpoint, session: id.clone(), name: None, cut };
        f.write(create).await;
        let lease = Lease { owner: InstanceId::parse(form).unwrap(), ..f.lease() };
        let run = Run { id: RunId::parse(form).unwrap(), lease, ..f.run(&id, form) };
        f.write(Write::BeginRun { run, lease_for: LONG_LEASE }).await;
    }
    for form in &forms {
        let id = SessionId::parse(form).unwrap();
        let thread = f.thread(&id).await;
        assert_eq!((&thread.session.id, &thread.session.family), (&id, &id));
        assert_eq!(thread.session.parent_id.as_ref(), Some(&id));
        assert_eq!(thread.turns.len(), 1);
        assert_eq!(
            (thread.turns[0].turn.id.as_str(), &thread.turns[0].turn.user.content),
            (form.as_str(), form)
        );
        assert_eq!(f.checkpoint(&id, &CheckpointId::parse(form).unwrap()).await.session, id);
        let run = f.store.find_run(&id).await.unwrap().unwrap();
        assert_eq!((run.id.as_str(), run.lease.owner.as_str()), (form.as_str(), form.as_str()));
        let dead = f.store.list_stale_runs(&[run.lease.owner], 9).await.unwrap();
        assert_eq!(dead.len(), 1, "an owner {form:?} is told from the others");
        assert_eq!(f.store.list_family(&id).await.unwrap().len(), 1);
    }
    assert_eq!(f.stats().await.sessions, u64::try_from(forms.len()).unwrap());
}

pub async fn a_message_of_four_mebibytes_is_a_message(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.create().await;
    let size = 4 * 1024 * 1024;
    let mut turn = f.turn(&"🙂".repeat(size / 4));
    turn.assistant = Message::new("\0".repeat(size));
    f.write(append(&id, vec![turn.clone(), f.turn("after")])).await;
    let kept = f.kept(&id).await;
    assert!(kept[0].turn == turn, "4 MiB either way come back");
    assert_eq!(kept[1].turn.user.content, "after");
    assert_eq!(f.get(&id).await.totals, turn.measures() + kept[1].turn.measures());
}

pub async fn json_comes_back_as_it_was_written(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for text in [
        "{}",
        r#"{"b": 1, "a": 2, "b": 3}"#,
        r#"{"n": [1e400, -0, 1.50, 123456789012345678901234567890]}"#,
        r#"{"s": "\u0041\ud83d\ude42 \ud800 \u0000 \/"}"#,
        "{\"spaced\" :\t[ 1 ,\n 2 ] }",
    ] {
        let id = f.session_id();
        let metadata = json(text);
        let session = NewSession { metadata: metadata.clone(), ..NewSession::root(id.clone()) };
        let origin = Origin::Empty { legacy: Vec::new() };
        f.write(Write::CreateSession { session, origin, created_at: None }).await;
        assert_eq!(f.get(&id).await.metadata, metadata);
        let mut turn = f.tool_turn("t", true);
        turn.usage = Some(metadata.clone());
        turn.items.push(Item::Other(metadata.clone()));
        f.write(append(&id, vec![turn.clone()])).await;
        assert_eq!(f.kept(&id).await[0].turn, turn);
    }
}
