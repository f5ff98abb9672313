//! A keep whose responder says what the case tells it to, when it tells it; and verbs that keep the cases short.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use membrane::core::run::PieceBody;
use membrane::responder::{Prompt, Reply, ReplyPart, ResponderError};
use membrane::store::memory::MemoryStore;
use membrane::store::{Change, Write};
use membrane::{
    Chat, Clock, EventId, FinishedTurn, Json, NewSessionOptions, Responder, RunEvent, RunOutcome, RunReader,
    RunSettings, SendOptions, SessionId, State, Store, SystemClock, Timestamp, Turn,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long a case waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

enum Step {
    Part(Result<ReplyPart, ResponderError>),
    Panic,
}

/// An answer that was asked for. Dropping it ends the answer well.
pub(super) struct Answer {
    /// What the model was asked.
    pub(super) words: String,
    /// The same with all else.
    pub(super) prompt: Prompt,
    steps: mpsc::UnboundedSender<Step>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("words", &self.words).finish_non_exhaustive()
    }
}

impl Answer {
    pub(super) fn say(&self, text: &str) {
        self.step(Step::Part(Ok(ReplyPart::Text(text.to_owned()))));
    }

    pub(super) fn think(&self, text: &str) {
        self.step(Step::Part(Ok(ReplyPart::Reasoning(text.to_owned()))));
    }

    pub(super) fn end(self) {
        self.end_with(Some("stop"), None);
    }

    pub(super) fn end_with(self, finish_reason: Option<&str>, usage: Option<Json>) {
        let finish_reason = finish_reason.map(str::to_owned);
        self.step(Step::Part(Ok(ReplyPart::End { finish_reason, usage, carry: None })));
    }

    pub(super) fn fail(self, code: &'static str, message: &str) {
        let message = message.to_owned();
        self.step(Step::Part(Err(ResponderError { code, message, is_cut: false })));
    }

    /// Breaks off.
    pub(super) fn cut(self, code: &'static str, message: &str) {
        let message = message.to_owned();
        self.step(Step::Part(Err(ResponderError { code, message, is_cut: true })));
    }

    /// Calls a tool.
    pub(super) fn call(&self, call_id: &str, name: &str, input: &str) {
        let input = Json::parse("input", input).unwrap();
        let (call_id, name) = (call_id.to_owned(), name.to_owned());
        self.step(Step::Part(Ok(ReplyPart::Call { call_id, name, input })));
    }

    /// Ends after calls of tools.
    pub(super) fn wait(self, usage: &str, carry: Option<&str>) {
        let json = |text| Json::parse("test", text).unwrap();
        let (usage, carry) = (Some(json(usage)), carry.map(json));
        let finish_reason = Some("tool_calls".to_owned());
        self.step(Step::Part(Ok(ReplyPart::End { finish_reason, usage, carry })));
    }

    pub(super) fn panic(self) {
        self.step(Step::Panic);
    }

    /// Returns when nobody hears it any more.
    pub(super) async fn unheard(&self) {
        within(self.steps.closed()).await;
    }

    /// Whoever does not listen any more misses nothing.
    fn step(&self, step: Step) {
        let _ = self.steps.send(step);
    }
}

#[derive(Debug)]
struct Script(mpsc::UnboundedSender<Answer>);

impl Responder for Script {
    fn model(&self) -> Option<String> {
        Some("script".to_owned())
    }

    fn respond(&self, prompt: Prompt) -> Reply {
        let (steps, mut told) = mpsc::unbounded_channel();
        let _ = self.0.send(Answer { words: prompt.message.content.clone(), prompt, steps });
        Box::pin(stream::poll_fn(move |context| {
            told.poll_recv(context).map(|step| match step {
                None => None,
                Some(Step::Part(part)) => Some(part),
                Some(Step::Panic) => panic!("the responder was told to panic"),
            })
        }))
    }
}

