//! Domain values as the text that databases hold: shared by the SQL backends, so that they cannot drift
//! apart. SQL itself is not shared and not here.

use std::fmt::Display;

use membrane_core::error::ValueError;
use membrane_core::evidence::Evidence;
use membrane_core::ids::{SessionId, evidence_id};
use membrane_core::json::Json;
use membrane_core::turn::{Item, Linearity, Message, Turn, TurnError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

mod pieces;
mod stamps;
mod tools;

pub use pieces::{PieceOrder, decode_pieces, encode_pieces};
pub use stamps::{decode_stamps, encode_stamps};
use tools::{ToolText, tool, tool_text};

/// What is rare in a turn, as one JSON object; columns hold the rest.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct TurnText {
    /// The tools that were used, a JSON list; `None` for none.
    pub tools_json: Option<String>,
    /// Everything else that a plain turn does not have; `None` for nothing.
    pub extra_json: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct ExtraText {
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<ItemText>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_mentions: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assistant_mentions: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    portal_emissions: Option<Box<RawValue>>,
}

#[derive(Serialize, Deserialize)]
struct ErrorText {
    code: String,
    message: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ItemText {
    Tool(ToolText),
    Reasoning(String),
    Message { content: String, mentions: Option<Box<RawValue>>, linearity: String },
    Other(Box<RawValue>),
}

/// A turn's rare parts as text.
///
/// # Errors
/// [`ValueError::NotJson`] for a value that JSON cannot hold, such as an infinite duration.
pub fn encode_turn(turn: &Turn) -> Result<TurnText, ValueError> {
    let tools = turn.tools().map(tool_text).collect::<Result<Vec<_>, _>>()?;
    let only_tools = tools.len() == turn.items.len();
    let items = turn.items.iter().map(item_text).collect::<Result<Vec<_>, _>>()?;
    let extra = ExtraText {
        items: (!only_tools).then_some(items),
        user_mentions: turn.user.mentions.as_ref().map(raw).transpose()?,
        assistant_mentions: turn.assistant.mentions.as_ref().map(raw).transpose()?,
        model: turn.model.clone(),
        usage: turn.usage.as_ref().map(raw).transpose()?,
        finish_reason: turn.finish_reason.clone(),
        error: turn
            .error
            .as_ref()
            .map(|error| ErrorText { code: error.code.clone(), message: error.message.clone() }),
        portal_emissions: turn.portal_emissions.as_ref().map(raw).transpose()?,
    };
    let is_plain = only_tools
        && extra.user_mentions.is_none()
        && extra.assistant_mentions.is_none()
        && extra.model.is_none()
        && extra.usage.is_none()
        && extra.finish_reason.is_none()
        && extra.error.is_none()
        && extra.portal_emissions.is_none();
    Ok(TurnText {
        tools_json: (!tools.is_empty()).then(|| to_text("tools", &tools)).transpose()?,
        extra_json: (!is_plain).then(|| to_text("turn", &extra)).transpose()?,
    })
}

/// Puts a turn's rare parts back into `turn`, which holds the columns.
///
/// # Errors
/// [`ValueError`] naming what cannot be read.
pub fn decode_turn(
    turn: &mut Turn,
    tools_json: Option<&str>,
    extra_json: Option<&str>,
) -> Result<(), ValueError> {
    let extra: ExtraText =
        extra_json.map(|text| from_text("extra_json", text)).transpose()?.unwrap_or_default();
    turn.items = match (extra.items, tools_json) {
        (Some(items), _) => items.into_iter().map(item).collect::<Result<_, _>>()?,
        (None, Some(text)) => {
            let tools: Vec<ToolText> = from_text("tools_json", text)?;
            tools.into_iter().map(|text| tool(text).map(Item::Tool)).collect::<Result<_, _>>()?
        }
        (None, None) => Vec::new(),
    };
    turn.user.mentions = extra.user_mentions.as_deref().map(json).transpose()?;
    turn.assistant.mentions = extra.assistant_mentions.as_deref().map(json).transpose()?;
    turn.model = extra.model;
    turn.usage = extra.usage.as_deref().map(json).transpose()?;
    turn.finish_reason = extra.finish_reason;
    turn.error = extra.error.map(|error| TurnError { code: error.code, message: error.message });
    turn.portal_emissions = extra.portal_emissions.as_deref().map(json).transpose()?;
    Ok(())
}

/// A list of strings, such as tags, as text.
///
/// # Errors
/// Never for text; the signature is that of its siblings.
pub fn encode_list(list: &[String]) -> Result<String, ValueError> {
    to_text("list", &list)
}

/// Reads a list of strings back; `None` (old rows) is the empty list.
///
/// # Errors
/// [`ValueError::NotJson`] when it is not a list of strings.
pub fn decode_list(what: &'static str, text: Option<&str>) -> Result<Vec<String>, ValueError> {
    text.map_or_else(|| Ok(Vec::new()), |text| from_text(what, text))
}

/// The evidence object that clients and SQL readers know: CONTRACT A7's keys.
///
/// Counts are written without a fraction as long as they are whole, as kgents does.
pub fn evidence_json(
    session: &SessionId,
    created_at: &str,
    updated_at: impl Display,
    evidence: &Evidence,
    turn_count: u64,
) -> String {
    format!(
        "{{\"id\":\"{}\",\"prior_alpha\":{},\"prior_beta\":{},\"confidence\":{},\"should_stop\":{},\
         \"tools_succeeded\":{},\"tools_failed\":{},\"ashc_equivalence\":null,\"created_at\":\"{}\",\
         \"updated_at\":\"{}\",\"metadata\":{{}}}}",
        evidence_id(session),
        evidence.alpha,
        evidence.beta,
        evidence.confidence(),
        evidence.should_stop(turn_count),
        evidence.tools_succeeded,
        evidence.tools_failed,
        created_at,
        updated_at,
    )
}

fn item_text(item: &Item) -> Result<ItemText, ValueError> {
    Ok(match item {
        Item::Tool(tool) => ItemText::Tool(tool_text(tool)?),
        Item::Reasoning(text) => ItemText::Reasoning(text.clone()),
        Item::Message(message) => ItemText::Message {
            content: message.content.clone(),
            mentions: message.mentions.as_ref().map(raw).transpose()?,
            linearity: message.linearity.as_str().to_owned(),
        },
        Item::Other(value) => ItemText::Other(raw(value)?),
    })
}

fn item(text: ItemText) -> Result<Item, ValueError> {
    Ok(match text {
        ItemText::Tool(text) => Item::Tool(tool(text)?),
        ItemText::Reasoning(text) => Item::Reasoning(text),
        ItemText::Message { content, mentions, linearity } => Item::Message(Message {
            content,
            mentions: mentions.as_deref().map(json).transpose()?,
            linearity: Linearity::parse(&linearity)?,
        }),
        ItemText::Other(value) => Item::Other(json(&value)?),
    })
}

fn raw(json: &Json) -> Result<Box<RawValue>, ValueError> {
    RawValue::from_string(json.as_str().to_owned()).map_err(|error| not_json("value", &error))
}

fn json(raw: &RawValue) -> Result<Json, ValueError> {
    Json::parse("value", raw.get())
}

fn to_text(what: &'static str, value: &impl Serialize) -> Result<String, ValueError> {
    serde_json::to_string(value).map_err(|error| not_json(what, &error))
}

fn from_text<'a, T: Deserialize<'a>>(what: &'static str, text: &'a str) -> Result<T, ValueError> {
    serde_json::from_str(text).map_err(|error| not_json(what, &error))
}

fn not_json(what: &'static str, error: &serde_json::Error) -> ValueError {
    ValueError::NotJson { what, problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use membrane_core::ids::{SequentialIds, TurnId};
    use membrane_core::time::Timestamp;
    use membrane_core::tool::{Consent, ConsentKind, ToolEffect, ToolUse};

    fn plain() -> Turn {
        Turn::plain(TurnId::generate(&SequentialIds::default()), "a", "b", Timestamp::from_micros(0))
    }

    fn back(turn: &Turn) -> Turn {
        let text = encode_turn(turn).unwrap();
        let mut back = plain();
        decode_turn(&mut back, text.tools_json.as_deref(), text.extra_json.as_deref()).unwrap();
        back
    }

    #[test]
    fn a_plain_turn_needs_no_extra_text() {
        assert_eq!(encode_turn(&plain()).unwrap(), TurnText::default());
        assert_eq!(back(&plain()), plain());
    }

    #[test]
    fn everything_rare_comes_back_in_order_and_unchanged() {
        let json = |text| Json::parse("test", text).unwrap();
        let tool = ToolUse {
            call_id: "c\0".into(),
            name: "read".into(),
            input: json(r#"{"b":1e400,"a":"\ud800"}"#),
            output: json("123456789012345678901234567890"),
            success: false,
            duration_ms: 12.5,
            effect: Some(ToolEffect::Destructive),
            error: Some("no\0".into()),
            consent: Some(Consent {
                kind: ConsentKind::Denied,
                by: "ada 🙂".into(),
                reason: None,
                at: Timestamp::from_micros(1),
            }),
        };
        let mut turn = plain();
        turn.items = vec![Item::Tool(tool.clone())];
        assert_eq!(encode_turn(&turn).unwrap().extra_json, None, "tools alone have their own column");
        assert_eq!(back(&turn), turn);
        turn.items = vec![
            Item::Reasoning("hm\0🙂".into()),
            Item::Tool(tool),
            Item::Message(Message { linearity: Linearity::Droppable, ..Message::new("so") }),
            Item::Other(json(r#"{"type":"x", "z":[1, 2]}"#)),
        ];
        turn.user.mentions = Some(json("[{}]"));
        turn.model = Some("m".into());
        turn.usage = Some(json(r#"{"in": 1}"#));
        turn.finish_reason = Some("stop".into());
        turn.error = Some(TurnError { code: "c".into(), message: "m".into() });
        turn.portal_emissions = Some(json("[]"));
        assert_eq!(back(&turn), turn);
    }

    #[test]
    fn evidence_is_json_with_whole_counts() {
        let id = SessionId::from_stored("s");
        let text = evidence_json(&id, "t", Timestamp::from_micros(0), &Evidence::NONE, 0);
        assert!(text.contains(r#""prior_alpha":1,"#), "{text}");
    }

    #[test]
    fn a_duration_that_json_cannot_hold_is_refused() {
        let mut turn = plain();
        turn.items =
            vec![Item::Tool(ToolUse { duration_ms: f64::INFINITY, ..ToolUse::new("", "t", Json::null()) })];
        assert!(encode_turn(&turn).is_err());
    }
}
