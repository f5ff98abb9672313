//! The providers' languages: what was asked, and how each step of an answer is said.
//!
//! Not here: the connection.

mod anthropic;
mod asked;
mod gemini;
mod ollama;
mod openai;

use serde_json::{Value, json};

use super::answer::{Step, Tokens};
pub(super) use asked::{Asked, Dialect};

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    text: String,
    reasoning: String,
    /// Name, id and arguments of each call.
    calls: Vec<(String, String, String)>,
    /// Where the API numbers the parts of an answer: how many there were.
    n_blocks: usize,
    /// The kind of the part that is open.
    open_block: Option<&'static str>,
    /// A signature for what comes next.
    signature: Option<String>,
    is_finished: bool,
    reason: Option<String>,
    usage: Option<Tokens>,
}

impl Said {
    /// What it cost, or else a count of words.
    fn usage(&self, asked: &Asked) -> Tokens {
        let count = |text: &str| u64::try_from(text.split_whitespace().count()).unwrap_or(u64::MAX);
        self.usage.unwrap_or_else(|| Tokens {
            prompt: count(&asked.last_user),
            completion: count(&self.text) + count(&self.reasoning),
        })
    }

    /// Why it ended: what the script says, or the words for a call and for an end.
    fn reason(&self, for_calls: &str, for_end: &str) -> String {
        let usual = if self.calls.is_empty() { for_end } else { for_calls };
        self.reason.clone().unwrap_or_else(|| usual.to_owned())
    }
}

/// Says an answer in one of the languages.
pub(super) struct Speaker<'a> {
    asked: &'a Asked,
    said: Said,
}

impl<'a> Speaker<'a> {
    pub(super) fn new(asked: &'a Asked) -> Self {
        Self { asked, said: Said::default() }
    }

    /// What comes before all else.
    pub(super) fn begin(&mut self) -> String {
        match self.asked.dialect {
            Dialect::OpenAi => openai::begin(self.asked),
            Dialect::Anthropic => anthropic::begin(self.asked),
            Dialect::Gemini | Dialect::Ollama => String::new(),
        }
    }

    /// One step, as it is said while the answer is streamed. Pauses and bytes are not said.
    pub(super) fn say(&mut self, step: &Step) -> String {
        self.gather(step);
        let said = &mut self.said;
        match self.asked.dialect {
            Dialect::OpenAi => openai::say(self.asked, said, step),
            Dialect::Anthropic => anthropic::say(self.asked, said, step),
            Dialect::Gemini => gemini::say(self.asked, said, step),
            Dialect::Ollama => ollama::say(self.asked, said, step),
        }
    }

    /// What comes after all else, and the usual finish if there was none.
    pub(super) fn end(&mut self) -> String {
        let mut text = String::new();
        if !self.said.is_finished {
            text = self.say(&Step::Finish { reason: None, usage: None });
        }
        match self.asked.dialect {
            Dialect::OpenAi => text + "data: [DONE]\n\n",
            Dialect::Anthropic => text + &anthropic::end(),
            Dialect::Gemini | Dialect::Ollama => text,
        }
    }

    /// Notes a step of an answer that is given as a whole.
    pub(super) fn gather(&mut self, step: &Step) {
        match step {
            Step::Text(text) => self.said.text.push_str(text),
            Step::Reasoning(text) => self.said.reasoning.push_str(text),
            Step::Call { id, name, arguments } => {
                self.said.calls.push((name.clone(), id.clone(), arguments.concat()));
            }
            Step::Finish { reason, usage } => {
                self.said.is_finished = true;
                self.said.reason.clone_from(reason);
                self.said.usage = *usage;
            }
            _ => {}
        }
    }

    /// The answer as a whole.
    pub(super) fn whole(&self) -> Value {
        match self.asked.dialect {
            Dialect::OpenAi => openai::whole(self.asked, &self.said),
            Dialect::Anthropic => anthropic::whole(self.asked, &self.said),
            Dialect::Gemini => gemini::whole(self.asked, &self.said),
            Dialect::Ollama => ollama::whole(self.asked, &self.said),
        }
    }
}

/// The arguments as a JSON value; a string if they are no JSON.
fn arguments_of(text: &str) -> Value {
    if text.is_empty() {
        return json!({});
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(dialect: Dialect) -> Asked {
        Asked {
            dialect,
            model: "m".to_owned(),
            last_user: "hi there".to_owned(),
            tool_results: Vec::new(),
            n_rounds: 0,
            is_streaming: true,
            wants_usage: true,
        }
    }

    #[test]
    fn each_language_says_text_calls_and_an_end() {
        let steps = [
            Step::Reasoning("hm".into()),
            Step::Text("yes".into()),
            Step::Call {
                id: "c".into(),
                name: "look".into(),
                arguments: vec![r#"{"a""#.into(), ":1}".into()],
            },
        ];
        for (dialect, parts) in [
            (Dialect::OpenAi, [r#""reasoning_content":"hm""#, r#""content":"yes""#, "tool_calls", "[DONE]"]),
            (Dialect::Anthropic, ["thinking_delta", r#""text":"yes""#, "input_json_delta", "message_stop"]),
            (Dialect::Gemini, [r#""thought":true"#, r#""text":"yes""#, "functionCall", "STOP"]),
            (Dialect::Ollama, [r#""thinking":"hm""#, r#""content":"yes""#, "tool_calls", r#""done":true"#]),
        ] {
            let asked = asked(dialect);
            let mut speaker = Speaker::new(&asked);
            let mut text = speaker.begin();
            for step in &steps {
                text += &speaker.say(step);
            }
            text += &speaker.end();
            for part in parts {
                assert!(text.contains(part), "{dialect:?}: {part} in {text}");
            }
            let whole = speaker.whole().to_string();
            assert!(whole.contains("yes") && whole.contains("look"), "{dialect:?}: {whole}");
        }
    }
}
