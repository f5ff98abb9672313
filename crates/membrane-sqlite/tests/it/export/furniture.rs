//! A keep with a bit of everything in it.

use membrane_core::crystal::Crystal;
use membrane_core::evidence::LegacySet;
use membrane_core::ids::SessionId;
use membrane_core::merge;
use membrane_core::session::{NewSession, SessionPatch};
use membrane_core::time::Timestamp;
use membrane_core::turn::{Item, Linearity, Message, SignalKind, Turn, TurnError, TurnStatus};
use membrane_store::Write;
use membrane_store::change::Origin;
use membrane_store::conformance::fixture::{Fixture, append, json};

/// A keep with a bit of everything.
pub(super) async fn furnish(f: &Fixture) -> SessionId {
    let root = f.session(5).await;
    let old = f.session_id();
    let legacy = vec![LegacySet { origin: SessionId::from_stored("before"), alpha: 3.5, beta: 1.0 }];
    let create = Write::CreateSession {
        session: NewSession::root(old.clone()),
        origin: Origin::Empty { legacy },
        created_at: Some(Timestamp::from_micros(1_000_000)),
    };
    f.write(create).await;
    let mut interrupted = f.turn("cut off");
    interrupted.status = TurnStatus::Interrupted;
    interrupted.user.linearity = Linearity::Required;
    interrupted.assistant.linearity = Linearity::Droppable;
    let mut legacy = f.turn("legacy");
    legacy.is_legacy = true;
    let turns =
        vec![legacy, f.tool_turn("good", true), f.tool_turn("bad", false), interrupted, f.turn("last")];
    f.write(append(&root, turns.clone())).await;
    f.write(append(&old, turns)).await;
    let fork = f.fork(&root, 3).await;
    f.append(&fork, 2).await;
    let deep = f.fork(&fork, 4).await;
    f.say(&deep, "deep").await;
    f.fork(&deep, 0).await;
    for (session, number, kind) in [
        (&fork, 1, SignalKind::Negative),
        (&root, 6, SignalKind::Correction),
        (&deep, 4, SignalKind::Positive),
        (&old, 4, SignalKind::Negative),
        (&root, 0, SignalKind::Negative),
        (&root, 0, SignalKind::Positive),
    ] {
        f.signal(session, number, kind).await;
    }
    let merged = f.merge(&root, &deep).await;
    f.say(&merged, "after the merge").await;
    f.merge(&old, &merged).await;
    interleave(f, &root, &fork).await;
    f.name_place(&fork, "here \"and\" \0 now").await;
    f.write(append(&fork, vec![rich(f)])).await;
    f.write(append(&old, vec![rich(f)])).await;
    f.rewind(&fork, 2).await;
    f.say(&fork, "another way").await;
    f.rewind(&fork, 0).await;
    let crystal = Crystal {
        session: deep.clone(),
        title: "t".into(),
        summary: "s\0".into(),
        key_decisions: vec!["one \"two\"".into()],
        artifacts: Vec::new(),
        final_evidence: json(r#"{"prior_alpha":2}"#),
        final_turn_count: 2,
        created_at: Timestamp::from_micros(1),
    };
    f.write(Write::SaveCrystal(crystal)).await;
    let patch = SessionPatch {
        metadata: Some(json(r#"{"b": 1, "a":"\u0000 \ud800"}"#)),
        project_id: Some(Some("alpha".into())),
        ..SessionPatch::default()
    };
    f.write(Write::PatchSession { session: deep.clone(), patch }).await;
    deep
}

/// Merges two sessions by time, as the library does.
async fn interleave(f: &Fixture, left: &SessionId, right: &SessionId) -> SessionId {
    let (left, right) = (f.get(left).await, f.get(right).await);
    let marks = (f.store.list_marks(left.cut).await.unwrap(), f.store.list_marks(right.cut).await.unwrap());
    let spans = merge::interleave(&marks.0, &marks.1);
    let known = marks.0.into_iter().chain(marks.1).map(|mark| (mark.at, mark)).collect();
    let slices = merge::lay_out(&spans, &known).unwrap();
    let (id, change) = f.merge_into(&left, &right, Origin::Slices { slices, legacy: Vec::new() });
    f.commit(change).await;
    id
}

/// A turn with all that a turn may have.
pub(super) fn rich(f: &Fixture) -> Turn {
    let mut turn = f.tool_turn("rich \0 🙂 \"", false);
    if let Some(Item::Tool(tool)) = turn.items.first_mut() {
        tool.output = json(r#"[1e400, "\ud800", 123456789012345678901234567890]"#);
    }
    turn.items.insert(0, Item::Reasoning("hm\0".into()));
    turn.items.push(Item::Message(Message { linearity: Linearity::Required, ..Message::new("so") }));
    turn.items.push(Item::Other(json(r#"{"z":1e400, "a":"\ud800"}"#)));
    turn.user.mentions = Some(json(r#"[{"name":"a"}]"#));
    turn.assistant.mentions = Some(json("[]"));
    turn.assistant.linearity = Linearity::Droppable;
    turn.model = Some("m".into());
    turn.usage = Some(json(r#"{"in": 123456789012345678901234567890}"#));
    turn.finish_reason = Some("length".into());
    turn.status = TurnStatus::Failed;
    turn.error = Some(TurnError { code: "c".into(), message: "m".into() });
    turn.portal_emissions = Some(json("[1]"));
    turn
}
