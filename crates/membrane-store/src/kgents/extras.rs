//! What V1 has no column for, so that nothing is lost on the way out and back: one more key, `membrane`, in JSON
//! objects that V1 has and whose readers pass over keys they do not know.
//!
//! | of a | in | its object |
//! | --- | --- | --- |
//! | session | `chat_sessions.evidence_json` | [`SessionExtras`] |
//! | turn | `chat_turns.evidence_delta_json` | [`TurnExtras`] |
//! | checkpoint | `chat_checkpoints.context_json` | [`CheckpointExtras`] |
//! | turn of a checkpoint | `metadata` of a turn in `context_json` | [`TurnExtras`] |
//!
//! `encode` gives the value of the key, [`insert`] puts it into an object, `decode` finds it in one. Keys of that value
//! that nobody knows are passed over, as later versions may write more.

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::error::ValueError;
use membrane_core::evidence::LegacySet;
use membrane_core::ids::{SessionId, TurnId};
use membrane_core::time::Timestamp;
use membrane_core::turn::{Linearity, Signal, SignalKind, TurnStatus};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The key.
pub const KEY: &str = "membrane";

const WHAT: &str = "object under the key \"membrane\"";

/// Of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnExtras {
    /// Its public name.
    pub id: TurnId,
    /// How it ended.
    pub status: TurnStatus,
    /// What is rare in it: the `extra_json` of [`crate::codec::encode_turn`].
    pub extra_json: Option<String>,
    /// What users said of it, oldest first.
    pub signals: Vec<Signal>,
    /// Whether its observation is part of an old total and not known by itself.
    pub is_legacy: bool,
    /// The tools that it used, the `tools_json` of [`crate::codec::encode_turn`]. Only of a checkpoint's turn:
    /// others have a column for it.
    pub tools_json: Option<String>,
    /// The answer's tag, if it is not that of the user's message. Only of a checkpoint's turn, as above.
    pub assistant_linearity: Option<Linearity>,
}

impl TurnExtras {
    /// Of a complete turn about which there is nothing else to say.
    pub fn plain(id: TurnId) -> Self {
        Self {
            id,
            status: TurnStatus::Complete,
            extra_json: None,
            signals: Vec::new(),
            is_legacy: false,
            tools_json: None,
            assistant_linearity: None,
        }
    }

    /// The value of the key.
    ///
    /// # Errors
    /// [`ValueError::NotJson`] if `extra_json` or `tools_json` is none.
    pub fn encode(&self) -> Result<String, ValueError> {
        to_text(&TurnText {
            id: self.id.as_str().to_owned(),
            status: (self.status != TurnStatus::Complete).then(|| self.status.as_str().to_owned()),
            extra: self.extra_json.as_deref().map(raw).transpose()?,
            signals: self.signals.iter().map(SignalText::of).collect(),
            legacy: self.is_legacy,
            tools: self.tools_json.as_deref().map(raw).transpose()?,
            assistant_linearity: self.assistant_linearity.map(|word| word.as_str().to_owned()),
        })
    }

    /// Finds it in an object; `None` if the object has none, or `json` is no object.
    ///
    /// # Errors
    /// [`ValueError`] when the object cannot be read, or holds something else under this key.
    pub fn decode(json: &str) -> Result<Option<Self>, ValueError> {
        let Some(text) = find::<TurnText>(json)? else { return Ok(None) };
        Ok(Some(Self {
            id: known(&text.id)?,
            status: text.status.as_deref().map_or(Ok(TurnStatus::Complete), TurnStatus::parse)?,
            extra_json: text.extra.map(|extra| extra.get().to_owned()),
            signals: text.signals.iter().map(SignalText::signal).collect::<Result<_, _>>()?,
            is_legacy: text.legacy,
            tools_json: text.tools.map(|tools| tools.get().to_owned()),
            assistant_linearity: text.assistant_linearity.as_deref().map(Linearity::parse).transpose()?,
        }))
    }
}

