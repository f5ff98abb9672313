//! A run's pieces as stored text.

use membrane_core::error::ValueError;
use membrane_core::run::{Pause, PieceBody};
use membrane_core::time::Timestamp;
use membrane_core::tool::{ToolCall, ToolEffect};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::tools::{ConsentText, ToolText, consent, consent_text, tool, tool_text};
use super::{from_text, json, raw, to_text};

#[derive(Serialize, Deserialize)]
struct CallText {
    call_id: String,
    name: String,
    input: Box<RawValue>,
    effect: String,
    called_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PieceText {
    Text(String),
    Reasoning(String),
    Call(CallText),
    Pause {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Box<RawValue>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        carry: Option<Box<RawValue>>,
    },
    Consent {
        call_id: String,
        consent: ConsentText,
    },
    Tool(ToolText),
}

/// A run's piece as text.
///
/// # Errors
/// As [`super::encode_turn`].
pub fn encode_piece(body: &PieceBody) -> Result<String, ValueError> {
    let text = match body {
        PieceBody::Text(text) => PieceText::Text(text.clone()),
        PieceBody::Reasoning(text) => PieceText::Reasoning(text.clone()),
        PieceBody::Call(call) => PieceText::Call(CallText {
            call_id: call.call_id.clone(),
            name: call.name.clone(),
            input: raw(&call.input)?,
            effect: call.effect.as_str().to_owned(),
            called_at: call.called_at.to_string(),
        }),
        PieceBody::Pause(Pause { usage, carry }) => PieceText::Pause {
            usage: usage.as_ref().map(raw).transpose()?,
            carry: carry.as_ref().map(raw).transpose()?,
        },
        PieceBody::Consent { call_id, consent } => {
            PieceText::Consent { call_id: call_id.clone(), consent: consent_text(consent) }
        }
        PieceBody::Tool(tool) => PieceText::Tool(tool_text(tool)?),
    };
    to_text("piece", &text)
}

/// Reads a piece back.
///
/// # Errors
/// [`ValueError`] naming what cannot be read.
pub fn decode_piece(text: &str) -> Result<PieceBody, ValueError> {
    Ok(match from_text("piece", text)? {
        PieceText::Text(text) => PieceBody::Text(text),
        PieceText::Reasoning(text) => PieceBody::Reasoning(text),
        PieceText::Call(text) => PieceBody::Call(ToolCall {
            call_id: text.call_id,
            name: text.name,
            input: json(&text.input)?,
            effect: ToolEffect::parse(&text.effect)?,
            called_at: Timestamp::parse(&text.called_at)?,
        }),
        PieceText::Pause { usage, carry } => PieceBody::Pause(Pause {
            usage: usage.as_deref().map(json).transpose()?,
            carry: carry.as_deref().map(json).transpose()?,
        }),
        PieceText::Consent { call_id, consent: text } => {
            PieceBody::Consent { call_id, consent: consent(text)? }
        }
        PieceText::Tool(text) => PieceBody::Tool(tool(text)?),
    })
}

#[cfg(test)]
mod tests {
    use membrane_core::json::Json;
    use membrane_core::tool::{Consent, ConsentKind, ToolUse};

    use super::*;

    #[test]
    fn every_kind_of_piece_comes_back() {
        let json = |text| Json::parse("test", text).unwrap();
        let call = ToolCall {
            call_id: "c".into(),
            name: "write".into(),
            input: json(r#"{"n": 1.50}"#),
            effect: ToolEffect::Write,
            called_at: Timestamp::from_micros(7),
        };
        let consent = Consent {
            kind: ConsentKind::Denied,
            by: "ada 🙂".into(),
            reason: Some("not today".into()),
            at: Timestamp::from_micros(1_700_000_000_000_001),
        };
        for body in [
            PieceBody::Text("a\0🙂".into()),
            PieceBody::Reasoning(String::new()),
            PieceBody::Call(call),
            PieceBody::Pause(Pause::default()),
            PieceBody::Pause(Pause { usage: Some(json(r#"{"a": 1}"#)), carry: Some(json("[1e400]")) }),
            PieceBody::Consent { call_id: "c".into(), consent },
            PieceBody::Tool(ToolUse::new("c", "write", json("[]"))),
        ] {
            assert_eq!(decode_piece(&encode_piece(&body).unwrap()).unwrap(), body);
        }
    }
}
