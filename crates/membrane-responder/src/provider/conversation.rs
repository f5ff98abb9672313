//! One answer: asked for, read piece by piece, and asked for again as long as nothing of it has arrived.
//!
//! Not here: what is sent ([`super::request`]), and what errors mean ([`super::failure`]).

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use genai::Client;
use genai::chat::{ChatStream, ChatStreamEvent, StreamEnd, Usage};
use membrane_core::json::Json;
use tokio::time::{self, Instant};

use super::calls;
use super::carry::Carry;
use super::failure::{Failure, Retry};
use super::frames::Frames;
use super::kind::ProviderKind;
use super::options::ProviderOptions;
use super::request::Request;
use super::target::Target;
use super::telemetry::Meter;
use crate::responder::{Prompt, ReplyPart, ResponderError};

/// The wait before the first retry, if the provider names none; it doubles from one to the next.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How much of an answer is taken in from its first call on, in bytes of its events. What it says is measured elsewhere, by
/// what a turn may hold.
pub(super) const MAX_CALLING: usize = 64 << 20;
/// How providers say that an answer ended by itself. Any other reason may have cut it anywhere.
const ORDINARY_REASONS: [&str; 7] =
    ["tool_calls", "function_call", "tool_use", "stop", "end_turn", "stop_sequence", "STOP"];
/// A silence for which nobody waits; longer ones do not fit into a time.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What all conversations share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) options: ProviderOptions,
}

/// The answer to one prompt.
pub(super) struct Conversation {
    shared: Arc<Shared>,
    target: Target,
    request: Request,
    attempt: Option<Attempt>,
    n_retries: u32,
    /// What is to be handed out before more is read.
    ready: VecDeque<ReplyPart>,
    /// Whether text or a thought was handed out.
    has_spoken: bool,
    is_over: bool,
    meter: Meter,
}

/// The request as it was sent once.
struct Attempt {
    stream: ChatStream,
    frames: Arc<Frames>,
    /// How many bytes had come when a call began to arrive, if one has.
    called_at: Option<usize>,
}

/// What an attempt came to.
enum Event {
    Part(ReplyPart),
    /// All parts that were still to come.
    Whole(Vec<ReplyPart>),
    Failed(Failure),
}

impl Conversation {
    pub(super) fn new(shared: Arc<Shared>, target: Target, prompt: Prompt, meter: Meter) -> Self {
        let request = Request::of_prompt(prompt, &target, shared.options.max_tokens);
        Self {
            shared,
            target,
            request,
            attempt: None,
            n_retries: 0,
            ready: VecDeque::new(),
            has_spoken: false,
            is_over: false,
            meter,
        }
    }

