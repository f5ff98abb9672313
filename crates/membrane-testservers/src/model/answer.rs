//! What the model says: a status, headers, and one step after the other.
//!
//! Not here: how a step looks on the wire ([`super::dialect`]).

use std::time::Duration;

use serde_json::Value;

/// Token counts of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// What it was asked.
    pub prompt: u64,
    /// What it said.
    pub completion: u64,
}

/// One thing that the model does while it answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It says this, in one event.
    Text(String),
    /// It thinks this aloud, in one event.
    Reasoning(String),
    /// The provider signs what was thought just now (Anthropic), or what comes next (Gemini). Others have no such thing.
    Signature(String),
    /// A thought that the provider shows in encrypted form alone (Anthropic).
    Redacted(String),
    /// It calls a tool.
    Call {
        /// The call's name; none, if empty.
        id: String,
        /// The tool.
        name: String,
        /// The text of what it is given, in the fragments in which it is sent where the API has fragments.
        arguments: Vec<String>,
    },
    /// It pauses.
    Wait(Duration),
    /// It pauses until [`super::ModelServer::release`].
    Hold,
    /// These bytes in the body, whatever they are.
    Raw(Vec<u8>),
    /// An error, as the API sends one in the middle of an answer, with this object in it.
    ErrorEvent(Value),
    /// It has come to its end.
    Finish {
        /// In the provider's word; the usual one if nothing is said.
        reason: Option<String>,
        /// What it cost; a count of words if nothing is said.
        usage: Option<Tokens>,
    },
    /// The body ends properly, without what the API has at the end of one.
    Close,
    /// The connection is closed in the middle of the body.
    Cut,
}

/// What the body is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Body {
    Steps(Vec<Step>),
    /// A text that is sent as it is, with its length.
    Whole(String),
    /// All that is sent, head included; then the connection is closed.
    Bytes(Vec<u8>),
}

/// An answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body,
    /// What happens before the head is sent.
    pub(super) before_head: Vec<Step>,
    /// Whether the body's end is told by the end of the connection alone.
    pub(super) is_unframed: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self::of_steps(Vec::new())
    }
}

impl Answer {
    /// These steps, with status 200. An answer that does not finish by itself is finished in the usual way.
    pub fn of_steps(steps: Vec<Step>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: Body::Steps(steps),
            before_head: Vec::new(),
            is_unframed: false,
        }
    }

    /// This text, word by word.
    pub fn text(text: &str) -> Self {
        Self::default().words(text)
    }

    /// No answer of a model: this status and this body.
    pub fn status(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: Body::Whole(body.into()), ..Self::default() }
    }

    /// All that is sent, head included; then the connection is closed.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self { body: Body::Bytes(bytes.into()), ..Self::default() }
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The head comes only after this step, which is a pause.
    #[must_use]
    pub fn before_head(mut self, step: Step) -> Self {
        self.before_head.push(step);
        self
    }

    /// The body's end is told by the end of the connection alone, as with HTTP/1.0.
    #[must_use]
    pub fn unframed(mut self) -> Self {
        self.is_unframed = true;
        self
    }

    /// And then this step. Nothing, if the answer is not made of steps.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        if let Body::Steps(steps) = &mut self.body {
            steps.push(step);
        }
        self
    }

    /// Says this in one event.
    #[must_use]
    pub fn say(self, text: &str) -> Self {
        self.step(Step::Text(text.to_owned()))
    }

    /// Says this word by word.
    #[must_use]
    pub fn words(self, text: &str) -> Self {
        text.split_inclusive(' ').fold(self, Self::say)
    }

    /// Says this in events of at most so many bytes each, or one character.
    #[must_use]
    pub fn pieces(self, text: &str, n_bytes: usize) -> Self {
        fragments(text, n_bytes).iter().fold(self, |answer, piece| answer.say(piece))
    }

    /// Thinks this aloud.
    #[must_use]
    pub fn think(self, text: &str) -> Self {
        self.step(Step::Reasoning(text.to_owned()))
    }

    /// Calls a tool, with its arguments in one fragment.
    #[must_use]
    pub fn call(self, id: &str, name: &str, arguments: &str) -> Self {
        self.call_in_fragments(id, name, arguments, usize::MAX)
    }

    /// Calls a tool, with its arguments in fragments of so many bytes.
    #[must_use]
    pub fn call_in_fragments(self, id: &str, name: &str, arguments: &str, n_bytes: usize) -> Self {
        let arguments = fragments(arguments, n_bytes);
        self.step(Step::Call { id: id.to_owned(), name: name.to_owned(), arguments })
    }

    /// Pauses.
    #[must_use]
    pub fn wait(self, duration: Duration) -> Self {
        self.step(Step::Wait(duration))
    }

    /// Pauses until it is released.
    #[must_use]
    pub fn hold(self) -> Self {
        self.step(Step::Hold)
    }

    /// Sends these bytes.
    #[must_use]
    pub fn raw(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Raw(bytes.into()))
    }

    /// Ends, for this reason and at this cost.
    #[must_use]
    pub fn finish(self, reason: &str, usage: Tokens) -> Self {
        self.step(Step::Finish { reason: Some(reason.to_owned()), usage: Some(usage) })
    }

    /// Closes the connection in the middle of the body.
    #[must_use]
    pub fn cut(self) -> Self {
        self.step(Step::Cut)
    }
}

/// The text in parts of at most so many bytes each, or one character.
fn fragments(text: &str, n_bytes: usize) -> Vec<String> {
    let mut fragments = Vec::new();
    let mut fragment = String::new();
    for char in text.chars() {
        if !fragment.is_empty() && fragment.len().saturating_add(char.len_utf8()) > n_bytes {
            fragments.push(std::mem::take(&mut fragment));
        }
        fragment.push(char);
    }
    if !fragment.is_empty() {
        fragments.push(fragment);
    }
    fragments
}

#[test]
fn fragments_have_the_size_and_keep_characters_whole() {
    assert_eq!(fragments("abcdef", 4), ["abcd", "ef"]);
    assert_eq!(fragments("a🙂b", 2), ["a", "🙂", "b"]);
    assert_eq!(fragments("", 4), [""; 0]);
    assert_eq!(fragments("abc", usize::MAX), ["abc"]);
}
