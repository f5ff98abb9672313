//! What a conversation becomes: messages in the provider's order, every call with its result.
//!
//! Not here: how a provider wants them written, which is genai's business.

use genai::chat::{
    ChatMessage, ChatOptions, ChatRequest, ContentPart, MessageContent, ReasoningEffort, ToolCall,
    ToolResponse,
};
use membrane_core::run::Step;
use membrane_core::tool::ToolUse;
use membrane_core::turn::Turn;
use serde_json::{Value, json};

use super::calls::CallIds;
use super::carry::Carry;
use super::kind::ProviderKind;
use super::results;
use super::target::Target;
use super::tools::Tools;
use crate::responder::Prompt;

/// What is sent, as often as it has to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) chat: ChatRequest,
    pub(super) options: ChatOptions,
}

impl Request {
    pub(super) fn of_prompt(prompt: Prompt, target: &Target, max_tokens: Option<u32>) -> Self {
        let mut writer = Writer { kind: target.kind, messages: Vec::new(), ids: CallIds::default() };
        for turn in &prompt.history {
            writer.turn(turn);
        }
        writer.user(prompt.message.content);
        for step in prompt.steps {
            writer.step(step);
        }
        let tools = Tools::of(target.kind, &prompt.tools);
        let mut chat = ChatRequest::from_messages(writer.messages);
        chat.tools = tools.tools;
        let mut options = options(target);
        options.max_tokens = max_tokens;
        options.extra_body = tools.body;
        Self { chat, options }
    }
}

fn options(target: &Target) -> ChatOptions {
    let Target { kind, name, .. } = target;
    let mut options = ChatOptions::default()
        .with_capture_usage(true)
        // Chat completions have their calls put together by ourselves.
        .with_capture_tool_calls(*kind != ProviderKind::OpenAi)
        .with_capture_reasoning_content(*kind != ProviderKind::Gemini || thinks_aloud(name));
    options.extra_headers.clone_from(&target.headers);
    // genai takes the end of such a name as a wish and cuts it off. A wish that it does not pass on keeps the name whole.
    if ReasoningEffort::from_model_name(name).0.is_some() {
        options.reasoning_effort = match kind {
            ProviderKind::OpenAi => Some(ReasoningEffort::Budget(0)),
            ProviderKind::Anthropic | ProviderKind::Gemini => Some(ReasoningEffort::Zero),
            ProviderKind::Ollama => None,
        };
    }
    options
}

/// Whether a model of Gemini's thinks unless told not to. The others refuse to be asked for their thoughts.
fn thinks_aloud(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    if ["lite", "image", "tts", "audio", "embedding"].iter().any(|word| name.contains(word)) {
        return false;
    }
    let Some(rest) = name.strip_prefix("gemini-") else { return false };
    let version = rest.split('-').next().unwrap_or_default();
    rest.ends_with("-latest") || version.parse::<f32>().is_ok_and(|version| version >= 2.5)
}

struct Writer {
    kind: ProviderKind,
    messages: Vec<ChatMessage>,
    ids: CallIds,
}

impl Writer {
    /// A finished turn; nothing of one to which there was no answer.
    fn turn(&mut self, turn: &Turn) {
        let (steps, rest) = Step::of_turn(turn);
        let rest = if steps.is_empty() { turn.assistant.content.as_str() } else { rest };
        if steps.is_empty() && is_blank(rest) {
            return;
        }
        self.user(turn.user.content.clone());
        for step in steps {
            self.step(step);
        }
        if !is_blank(rest) {
            self.messages.push(ChatMessage::assistant(rest));
        }
    }

    fn user(&mut self, text: String) {
        self.messages.push(ChatMessage::user(text));
    }

    /// What the model said and called, and what came of it.
    fn step(&mut self, step: Step) {
        let Carry { mut parts, calls: mut signatures, .. } = Carry::read(self.kind, step.carry.as_ref());
        signatures.resize(step.tools.len(), Vec::new());
        // Anthropic refuses a text of white space alone.
        if !is_blank(&step.text) {
            parts.push(ContentPart::Text(step.text));
        }
        let mut responses = Vec::new();
        for (tool, signatures) in step.tools.iter().zip(signatures) {
            let call_id = self.ids.name(self.kind, &tool.name, &tool.call_id);
            responses.push(ToolResponse::new(&call_id, results::text_of(tool)).with_fn_name(&tool.name));
            parts.push(ContentPart::ToolCall(ToolCall {
                call_id,
                fn_name: tool.name.clone(),
                fn_arguments: self.arguments(tool),
                thought_signatures: (!signatures.is_empty()).then_some(signatures),
            }));
        }
        if !parts.is_empty() {
            self.messages.push(ChatMessage::assistant(MessageContent::from_parts(parts)));
        }
        if self.kind == ProviderKind::Anthropic && !responses.is_empty() {
            // It wants the results of calls that were made together in one message.
            self.messages.push(ChatMessage::from(responses));
        } else {
            self.messages.extend(responses.into_iter().map(ChatMessage::from));
        }
    }

    /// What a tool was given. Only OpenAI takes anything else than an object.
    fn arguments(&self, tool: &ToolUse) -> Value {
        let input = serde_json::from_str(tool.input.as_str()).unwrap_or_default();
        match input {
            Value::Object(_) => input,
            input if self.kind == ProviderKind::OpenAi => input,
            Value::Null => json!({}),
            input => json!({"input": input}),
        }
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_models_that_think_are_asked_for_their_thoughts() {
        for name in [
            "gemini-2.5-pro",
            "gemini-2.5-flash-preview-05-20",
            "gemini-3-pro-preview",
            "gemini-flash-latest",
        ] {
            assert!(thinks_aloud(name), "{name}");
        }
        for name in
            ["gemini-2.0-flash", "gemini-2.5-flash-lite", "gemma-3-27b-it", "gemini-2.5-flash-image", "x"]
        {
            assert!(!thinks_aloud(name), "{name}");
        }
    }
}
