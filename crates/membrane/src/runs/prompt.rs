//! What a model is asked: the conversation as far as it fits, the tools that the session offers, and which model is to answer.

use std::ops::Range;

use membrane_core::ids::SessionId;
use membrane_core::json::Json;
use membrane_core::session::Session;
use membrane_core::tool::{ToolEffect, ToolSpec};
use membrane_core::turn::{Item, KeptTurn, Turn};
use membrane_responder::{ModelChoice, Prompt, ResponderError};
use membrane_store::StoreError;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::live::{Foreseen, LiveRun, body_bytes};
use crate::chat::Chat;
use crate::error::ChatError;

/// How many turns are loaded at once.
const PAGE: u64 = 64;

/// As in a turn's own measure.
const BYTES_PER_TOKEN: usize = 4;

/// Why there is no prompt.
pub(super) enum NoPrompt {
    /// The store does not give what it would be made of.
    Store(StoreError),
    /// What the session asks for makes no sense.
    Odd(ResponderError),
}

impl From<StoreError> for NoPrompt {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A tool as metadata has it: our form, or that of OpenAI's API, in which it is an object in `function`.
#[derive(Deserialize)]
struct ToolText<'a> {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default, borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(default)]
    effect: Option<String>,
    #[serde(default, borrow)]
    function: Option<Box<ToolText<'a>>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(default, borrow)]
    tools: Option<&'a RawValue>,
    #[serde(default)]
    model: Option<Value>,
}

impl Chat {
    /// The session whose conversation the model is to read, if it reads any.
    pub(super) async fn session_to_read(&self, id: &SessionId) -> Result<Option<Session>, ChatError> {
        if !self.responder().reads_history() {
            return Ok(None);
        }
        self.get_session(id).await.map(Some)
    }

    /// What a prompt is made of first, read before there is a run: only a head start, so that an error is nobody's.
    pub(super) async fn foresee(&self, session: Session) -> Option<Foreseen> {
        let turns = match session.turn_count() {
            0 => Vec::new(),
            to => self.store().load_turns(session.cut, first_page(to)).await.ok()?,
        };
        Some(Foreseen { session, turns })
    }

    /// The name of the model that would answer on a session.
    pub(super) fn model_on(&self, session: &Session) -> Option<String> {
        match self.model_choice(session) {
            Ok(Some(choice)) => self.responder().chosen_model(&choice),
            // What is odd is told when the model is asked.
            Ok(None) | Err(_) => self.responder().model(),
        }
    }

    /// What the model is asked on a run.
    pub(super) async fn prompt(&self, live: &LiveRun) -> Result<Prompt, NoPrompt> {
        let run = live.run();
        let transcript = live.transcript();
        let base = Prompt { steps: transcript.steps, ..Prompt::new(run.user.clone()) };
        if !self.responder().reads_history() {
            return Ok(base);
        }
        let missing = || StoreError::not_found(membrane_store::Subject::Session, &run.session);
        let (session, newest) = match live.take_foreseen() {
            Some(Foreseen { session, turns }) => (session, Some(turns)),
            None => (self.store().find_session(&run.session).await?.ok_or_else(missing)?, None),
        };
        Ok(Prompt {
            model: self.model_choice(&session).map_err(NoPrompt::Odd)?,
            tools: tools_of(&session.metadata).map_err(NoPrompt::Odd)?,
            history: self.history(live, newest).await?,
            ..base
        })
    }

    /// The newest turns before the run's that fit. Of a page of them it is known already what they are.
    async fn history(
        &self,
        live: &LiveRun,
        mut newest: Option<Vec<KeptTurn>>,
    ) -> Result<Vec<Turn>, StoreError> {
        let (id, own) = (&live.run().session, live.run().user.content.len());
        let said: usize = live.pieces_from(0).iter().map(|piece| body_bytes(&piece.body)).sum();
        let mut left = i64::try_from(self.run_settings().context_tokens).unwrap_or(i64::MAX);
        left = left.saturating_sub(tokens(own + said));
        let (mut newest_first, mut to) = (Vec::new(), live.turn_number());
        while to > 0 {
            let page = first_page(to);
            let from = page.start;
            let turns = match newest.take() {
                Some(turns) => turns,
                None => match self.store().load_thread(id, page).await? {
                    Some(thread) => thread.turns,
                    None => break,
                },
            };
            for kept in turns.into_iter().rev() {
                left = left.saturating_sub(weight(&kept.turn));
                if left < 0 {
                    newest_first.reverse();
                    return Ok(newest_first);
                }
                newest_first.push(kept.turn);
            }
            to = from;
        }
        newest_first.reverse();
        Ok(newest_first)
    }

    /// The model that the session, or else its project, asks for.
    fn model_choice(&self, session: &Session) -> Result<Option<ModelChoice>, ResponderError> {
        let own = serde_json::from_str::<Metadata<'_>>(session.metadata.as_str()).ok();
        match own.and_then(|metadata| metadata.model).unwrap_or(Value::Null) {
            Value::Null => {
                let project = session.project_id.as_ref();
                Ok(project.and_then(|project| self.shared.project_models.get(project)).cloned())
            }
            Value::String(name) => Ok(Some(ModelChoice { provider: None, name: Some(name) })),
            Value::Object(mut model) => {
                let mut text = |key: &str| match model.remove(key) {
                    None | Some(Value::Null) => Ok(None),
                    Some(Value::String(text)) => Ok(Some(text)),
                    Some(other) => Err(odd_model(&other)),
                };
                Ok(Some(ModelChoice { provider: text("provider")?, name: text("name")? }))
            }
            other => Err(odd_model(&other)),
        }
    }
}

