//! A model that says what a test tells it to, when it tells it to; otherwise it is the echo.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures_util::stream;
use membrane::Responder;
use membrane::responder::{Echo, EchoOptions, Prompt, Reply, ReplyPart, ResponderError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Part = Result<ReplyPart, ResponderError>;

#[derive(Debug)]
pub(crate) struct Script {
    echo: Echo,
    prepared: Mutex<VecDeque<UnboundedReceiver<Part>>>,
}

impl Script {
    pub(crate) fn new(echo: EchoOptions) -> Self {
        Self { echo: Echo::new(echo), prepared: Mutex::default() }
    }

    /// Who gives the next answer in the echo's place.
    pub(crate) fn next_answer(&self) -> Speaker {
        let (parts, spoken) = unbounded_channel();
        self.prepared.lock().unwrap().push_back(spoken);
        Speaker { parts }
    }
}

impl Responder for Script {
    fn model(&self) -> Option<String> {
        self.echo.model()
    }

    fn respond(&self, prompt: Prompt) -> Reply {
        match self.prepared.lock().unwrap().pop_front() {
            None => self.echo.respond(prompt),
            Some(spoken) => Box::pin(stream::unfold(spoken, |mut spoken| async move {
                spoken.recv().await.map(|part| (part, spoken))
            })),
        }
    }
}

/// Gives one answer. Dropping it ends the answer well.
#[derive(Debug)]
pub(crate) struct Speaker {
    parts: UnboundedSender<Part>,
}

impl Speaker {
    pub(crate) fn say(&self, text: &str) {
        self.part(Ok(ReplyPart::Text(text.to_owned())));
    }

    pub(crate) fn think(&self, text: &str) {
        self.part(Ok(ReplyPart::Reasoning(text.to_owned())));
    }

    pub(crate) fn fail(self, code: &'static str, message: &str) {
        self.part(Err(ResponderError { code, message: message.to_owned(), is_cut: false }));
    }

    pub(crate) fn end(self, finish_reason: &str, usage: &str) {
        let usage = Some(membrane::Json::parse("usage", usage).unwrap());
        let finish_reason = Some(finish_reason.to_owned());
        self.part(Ok(ReplyPart::End { finish_reason, usage, carry: None }));
    }

    /// Calls a tool; the answer ends with that.
    pub(crate) fn call(&self, call_id: &str, name: &str, input: &str) {
        let input = membrane::Json::parse("input", input).unwrap();
        let (call_id, name) = (call_id.to_owned(), name.to_owned());
        self.part(Ok(ReplyPart::Call { call_id, name, input }));
    }

    /// Returns when nobody listens to the model any more.
    pub(crate) async fn stopped(&self) {
        let stopped = tokio::time::timeout(crate::client::PATIENCE, self.parts.closed());
        stopped.await.expect("the model is stopped");
    }

    fn part(&self, part: Part) {
        self.parts.send(part).expect("somebody listens to the model");
    }
}
