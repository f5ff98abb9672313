//! Documents as the old objects that a source gives.

use membrane_store::kgents::{
    Fields, Finding, Oddity, OldCheckpoint, OldCrystal, OldRow, OldSession, OldTurn, Place, fields, json,
};
use serde_json::{Map, Value};

use super::row::Kind;

/// A document, and what stands beside it in its row.
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) object: Map<String, Value>,
    pub(super) repairs: json::Repairs,
    /// The document's text, if something of it had to be replaced.
    pub(super) original: Option<String>,
    /// Metadata beyond the schema's right name.
    pub(super) odd_metadata: Option<String>,
    pub(super) causal_parent: Option<String>,
}

/// An old object, and what of its row has no place in it.
pub(super) type Read<T> = (T, Vec<(OldRow, Finding)>);

impl Row {
    /// The fields, without those that every document has.
    fn open(self) -> (Place, String, Fields) {
        let session = self.object.get("session_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut found = Fields::new(self.place.clone(), Some(session.clone()), self.object);
        found.ignore(&["session_id", "_schema"]);
        if let Some(original) = &self.original {
            found.note_repairs("content", original, self.repairs);
        }
        if let Some(version) = found.take("_version").filter(|version| version.as_i64() != Some(1)) {
            let version = version.to_string();
            let what = format!("_version is {}, and 1 is known; read as 1", fields::shown(&version));
            found.put_aside("_version", &version, Oddity::UnknownWord, what);
        }
        if let Some(metadata) = &self.odd_metadata {
            let what = format!(
                "metadata is {}, not the schema {} alone",
                fields::shown(metadata),
                self.kind.schema()
            );
            found.put_aside("metadata", metadata, Oddity::UnknownField, what);
        }
        if let Some(parent) = &self.causal_parent {
            let what = format!("causal_parent is {}, which nothing here needs", fields::shown(parent));
            found.put_aside("causal_parent", parent, Oddity::UnknownField, what);
        }
        (self.place, session, found)
    }

    pub(super) fn into_session(self) -> Read<OldSession> {
        let (place, id, mut found) = self.open();
        // It follows from the turns.
        found.ignore(&["context_size"]);
        let session = OldSession {
            place,
            id,
            project_id: found.text("project_id"),
            parent_id: found.text("parent_id"),
            fork_point: found.integer("fork_point"),
            branch_name: found.text("branch_name"),
            state: found.text("state"),
            turn_count: found.integer("turn_count"),
            evidence_json: found.json_text("evidence_json"),
            metadata_json: found.json_text("metadata_json"),
            is_merged: found.flag("is_merged"),
            merged_into: found.text("merged_into"),
            created_at: found.text("created_at"),
            last_active: found.text("last_active"),
        };
        (session, found.finish())
    }

    pub(super) fn into_turn(self) -> Read<OldTurn> {
        let (place, session, mut found) = self.open();
        let turn = OldTurn {
            place,
            turn_number: found.integer("turn_number"),
            user_message: found.words("user_message"),
            assistant_response: found.words("assistant_response"),
            user_linearity: found.text("user_linearity"),
            assistant_linearity: found.text("assistant_linearity"),
            tools_json: found.json_text("tools_json"),
            evidence_delta_json: found.json_text("evidence_delta_json"),
            confidence: found.number("confidence"),
            started_at: found.text("started_at"),
            completed_at: found.text("completed_at"),
            ..OldTurn::default()
        };
        let usual = turn.turn_number.map(|number| format!("{session}:{number}"));
        if let Some(id) = found.take("turn_id").filter(|id| id.as_str() != usual.as_deref()) {
            let id = id.to_string();
            let what =
                format!("turn_id is {}, not the session's id and the turn's number", fields::shown(&id));
            found.put_aside("turn_id", &id, Oddity::UnknownField, what);
        }
        (turn, found.finish())
    }

    pub(super) fn into_checkpoint(self) -> Read<OldCheckpoint> {
        let (place, _, mut found) = self.open();
        let checkpoint = OldCheckpoint {
            place,
            id: found.words("checkpoint_id"),
            turn_count: found.integer("turn_count"),
            context_json: found.json_text("context_json"),
            evidence_json: found.json_text("evidence_json"),
            created_at: found.text("created_at"),
        };
        (checkpoint, found.finish())
    }

    pub(super) fn into_crystal(self) -> Read<OldCrystal> {
        let (place, _, mut found) = self.open();
        let crystal = OldCrystal {
            place,
            title: found.words("title"),
            summary: found.words("summary"),
            key_decisions_json: found.json_text("key_decisions_json"),
            artifacts_json: found.json_text("artifacts_json"),
            final_evidence_json: found.json_text("final_evidence_json"),
            final_turn_count: found.integer("final_turn_count"),
            created_at: found.text("created_at"),
        };
        (crystal, found.finish())
    }
}