    /// The next part, or the error that ends it all.
    pub(super) async fn next(mut self: Box<Self>) -> Option<(Result<ReplyPart, ResponderError>, Box<Self>)> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Some((Ok(part), self));
            }
            if self.is_over {
                return None;
            }
            let event = match &mut self.attempt {
                Some(attempt) => attempt.next(&self.target, &self.shared.options, self.has_spoken).await,
                None => match self.send().await {
                    Ok(attempt) => {
                        self.attempt = Some(attempt);
                        continue;
                    }
                    Err(failure) => Event::Failed(failure),
                },
            };
            match event {
                Event::Part(part) => {
                    if !self.has_spoken {
                        // It is not sent again, and the rest of the answer may take long.
                        self.request = Request::default();
                        self.has_spoken = true;
                    }
                    self.meter.piece();
                    self.ready.push_back(part);
                }
                Event::Whole(parts) => {
                    self.meter.piece();
                    self.meter.outcome("ok");
                    self.end();
                    self.ready.extend(parts);
                }
                Event::Failed(failure) => {
                    if let Some(wait) = self.wait_before_retry(&failure) {
                        self.retry(wait).await;
                        continue;
                    }
                    let error = self.fail(failure);
                    return Some((Err(error), self));
                }
            }
        }
    }

    async fn send(&mut self) -> Result<Attempt, Failure> {
        let is_last = self.n_retries >= self.shared.options.max_retries;
        let Request { chat, options } =
            if is_last { std::mem::take(&mut self.request) } else { self.request.clone() };
        let frames = Arc::new(Frames::new(self.target.kind));
        let options = options.with_raw_frame_sink_arc(Arc::clone(&frames) as Arc<_>);
        let sent = self.shared.client.exec_chat_stream(self.target.service.clone(), chat, Some(&options));
        let sent = sent.await.map_err(|error| Failure::of_error(&self.target, &error, "", false))?;
        Ok(Attempt { stream: sent.stream, frames, called_at: None })
    }

    /// How long to wait before the request is sent again; `None` if it is not to be.
    fn wait_before_retry(&self, failure: &Failure) -> Option<Duration> {
        let has_called = self.attempt.as_ref().is_some_and(|attempt| attempt.called_at.is_some());
        let ProviderOptions { max_retries, max_retry_wait, .. } = self.shared.options;
        if self.has_spoken || has_called || self.n_retries >= max_retries {
            return None;
        }
        match failure.retry {
            Retry::Never => None,
            Retry::Soon => {
                let wait = FIRST_WAIT.saturating_mul(1 << self.n_retries.min(16));
                Some(wait.mul_f64(jitter()).min(max_retry_wait))
            }
            Retry::After(wait) => (wait <= max_retry_wait).then_some(wait),
        }
    }

    async fn retry(&mut self, wait: Duration) {
        // What it holds of the connection goes before the wait.
        self.attempt = None;
        self.n_retries += 1;
        self.meter.retry();
        time::sleep(wait).await;
    }

    fn fail(&mut self, failure: Failure) -> ResponderError {
        let Failure { code, message, .. } = failure;
        tracing::warn!(
            model.code = code,
            model.provider = self.target.kind.as_str(),
            model.name = self.target.name,
            model.n_retries = self.n_retries,
            "a model's answer failed"
        );
        self.meter.outcome(code);
        self.end();
        ResponderError { code, message, is_cut: self.has_spoken }
    }

    fn end(&mut self) {
        self.is_over = true;
        self.attempt = None;
    }
}

impl Attempt {
    /// What happens next.
    async fn next(&mut self, target: &Target, options: &ProviderOptions, has_spoken: bool) -> Event {
        loop {
            let Some(event) = self.event(options.silence_timeout).await else {
                return Event::Failed(Failure::silent(target, options.silence_timeout));
            };
            match event {
                Some(Ok(ChatStreamEvent::Chunk(chunk))) if !chunk.content.is_empty() => {
                    return Event::Part(ReplyPart::Text(chunk.content));
                }
                Some(Ok(ChatStreamEvent::ReasoningChunk(chunk))) if !chunk.content.is_empty() => {
                    return Event::Part(ReplyPart::Reasoning(chunk.content));
                }
                Some(Ok(ChatStreamEvent::ToolCallChunk(_))) => {
                    let n_bytes = self.frames.seen().n_bytes;
                    let called_at = *self.called_at.get_or_insert(n_bytes);
                    if n_bytes - called_at > MAX_CALLING {
                        return Event::Failed(Failure::too_long(target, n_bytes));
                    }
                }
                Some(Ok(ChatStreamEvent::End(end))) => return self.end(target, end, has_spoken),
                Some(Ok(_)) => {}
                Some(Err(error)) => return self.fail(target, &error, has_spoken),
                None if self.is_finished() => return self.whole(target, StreamEnd::default()),
                None => return Event::Failed(Failure::cut_off(target, has_spoken)),
            }
        }
    }

    /// The next event, or the end; `None` if there was no sign of life for so long.
    async fn event(&mut self, silence: Duration) -> Option<Option<genai::Result<ChatStreamEvent>>> {
        let mut waits_since = Instant::now();
        loop {
            if let Ok(event) = time::timeout_at(waits_since + silence.min(FOREVER), self.stream.next()).await
            {
                return Some(event);
            }
            let last_at = self.frames.seen().last_at;
            if last_at <= waits_since {
                return None;
            }
            waits_since = last_at;
        }
    }