/// The numbers of the turns right before this one that are loaded at once.
fn first_page(to: u64) -> Range<u64> {
    to.saturating_sub(PAGE)..to
}

/// What some text costs of a model's context, in tokens, roughly.
fn tokens(n_bytes: usize) -> i64 {
    i64::try_from(n_bytes / BYTES_PER_TOKEN).unwrap_or(i64::MAX)
}

/// What a turn costs of a model's context: what was said, and what its tools were given and gave.
fn weight(turn: &Turn) -> i64 {
    let of_tools = turn.items.iter().map(|item| match item {
        Item::Tool(tool) => {
            let error = tool.error.as_ref().map_or(0, String::len);
            tool.input.as_str().len() + tool.output.as_str().len() + error
        }
        Item::Reasoning(_) | Item::Message(_) | Item::Other(_) => 0,
    });
    turn.measures().tokens.saturating_add(tokens(of_tools.sum()))
}

fn odd_model(value: &Value) -> ResponderError {
    let shown: String = value.to_string().chars().take(100).collect();
    ResponderError {
        code: "invalid_model",
        message: format!(
            "the session's metadata names {shown} as its model; give a name, or {{\"provider\": …, \"name\": …}}"
        ),
        is_cut: false,
    }
}

/// What the tool of this name does, by what the session says of it. A write if it says nothing.
pub(super) fn effect_of(tools: &[ToolSpec], name: &str) -> ToolEffect {
    tools.iter().find(|tool| tool.name == name).map_or(ToolEffect::Write, |tool| tool.effect)
}

/// The tools that a session's metadata offers, in `tools`.
pub(super) fn tools_of(metadata: &Json) -> Result<Vec<ToolSpec>, ResponderError> {
    let odd = |problem: String| ResponderError {
        code: "invalid_tools",
        message: format!(
            "the session's metadata lists tools that make no sense: {problem}; give a list of \
             {{\"name\", \"description\", \"parameters\", \"effect\"}}"
        ),
        is_cut: false,
    };
    let Ok(Metadata { tools: Some(tools), .. }) = serde_json::from_str(metadata.as_str()) else {
        return Ok(Vec::new());
    };
    let tools: Option<Vec<ToolText<'_>>> =
        serde_json::from_str(tools.get()).map_err(|error| odd(error.to_string()))?;
    let mut specs = Vec::new();
    for (index, mut tool) in tools.unwrap_or_default().into_iter().enumerate() {
        let outer_effect = tool.effect.take();
        if let Some(function) = tool.function {
            tool = *function;
        }
        let name = tool.name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| odd(format!("number {index} has no name")))?;
        let effect = tool.effect.or(outer_effect);
        let effect = effect.as_deref().map_or(Ok(ToolEffect::Write), ToolEffect::parse);
        let parameters = tool.parameters.map(|schema| Json::parse("parameters", schema.get())).transpose();
        specs.push(ToolSpec {
            name,
            description: tool.description,
            parameters: parameters.map_err(|error| odd(error.to_string()))?,
            effect: effect.map_err(|error| odd(error.to_string()))?,
        });
    }
    Ok(specs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(metadata: &str) -> Result<Vec<ToolSpec>, String> {
        tools_of(&Json::parse("metadata", metadata).unwrap()).map_err(|error| error.message)
    }

    #[test]
    fn tools_are_read_in_our_form_and_in_openais() {
        let found = tools(
            r#"{"tools": [{"name": "look", "effect": "read", "parameters": {"type": "object"}},
                {"type": "function", "effect": "destructive", "function": {"name": "wipe", "description": "all"}},
                {"name": "put"}]}"#,
        )
        .unwrap();
        let names: Vec<_> = found.iter().map(|tool| (tool.name.as_str(), tool.effect)).collect();
        assert_eq!(
            names,
            [("look", ToolEffect::Read), ("wipe", ToolEffect::Destructive), ("put", ToolEffect::Write)]
        );
        assert_eq!(found[0].parameters.as_ref().unwrap().as_str(), r#"{"type": "object"}"#);
        assert_eq!(found[1].description.as_deref(), Some("all"));
        assert_eq!(effect_of(&found, "wipe"), ToolEffect::Destructive);
        assert_eq!(effect_of(&found, "unknown"), ToolEffect::Write);
    }

    #[test]
    fn metadata_without_tools_has_none_and_odd_ones_are_named() {
        for none in ["{}", r#"{"tools": null}"#, r#"{"tools": []}"#, r#"{"other": 1}"#] {
            assert_eq!(tools(none).unwrap(), []);
        }
        for odd in [
            r#"{"tools": 5}"#,
            r#"{"tools": [{"description": "no name"}]}"#,
            r#"{"tools": [{"name": "a", "effect": "maybe"}]}"#,
        ] {
            assert!(tools(odd).unwrap_err().contains("give a list of"), "{odd}");
        }
    }
}