/// A handle whose answers the case gives.
pub(super) struct Stage {
    pub(super) chat: Chat,
    asked: mpsc::UnboundedReceiver<Answer>,
}

impl Stage {
    pub(super) fn on(store: &Arc<dyn Store>) -> Self {
        Self::with(store, RunSettings::default())
    }

    pub(super) fn with(store: &Arc<dyn Store>, settings: RunSettings) -> Self {
        Self::by_clock(store, settings, Arc::new(SystemClock))
    }

    /// One whose time is the runtime's, which a test may pause.
    pub(super) fn in_paused_time(store: &Arc<dyn Store>, settings: RunSettings) -> Self {
        Self::by_clock(store, settings, Arc::new(RuntimeClock(Instant::now())))
    }

    fn by_clock(store: &Arc<dyn Store>, settings: RunSettings, clock: Arc<dyn Clock>) -> Self {
        let (script, asked) = mpsc::unbounded_channel();
        let script = Arc::new(Script(script));
        let chat = Chat::builder(Arc::clone(store)).responder(script).runs(settings).clock(clock).build();
        Self { chat, asked }
    }

    /// The next answer that is asked for.
    pub(super) async fn asked(&mut self) -> Answer {
        within(self.asked.recv()).await.expect("the responder is there")
    }

    /// Whether an answer was asked for that the case has not taken.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Sends, and gives the reader and the answer that was asked for.
    pub(super) async fn send(&mut self, id: &SessionId, words: &str) -> (RunReader, Answer) {
        let sent = self.chat.send(id, SendOptions::new(words)).await.unwrap();
        assert!(!sent.replayed);
        (sent.reader, self.asked().await)
    }

    /// A new session.
    pub(super) async fn session(&self) -> SessionId {
        self.chat.create_session(NewSessionOptions::default()).await.unwrap().id
    }

    /// A session's turns.
    pub(super) async fn turns(&self, id: &SessionId) -> Vec<Turn> {
        let thread = self.chat.load_turns(id, 0..u64::MAX).await.unwrap().expect("the session is there");
        thread.turns.into_iter().map(|kept| kept.turn).collect()
    }

    /// A whole exchange.
    pub(super) async fn exchange(&mut self, id: &SessionId, words: &str, answer: &str) -> Heard {
        let (reader, said) = self.send(id, words).await;
        said.say(answer);
        said.end();
        hear(reader).await
    }

    /// A reader of what is under way or has just ended.
    pub(super) async fn attach(&self, id: &SessionId, after: Option<u64>) -> Option<RunReader> {
        self.chat.attach(id, after.map(EventId)).await.unwrap()
    }

    /// Returns when the session is idle and nothing is under way in this process.
    pub(super) async fn until_idle(&self, id: &SessionId) {
        until("the session is idle", || async {
            let session = self.chat.find_session(id).await.unwrap().expect("the session is there");
            session.state == State::Idle && self.chat.n_open_runs() == 0
        })
        .await;
    }
}

impl Stage {
    /// Returns when the session is idle, whatever else is under way.
    pub(super) async fn until_idle_but_one(&self, id: &SessionId) {
        until("the session is idle", || async {
            let session = self.chat.find_session(id).await.unwrap().expect("the session is there");
            session.state == State::Idle
        })
        .await;
    }
}

/// All that a reader heard.
#[derive(Debug, PartialEq)]
pub(super) struct Heard {
    pub(super) ids: Vec<u64>,
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) outcome: Arc<RunOutcome>,
}

impl Heard {
    /// The turn that it became.
    #[track_caller]
    pub(super) fn finished(&self) -> &FinishedTurn {
        match &*self.outcome {
            RunOutcome::Finished(finished) => finished,
            RunOutcome::Lost { code, message } => panic!("it was lost: {code}: {message}"),
            RunOutcome::Waiting(calls) => panic!("it waits: {calls:?}"),
        }
    }