/// Of a session. The key is there in every session that Membrane wrote, even if its object is empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionExtras {
    /// A title for people.
    pub title: Option<String>,
    /// Labels, in the user's order.
    pub tags: Vec<String>,
    /// Never deleted by retention.
    pub pinned: bool,
    /// Out of the way.
    pub archived: bool,
    /// Readable and searchable, but over.
    pub trailing: bool,
    /// What it was made from, if V1's column could not say so because that is not in the file.
    pub parent_id: Option<SessionId>,
    /// The first ancestor of its family, if that is not itself.
    pub family: Option<SessionId>,
    /// What its history knows without knowing of which turn, ordered by origin.
    pub legacy: Vec<LegacySet>,
}

impl SessionExtras {
    /// The value of the key.
    ///
    /// # Errors
    /// [`ValueError::NotJson`] for a legacy set with a number that JSON cannot hold.
    pub fn encode(&self) -> Result<String, ValueError> {
        let id = |id: &Option<SessionId>| id.as_ref().map(|id| id.as_str().to_owned());
        to_text(&SessionText {
            title: self.title.clone(),
            tags: self.tags.clone(),
            pinned: self.pinned,
            archived: self.archived,
            trailing: self.trailing,
            parent_id: id(&self.parent_id),
            family: id(&self.family),
            legacy_sets: self.legacy.iter().map(LegacyText::of).collect::<Result<_, _>>()?,
        })
    }

    /// Finds it in an object; `None` if the object has none, or `json` is no object.
    ///
    /// # Errors
    /// [`ValueError`] when the object cannot be read, or holds something else under this key.
    pub fn decode(json: &str) -> Result<Option<Self>, ValueError> {
        let Some(text) = find::<SessionText>(json)? else { return Ok(None) };
        // As long as they are in the file: ids of old files have any form.
        let id = |id: Option<String>| id.as_deref().map(SessionId::from_stored);
        Ok(Some(Self {
            title: text.title,
            tags: text.tags,
            pinned: text.pinned,
            archived: text.archived,
            trailing: text.trailing,
            parent_id: id(text.parent_id),
            family: id(text.family),
            legacy: text.legacy_sets.iter().map(LegacyText::set).collect::<Result<_, _>>()?,
        }))
    }
}

/// Of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointExtras {
    /// What the user calls it.
    pub name: Option<String>,
    /// Why it is there.
    pub kind: CheckpointKind,
}

impl CheckpointExtras {
    /// The value of the key.
    ///
    /// # Errors
    /// Never for text; the signature is that of its siblings.
    pub fn encode(&self) -> Result<String, ValueError> {
        to_text(&CheckpointText { name: self.name.clone(), kind: self.kind.as_str().to_owned() })
    }

    /// Finds it in an object; `None` if the object has none, or `json` is no object.
    ///
    /// # Errors
    /// [`ValueError`] when the object cannot be read, or holds something else under this key.
    pub fn decode(json: &str) -> Result<Option<Self>, ValueError> {
        let Some(text) = find::<CheckpointText>(json)? else { return Ok(None) };
        Ok(Some(Self { name: text.name, kind: CheckpointKind::parse(&text.kind)? }))
    }
}

/// A JSON object's text with [`KEY`] added at its end. The object must not have that key.
pub fn insert(object: &str, value: &str) -> String {
    let object = object.trim_end();
    let body = object.strip_suffix('}').unwrap_or(object).trim_end();
    let comma = if body.ends_with('{') { "" } else { "," };
    format!("{body}{comma}\"{KEY}\":{value}}}")
}

#[derive(Serialize, Deserialize)]
struct TurnText {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extra: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signals: Vec<SignalText>,
    #[serde(default, skip_serializing_if = "is_false")]
    legacy: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tools: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assistant_linearity: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct SignalText {
    signal: String,
    comment: Option<String>,
    created_at: String,
}

impl SignalText {
    fn of(signal: &Signal) -> Self {
        Self {
            signal: signal.kind.as_str().to_owned(),
            comment: signal.comment.clone(),
            created_at: signal.created_at.to_string(),
        }
    }

