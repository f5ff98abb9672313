//! What a provider wants to be given back when an answer goes on after tool calls: signed thoughts, encrypted ones,
//! signatures of calls.
//!
//! It is opaque to everybody else, and given back to nobody else.

use genai::chat::{ContentPart, MessageContent};
use membrane_core::json::Json;
use serde::{Deserialize, Serialize};

use super::kind::ProviderKind;

/// What is kept with the part of an answer that ended with calls.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Carry {
    provider: String,
    /// What goes before the text, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<ContentPart>,
    /// The signatures of each call, by its place; as long as the last call that has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) calls: Vec<Vec<String>>,
}

impl Carry {
    /// What of an answer has to be kept; `None` if there is nothing.
    pub(super) fn of_content(kind: ProviderKind, content: Option<&MessageContent>) -> Option<Json> {
        let mut carry = Self { provider: kind.as_str().to_owned(), ..Self::default() };
        for part in content.into_iter().flatten() {
            match part {
                ContentPart::ThoughtSignature(_) | ContentPart::ReasoningContent(_) => {
                    carry.parts.push(part.clone());
                }
                ContentPart::Custom(custom) => {
                    let mut custom = custom.clone();
                    // It says whose it is, which is said already, and cannot be read back.
                    custom.model_iden = None;
                    carry.parts.push(ContentPart::Custom(custom));
                }
                // Others' signatures are among the parts; genai only repeats them here.
                ContentPart::ToolCall(call) if kind == ProviderKind::Gemini => {
                    carry.calls.push(call.thought_signatures.clone().unwrap_or_default());
                }
                _ => {}
            }
        }
        while carry.calls.pop_if(|signatures| signatures.is_empty()).is_some() {}
        let is_signed = |part: &ContentPart| !matches!(part, ContentPart::ReasoningContent(_));
        (carry.parts.iter().any(is_signed) || !carry.calls.is_empty()).then(|| carry.into_json()).flatten()
    }

    /// Thoughts that a server of OpenAI's language wants to see again.
    pub(super) fn of_reasoning(reasoning: String) -> Option<Json> {
        let parts = vec![ContentPart::ReasoningContent(reasoning)];
        let provider = ProviderKind::OpenAi.as_str().to_owned();
        Self { provider, parts, calls: Vec::new() }.into_json()
    }

    fn into_json(self) -> Option<Json> {
        serde_json::to_value(self).ok().map(|value| Json::from_value(&value))
    }

    /// What is to be given back to this provider; nothing if it came from another, or cannot be read any more.
    pub(super) fn read(kind: ProviderKind, carry: Option<&Json>) -> Self {
        let read: Option<Self> = carry.and_then(|carry| serde_json::from_str(carry.as_str()).ok());
        read.filter(|carry| carry.provider == kind.as_str()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use genai::ModelIden;
    use genai::adapter::AdapterKind;
    use genai::chat::{CustomPart, ToolCall};
    use serde_json::json;

    use super::*;

    fn call(signatures: &[&str]) -> ContentPart {
        let signatures: Vec<String> = signatures.iter().map(|text| (*text).to_owned()).collect();
        ContentPart::ToolCall(ToolCall {
            call_id: "c".to_owned(),
            fn_name: "look".to_owned(),
            fn_arguments: json!({}),
            thought_signatures: (!signatures.is_empty()).then_some(signatures),
        })
    }

    #[test]
    fn what_is_signed_comes_back_to_its_provider_and_to_no_other() {
        let redacted = CustomPart {
            model_iden: Some(ModelIden::new(AdapterKind::Anthropic, "claude \"x\"")),
            data: json!({"type": "redacted_thinking", "data": "abc"}),
        };
        let content = MessageContent::from_parts(vec![
            ContentPart::ThoughtSignature("sig".to_owned()),
            ContentPart::ReasoningContent("hm".to_owned()),
            ContentPart::Custom(redacted),
            ContentPart::Text("not this".to_owned()),
            call(&["sig"]),
        ]);
        let carry = Carry::of_content(ProviderKind::Anthropic, Some(&content)).unwrap();
        assert!(!carry.as_str().contains("not this") && !carry.as_str().contains("claude"), "{carry}");
        let read = Carry::read(ProviderKind::Anthropic, Some(&carry));
        assert_eq!((read.parts.len(), read.calls.len()), (3, 0));
        assert!(read.parts[2].as_custom().is_some_and(|custom| custom.data["data"] == "abc"));
        assert!(Carry::read(ProviderKind::Gemini, Some(&carry)).parts.is_empty());
    }

    #[test]
    fn signatures_of_calls_keep_their_places() {
        let content = MessageContent::from_parts(vec![call(&[]), call(&["b"]), call(&[])]);
        let carry = Carry::of_content(ProviderKind::Gemini, Some(&content)).unwrap();
        let read = Carry::read(ProviderKind::Gemini, Some(&carry));
        assert_eq!(read.calls, [Vec::new(), vec!["b".to_owned()]]);
    }

    #[test]
    fn an_answer_without_signatures_carries_nothing() {
        let thought = ContentPart::ReasoningContent("hm".to_owned());
        let content = MessageContent::from_parts(vec![thought, call(&[])]);
        assert_eq!(Carry::of_content(ProviderKind::Gemini, Some(&content)), None);
        assert_eq!(Carry::of_content(ProviderKind::Gemini, None), None);
        let odd = Json::parse("carry", "[1]").unwrap();
        assert!(Carry::read(ProviderKind::OpenAi, Some(&odd)).parts.is_empty());
    }
}
