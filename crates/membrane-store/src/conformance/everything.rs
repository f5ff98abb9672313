//! A keep with one of everything, for what has to take all of it along.

use std::sync::Arc;

use membrane_core::crystal::Crystal;
use membrane_core::evidence::LegacySet;
use membrane_core::ids::SequentialIds;
use membrane_core::session::SessionPatch;
use membrane_core::time::Timestamp;
use membrane_core::turn::SignalKind;

use super::fixture::{Fixture, LONG_LEASE, append, create_root, json, text_pieces};
use crate::change::Past;
use crate::{OldRow, Write};

impl Fixture {
    /// Writes some of everything that a keep can hold, so that no table is empty. Its ids are other ones than those of a
    /// fixture that was there before.
    pub async fn fill_with_everything(&mut self) {
        self.ids = Arc::new(SequentialIds::starting_at(1_000_000));
        let id = self.session(3).await;
        self.say(&id, "a\0b\u{1}c").await;
        self.write(append(&id, vec![self.tool_turn("with a tool", false), self.tool_turn("another", true)]))
            .await;
        self.signal(&id, 1, SignalKind::Negative).await;
        let fork = self.fork(&id, 2).await;
        self.append(&fork, 2).await;
        self.merge(&id, &fork).await;
        self.name_place(&id, "here").await;
        self.rewind(&id, 3).await;
        let gone = self.fork(&id, 1).await;
        self.fork(&gone, 1).await;
        self.delete(&gone).await;
        let run = self.begin(&fork, LONG_LEASE).await;
        self.write(Write::AppendPieces { run: run.id, pieces: text_pieces(0, &["half ", "an answer\0"]) })
            .await;
        let key = self.key(None, "create-once", "created");
        let created = self.session_id();
        self.commit(self.change().once(Some(key)).write(create_root(&created))).await;
        let past = Past {
            is_merged: false,
            merged_into: None,
            patch: SessionPatch::default(),
            last_active: Timestamp::from_micros(-5),
            legacy: vec![LegacySet { origin: created.clone(), alpha: 2.5, beta: -0.0 }],
        };
        self.write(Write::SetPast { session: created.clone(), past }).await;
        let mut legacy = self.turn("old");
        legacy.is_legacy = true;
        self.write(append(&created, vec![legacy])).await;
        self.write(Write::KeepOldRow(OldRow {
            session: Some(created.to_string()),
            source: "chat_turns".to_owned(),
            row: "id 7".to_owned(),
            value: "\0".to_owned(),
            reason: "not JSON".to_owned(),
        }))
        .await;
        self.write(Write::SaveCrystal(Crystal {
            session: id,
            title: "t".to_owned(),
            summary: "s".to_owned(),
            key_decisions: vec!["d".to_owned()],
            artifacts: Vec::new(),
            final_evidence: json("{}"),
            final_turn_count: 3,
            created_at: self.now(),
        }))
        .await;
    }
}
