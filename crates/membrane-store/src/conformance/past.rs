//! What old files knew: a session's past, values without a place, turns whose observations are in an old total.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]
use std::sync::Arc;

use membrane_core::evidence::{LegacySet, LegacyTotals};
use membrane_core::ids::SessionId;
use membrane_core::session::SessionPatch;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Signal, SignalKind};

use super::fixture::Fixture;
use crate::change::Past;
use crate::{OldRow, Store, Write};

fn old_row(session: Option<&str>, value: &str) -> OldRow {
    OldRow {
        session: session.map(str::to_owned),
        source: "chat_turns.tools_json".to_owned(),
        row: "id 7".to_owned(),
        value: value.to_owned(),
        reason: "not JSON".to_owned(),
    }
}

pub async fn a_session_gets_the_past_that_an_old_file_knew(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(3).await;
    let before = f.get(&id).await;
    let past = Past {
        is_merged: true,
        merged_into: Some(SessionId::from_stored("gone")),
        patch: SessionPatch {
            title: Some(Some("t".to_owned())),
            pinned: Some(true),
            ..SessionPatch::default()
        },
        last_active: Timestamp::from_micros(-5),
        legacy: vec![LegacySet { origin: id.clone(), alpha: 2.5, beta: 1.0 }],
    };
    f.write(Write::SetPast { session: id.clone(), past }).await;
    let session = f.get(&id).await;
    assert_eq!(
        (session.is_merged, session.merged_into.as_ref().map(SessionId::as_str)),
        (true, Some("gone"))
    );
    assert_eq!((session.title.as_deref(), session.pinned), (Some("t"), true));
    assert_eq!(session.last_active, Timestamp::from_micros(-5), "also back in time");
    assert_eq!(session.legacy, LegacyTotals { alpha: 2.5, beta: 1.0 });
    assert_eq!((session.version, session.cut), (before.version + 1, before.cut));
    assert!((session.evidence().alpha - 6.5).abs() < 1e-9);
    // Once more, with less.
    let past = Past {
        is_merged: false,
        merged_into: None,
        patch: SessionPatch::default(),
        last_active: Timestamp::from_micros(9),
        legacy: Vec::new(),
    };
    f.write(Write::SetPast { session: id.clone(), past }).await;
    let session = f.get(&id).await;
    assert_eq!((session.is_merged, session.merged_into), (false, None));
    assert_eq!(session.legacy, LegacyTotals::default());
    assert_eq!(session.last_active, Timestamp::from_micros(9));
}

pub async fn what_an_old_file_held_is_kept_and_goes_with_its_session(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    for row in [
        old_row(Some(id.as_str()), "a\0🙂"),
        old_row(Some("nobody"), "b"),
        old_row(None, "c"),
        old_row(Some(id.as_str()), "d"),
    ] {
        f.write(Write::KeepOldRow(row)).await;
    }
    let values = async |session: Option<&SessionId>, offset, limit| {
        let rows = f.store.list_old_rows(session, offset, limit).await.unwrap();
        rows.into_iter().map(|row| row.value).collect::<Vec<_>>()
    };
    assert_eq!(values(Some(&id), 0, 10).await, ["a\0🙂", "d"]);
    assert_eq!(values(Some(&id), 1, 10).await, ["d"]);
    assert_eq!(values(None, 0, 1).await, ["b"]);
    assert_eq!(values(None, 0, 10).await, ["b", "c"]);
    let rows = f.store.list_old_rows(None, 1, 1).await.unwrap();
    assert_eq!(rows, [old_row(None, "c")]);
    f.write(Write::DeleteSession { session: id.clone() }).await;
    assert_eq!(values(Some(&id), 0, 10).await, Vec::<String>::new());
    assert_eq!(values(None, 0, 10).await, ["b", "c"], "what no session holds stays");
}

pub async fn a_legacy_turn_observes_nothing_whatever_is_said_of_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(1).await;
    let turn = membrane_core::turn::Turn { is_legacy: true, ..f.turn("old") };
    f.write(Write::AppendTurns { session: id.clone(), turns: vec![turn.clone()] }).await;
    let thread = f.store.load_thread(&id, 0..9).await.unwrap().unwrap();
    assert_eq!(thread.turns[1].turn, turn);
    assert_eq!(thread.session.totals.succeeded, 1);
    let signal = Signal { kind: SignalKind::Negative, comment: None, created_at: Timestamp::from_micros(1) };
    f.write(Write::AddSignal { at: thread.turns[1].at, signal }).await;
    let session = f.get(&id).await;
    assert_eq!((session.totals.succeeded, session.flipped), (1, 0));
    assert!((session.evidence().alpha - 2.0).abs() < 1e-9);
}