    fn signal(&self) -> Result<Signal, ValueError> {
        Ok(Signal {
            kind: SignalKind::parse(&self.signal)?,
            comment: self.comment.clone(),
            created_at: Timestamp::parse(&self.created_at)?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct SessionText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pinned: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    archived: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    trailing: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    legacy_sets: Vec<LegacyText>,
}

/// The numbers as they are written: the JSON library may read a fraction one unit in its last place off.
#[derive(Serialize, Deserialize)]
struct LegacyText {
    origin: String,
    alpha: Box<RawValue>,
    beta: Box<RawValue>,
}

impl LegacyText {
    fn of(set: &LegacySet) -> Result<Self, ValueError> {
        // What is not finite has a text, but none that is JSON.
        let number = |value: f64| raw(&value.to_string());
        Ok(Self {
            origin: set.origin.as_str().to_owned(),
            alpha: number(set.alpha)?,
            beta: number(set.beta)?,
        })
    }

    fn set(&self) -> Result<LegacySet, ValueError> {
        let number = |raw: &RawValue| match raw.get().parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
            _ => Err(not_json(format!("{} is no count of observations", shorten(raw.get())))),
        };
        Ok(LegacySet {
            origin: SessionId::from_stored(&self.origin),
            alpha: number(&self.alpha)?,
            beta: number(&self.beta)?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct CheckpointText {
    #[serde(default)]
    name: Option<String>,
    kind: String,
}

#[derive(Deserialize)]
struct Enclosing<T> {
    membrane: Option<T>,
}

fn find<'a, T: Deserialize<'a>>(json: &'a str) -> Result<Option<T>, ValueError> {
    // A list would be read as the fields of an object.
    if !json.trim_start().starts_with('{') {
        return Ok(None);
    }
    match serde_json::from_str::<Enclosing<T>>(json) {
        Ok(object) => Ok(object.membrane),
        Err(error) => Err(not_json(error.to_string())),
    }
}

fn raw(text: &str) -> Result<Box<RawValue>, ValueError> {
    RawValue::from_string(text.to_owned()).map_err(|error| not_json(error.to_string()))
}

fn to_text(value: &impl Serialize) -> Result<String, ValueError> {
    serde_json::to_string(value).map_err(|error| not_json(error.to_string()))
}

fn not_json(problem: String) -> ValueError {
    ValueError::NotJson { what: WHAT, problem }
}

/// An id of any form but none.
fn known(id: &str) -> Result<TurnId, ValueError> {
    if id.is_empty() { Err(ValueError::Empty { what: "turn id" }) } else { Ok(TurnId::from_stored(id)) }
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn_back(extras: &TurnExtras) {
        let value = extras.encode().unwrap();
        for object in ["{}", "{ }", r#"{"tools_executed": 1, "x": {"membrane": 1}}"#] {
            assert_eq!(
                TurnExtras::decode(&insert(object, &value)).unwrap().as_ref(),
                Some(extras),
                "{value}"
            );
        }
    }

    #[test]
    fn a_plain_turn_says_its_id_alone() {
        let extras = TurnExtras::plain(TurnId::from_stored("turn-1\0🙂\""));
        assert_eq!(extras.encode().unwrap(), r#"{"id":"turn-1\u0000🙂\""}"#);
        turn_back(&extras);
    }

    #[test]
    fn everything_that_a_turn_can_say_comes_back() {
        let signal = |comment: Option<&str>| Signal {
            kind: SignalKind::Correction,
            comment: comment.map(str::to_owned),
            created_at: Timestamp::from_micros(-1),
        };
        let extras = TurnExtras {
            status: TurnStatus::Interrupted,
            extra_json: Some(r#"{"usage":{"b":1e400, "a":"\ud800"}}"#.to_owned()),
            signals: vec![signal(None), signal(Some("no\0"))],
            is_legacy: true,
            tools_json: Some(r#"[{"input":123456789012345678901234567890}]"#.to_owned()),
            assistant_linearity: Some(Linearity::Droppable),
            ..TurnExtras::plain(TurnId::from_stored("t"))
        };
        turn_back(&extras);
    }

    #[test]
    fn a_session_comes_back_and_says_nothing_if_there_is_nothing() {
        assert_eq!(SessionExtras::default().encode().unwrap(), "{}");
        let set =
            |origin: &str, alpha| LegacySet { origin: SessionId::from_stored(origin), alpha, beta: 0.1 };
        let extras = SessionExtras {
            title: Some("a \"title\"".to_owned()),
            tags: vec!["b".to_owned(), String::new()],
            pinned: true,
            archived: true,
            trailing: true,
            parent_id: Some(SessionId::from_stored("gone")),
            family: Some(SessionId::from_stored("root")),
            legacy: vec![set("a", 3.0), set("b", 5e-324), set("c", 1.797_693_134_862_315_7e308)],
        };
        for extras in [extras, SessionExtras::default()] {
            let object = insert(r#"{"id":"chat-evd-1"}"#, &extras.encode().unwrap());
            assert_eq!(SessionExtras::decode(&object).unwrap(), Some(extras));
        }
    }

    #[test]
    fn a_checkpoint_comes_back() {
        for name in [None, Some(String::new()), Some("before".to_owned())] {
            let extras = CheckpointExtras { name, kind: CheckpointKind::Rewind };
            let object = insert(r#"{"turns":[]}"#, &extras.encode().unwrap());
            assert_eq!(CheckpointExtras::decode(&object).unwrap(), Some(extras));
        }
    }

    #[test]
    fn what_has_no_such_key_has_no_extras() {
        for json in
            ["{}", r#"{"membrane":null}"#, r#"{"turns":[{"membrane":{}}]}"#, "[]", "null", "", "7", "[\"x\"]"]
        {
            assert_eq!(TurnExtras::decode(json).unwrap(), None, "{json}");
            assert_eq!(SessionExtras::decode(json).unwrap(), None, "{json}");
            assert_eq!(CheckpointExtras::decode(json).unwrap(), None, "{json}");
        }
    }

    #[test]
    fn keys_that_nobody_knows_are_passed_over_and_wrong_values_are_refused() {
        let known = r#"{"membrane":{"id":"t","later":[1],"kind":"named"}}"#;
        assert!(TurnExtras::decode(known).unwrap().is_some());
        assert!(SessionExtras::decode(known).unwrap().is_some());
        assert!(CheckpointExtras::decode(known).unwrap().is_some());
        for json in [
            "{",
            r#"{"membrane":"yes"}"#,
            r#"{"membrane":{}}"#,
            r#"{"membrane":{"id":""}}"#,
            r#"{"membrane":{"id":"t","status":"odd"}}"#,
            r#"{"membrane":{"id":"t","signals":[{"signal":"meh","comment":null,"created_at":"2026-01-02T03:04:05Z"}]}}"#,
        ] {
            assert!(TurnExtras::decode(json).is_err(), "{json}");
        }
        for number in ["-1", "1e999", "\"1\"", "null"] {
            let set =
                format!(r#"{{"membrane":{{"legacy_sets":[{{"origin":"o","alpha":{number},"beta":0}}]}}}}"#);
            assert!(SessionExtras::decode(&set).is_err(), "{number}");
        }
    }

    #[test]
    fn numbers_that_json_cannot_hold_are_refused() {
        let set = LegacySet { origin: SessionId::from_stored("o"), alpha: f64::NAN, beta: 0.0 };
        assert!(SessionExtras { legacy: vec![set], ..SessionExtras::default() }.encode().is_err());
    }
}
