//! kgents' frames: each holds the whole answer so far. They are sent seldom enough that all of them together
//! stay within a small multiple of the answer's length.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use membrane::core::run::OpenCall;
use membrane::{RunOutcome, RunReader};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::frames::{Ended, PendingApproval, Waiting, frame};

/// A frame is due when the answer grew by this part.
const GROWTH: usize = 8;

/// Below this many bytes one is also due from time to time.
const SHORT_BYTES: usize = 4 * 1024;

/// How often.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Content<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    content: &'a str,
}

/// Where a stream is.
struct Place {
    reader: RunReader,
    /// How much of the answer the last frame held, and when the next one is due if the answer is short.
    sent_bytes: usize,
    due_at: Instant,
    has_ended: bool,
    /// Given back when the stream goes.
    _permit: OwnedSemaphorePermit,
}

/// The answer's frames, then how it ended, or the calls of tools for which it waits. No comments and no ids: kgents' clients
/// know neither.
pub(crate) fn frames(
    reader: RunReader,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    let place = Place {
        reader,
        sent_bytes: 0,
        // The first piece is due at once.
        due_at: Instant::now(),
        has_ended: false,
        _permit: permit,
    };
    stream::unfold(place, |mut place| async move {
        let frame = place.next().await?;
        Some((Ok::<Bytes, Infallible>(frame), place))
    })
}

impl Place {
    async fn next(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        loop {
            // In this order: what had arrived before the end is in the text.
            let outcome = self.reader.outcome();
            let n_bytes = self.reader.text_bytes();
            if n_bytes > self.sent_bytes && (outcome.is_some() || self.is_due(n_bytes)) {
                return Some(self.content());
            }
            if let Some(outcome) = outcome {
                self.has_ended = true;
                return Some(match &*outcome {
                    RunOutcome::Waiting(calls) => waiting(self.reader.turn_number(), calls),
                    outcome => frame(None, &Ended::new(None, outcome)),
                });
            }
            if n_bytes > self.sent_bytes && self.sent_bytes < SHORT_BYTES {
                // Time alone makes it due.
                let _ = timeout_at(self.due_at, self.reader.changed()).await;
            } else {
                self.reader.changed().await;
            }
        }
    }

    fn is_due(&self, n_bytes: usize) -> bool {
        (n_bytes - self.sent_bytes).saturating_mul(GROWTH) >= self.sent_bytes
            || (self.sent_bytes < SHORT_BYTES && Instant::now() >= self.due_at)
    }

    fn content(&mut self) -> Bytes {
        let text = self.reader.text();
        self.sent_bytes = text.len();
        self.due_at = Instant::now() + PAUSE;
        frame(None, &Content { kind: "content", content: &text })
    }
}

/// What is to be approved, each in a frame of its own that kgents' client knows, then all calls.
fn waiting(turn_number: u64, calls: &[OpenCall]) -> Bytes {
    let mut frames = BytesMut::new();
    for approval in calls.iter().filter_map(PendingApproval::of) {
        frames.extend_from_slice(&frame(None, &approval));
    }
    frames.extend_from_slice(&frame(None, &Waiting::new(None, turn_number, calls)));
    frames.freeze()
}