    /// The code of the error with which its turn is kept.
    #[track_caller]
    pub(super) fn error_code(&self) -> &str {
        &self.finished().turn.error.as_ref().expect("it did not end well").code
    }

    /// Why it became none.
    #[track_caller]
    pub(super) fn lost(&self) -> &'static str {
        match &*self.outcome {
            RunOutcome::Lost { code, .. } => code,
            other => panic!("it was kept: {other:?}"),
        }
    }
}

/// Reads to the end, and checks that the ids have no gaps and that nothing follows the end.
pub(super) async fn hear(mut reader: RunReader) -> Heard {
    let (mut ids, mut text, mut reasoning) = (Vec::new(), String::new(), String::new());
    loop {
        let (id, event) = within(reader.next()).await.expect("an end");
        assert!(ids.last().is_none_or(|last| last + 1 == id.0), "{ids:?}, {id}");
        ids.push(id.0);
        match event {
            RunEvent::Piece(piece) => match &piece.body {
                PieceBody::Text(more) => text.push_str(more),
                PieceBody::Reasoning(more) => reasoning.push_str(more),
                // What is said of tools has its own cases.
                PieceBody::Call(_) | PieceBody::Pause(_) | PieceBody::Consent { .. } | PieceBody::Tool(_) => {
                }
            },
            RunEvent::Waiting(calls) => panic!("it waits: {calls:?}"),
            RunEvent::Ended(outcome) => {
                assert_eq!(within(reader.next()).await, None);
                assert!(reader.is_at_end());
                return Heard { ids, text, reasoning, outcome };
            }
        }
    }
}

/// Reads until the model waits for tools, and checks that nothing follows: the text, and the names of the calls.
pub(super) async fn hear_calls(mut reader: RunReader) -> (String, Vec<String>) {
    let mut text = String::new();
    loop {
        match within(reader.next()).await.expect("more").1 {
            RunEvent::Piece(piece) => {
                if let PieceBody::Text(more) = &piece.body {
                    text.push_str(more);
                }
            }
            RunEvent::Waiting(calls) => {
                assert_eq!(within(reader.next()).await, None);
                return (text, calls.into_iter().map(|open| open.call.call_id).collect());
            }
            RunEvent::Ended(outcome) => panic!("it ended with {text:?}: {outcome:?}"),
        }
    }
}

/// Reads on until it has heard exactly this, and gives the ids.
pub(super) async fn hear_text(reader: &mut RunReader, text: &str) -> Vec<u64> {
    let (mut ids, mut heard) = (Vec::new(), String::new());
    while heard != text {
        match within(reader.next()).await.expect("more") {
            (id, RunEvent::Piece(piece)) => {
                ids.push(id.0);
                if let PieceBody::Text(more) = &piece.body {
                    heard.push_str(more);
                }
            }
            (_, other) => panic!("it ended with {heard:?}: {other:?}"),
        }
    }
    ids
}

/// What must come, before the patience is over.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes in time")
}

/// Returns when the condition holds.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "it never came about that {what}");
}

/// The runtime's time, which a test may pause.
#[derive(Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0).plus(self.0.elapsed())
    }
}

/// A store in memory whose leases expire by the runtime's time.
pub(super) fn store_in_paused_time() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(Arc::new(RuntimeClock(Instant::now()))))
}

pub(super) fn begins(change: &Change) -> bool {
    change.writes.iter().any(|write| matches!(write, Write::BeginRun { .. }))
}

pub(super) fn finishes(change: &Change) -> bool {
    change.writes.iter().any(|write| matches!(write, Write::FinishRun { .. }))
}

/// How many pieces a change adds to a log.
pub(super) fn n_pieces(change: &Change) -> usize {
    let pieces = change.writes.iter().map(|write| match write {
        Write::AppendPieces { pieces, .. } => pieces.len(),
        _ => 0,
    });
    pieces.sum()
}