    /// genai's end, which it also makes up where the connection only broke off.
    fn end(&mut self, target: &Target, end: StreamEnd, has_spoken: bool) -> Event {
        if let Some(error) = self.frames.seen().error.take() {
            return Event::Failed(Failure::told(target, &error));
        }
        let is_whole = match target.kind {
            ProviderKind::Gemini => end.captured_stop_reason.is_some(),
            ProviderKind::Ollama => self.is_finished(),
            ProviderKind::OpenAi | ProviderKind::Anthropic => true,
        };
        if is_whole {
            return self.whole(target, end);
        }
        Event::Failed(Failure::cut_off(target, has_spoken))
    }

    fn fail(&mut self, target: &Target, error: &genai::Error, has_spoken: bool) -> Event {
        // Not every server ends as it should after it has said that the answer is whole.
        if self.is_finished() && matches!(error, genai::Error::WebStream { .. }) {
            return self.whole(target, StreamEnd::default());
        }
        let seen = self.frames.seen();
        if let Some(reason) = &seen.blocked {
            return Event::Failed(Failure::blocked(target, reason));
        }
        Event::Failed(Failure::of_error(target, error, &seen.last, has_spoken))
    }

    fn is_finished(&self) -> bool {
        self.frames.seen().is_finished
    }

    /// What an answer that came to its end says last, unless a call in it did not.
    fn whole(&mut self, target: &Target, end: StreamEnd) -> Event {
        let n_called = self.frames.seen().calls.n_bytes();
        if n_called > MAX_CALLING {
            return Event::Failed(Failure::too_long(target, n_called));
        }
        let parts = self.parts(target.kind, end);
        let is_cut = matches!(parts.last(), Some(ReplyPart::End { finish_reason: Some(reason), .. })
            if !ORDINARY_REASONS.contains(&reason.as_str()));
        // Arguments that had not begun are read as none.
        let half = parts.iter().find_map(|part| match part {
            ReplyPart::Call { name, input, .. } if !input.is_object() || input.as_str() == "{}" => Some(name),
            _ => None,
        });
        match half {
            Some(tool) if is_cut => Event::Failed(Failure::cut_call(target, tool)),
            _ => Event::Whole(parts),
        }
    }

    /// The calls, and the end.
    fn parts(&mut self, kind: ProviderKind, end: StreamEnd) -> Vec<ReplyPart> {
        let mut seen = self.frames.seen();
        let mut carry = Carry::of_content(kind, end.captured_content.as_ref());
        let mut parts = std::mem::take(&mut seen.calls).into_parts();
        if let (false, true, Some(thoughts)) =
            (parts.is_empty(), seen.has_reasoning_content, end.captured_reasoning_content)
        {
            carry = Carry::of_reasoning(thoughts);
        }
        let captured =
            end.captured_content.into_iter().flatten().filter_map(genai::chat::ContentPart::into_tool_call);
        parts.extend(
            captured.map(|call| {
                calls::part(call.call_id, call.fn_name, calls::input_of_value(&call.fn_arguments))
            }),
        );
        let finish_reason = end.captured_stop_reason.map(|reason| reason.raw().to_owned());
        parts.push(ReplyPart::End {
            finish_reason: finish_reason.or(seen.finish_reason.take()),
            usage: usage_json(end.captured_usage.or(seen.usage.take())),
            carry,
        });
        parts
    }
}

/// Token counts, if any are known.
fn usage_json(usage: Option<Usage>) -> Option<Json> {
    let mut usage = usage?;
    usage.compact_details();
    if usage == Usage::default() {
        return None;
    }
    serde_json::to_value(usage).ok().map(|value| Json::from_value(&value))
}

/// A factor between 0.75 and 1.25, so that those who failed together do not come back together.
fn jitter() -> f64 {
    // The standard library's hashers begin differently each time.
    let random = RandomState::new().build_hasher().finish();
    0.75 + f64::from(u8::try_from(random & 0xff).unwrap_or(0)) / 255.0 / 2.0
}
