//! Comparing two sessions turn by turn.

use std::ops::Range;
use std::time::Duration;

use membrane_core::diff;
use membrane_core::history::{History, Span};
use membrane_core::ids::SessionId;
use membrane_core::merge::subtract;
use membrane_core::session::Session;
use membrane_core::text::content_hash;
use membrane_core::turn::KeptTurn;
use membrane_store::Thread;

use crate::chat::Chat;
use crate::error::ChatError;

/// How often reading starts again because one of the sessions changed while it was read.
const MAX_READS: u32 = 64;

/// Two sessions side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionDiff {
    /// How many turns both hold: the very same ones, not equal ones.
    pub common: u64,
    /// What only the left one holds, numbered as there.
    pub only_left: Vec<KeptTurn>,
    /// What only the right one holds, numbered as there.
    pub only_right: Vec<KeptTurn>,
    /// The left session.
    pub left: Session,
    /// The right session.
    pub right: Session,
    /// Whether both say the same by kgents' hash of messages and answers in order.
    pub content_hash_same: bool,
    /// Whether both are equally sure.
    pub evidence_equivalent: bool,
}

impl SessionDiff {
    /// The same comparison seen from the other side.
    #[must_use]
    pub fn inverted(self) -> Self {
        Self {
            only_left: self.only_right,
            only_right: self.only_left,
            left: self.right,
            right: self.left,
            ..self
        }
    }
}

/// A session and what it reads.
struct Side {
    session: Session,
    spans: Vec<Span>,
}

impl Side {
    fn new(session: Session, history: &History) -> Self {
        let spans = history.spans(session.turn_count());
        Self { session, spans }
    }

    /// How long the text is that the content hash is made of, in code points: each turn adds a colon and
    /// a bar.
    fn hashed_chars(&self) -> i64 {
        let turns = i64::try_from(self.session.turn_count()).unwrap_or(i64::MAX);
        self.session.totals.chars + 2 * turns
    }
}

impl Chat {
    /// Compares two sessions, by the identity of their turns.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: one of them is not there.
    /// - [`ChatError::Unavailable`]: the sessions keep changing.
    pub async fn diff(&self, left: &SessionId, right: &SessionId) -> Result<SessionDiff, ChatError> {
        for _ in 0..MAX_READS {
            if let Some(found) = self.try_diff(left, right).await? {
                return Ok(found);
            }
            tokio::task::yield_now().await;
        }
        Err(ChatError::Unavailable {
            reason: "the sessions keep changing".into(),
            retry_after: Duration::from_millis(100),
        })
    }

    /// `None` when what was read in parts does not fit together.
    async fn try_diff(&self, left: &SessionId, right: &SessionId) -> Result<Option<SessionDiff>, ChatError> {
        let (Some(left), Some(right)) = (self.read_side(left).await?, self.read_side(right).await?) else {
            return Ok(None);
        };
        let common = diff::diff(&left.spans, &right.spans).common;
        let (Some(only_left), Some(only_right)) =
            (self.load_only(&left, &right).await?, self.load_only(&right, &left).await?)
        else {
            return Ok(None);
        };
        let Some(content_hash_same) = self.says_the_same(&left, &right).await? else { return Ok(None) };
        Ok(Some(SessionDiff {
            common,
            only_left,
            only_right,
            content_hash_same,
            evidence_equivalent: left.session.evidence().is_equivalent(&right.session.evidence()),
            left: left.session,
            right: right.session,
        }))
    }

    async fn read_side(&self, id: &SessionId) -> Result<Option<Side>, ChatError> {
        let session = self.get_session(id).await?;
        let history = self.store().find_history(session.cut.history).await?;
        Ok(history.map(|history| Side::new(session, &history)))
    }

    async fn load_only(&self, side: &Side, other: &Side) -> Result<Option<Vec<KeptTurn>>, ChatError> {
        let mut turns = Vec::new();
        for range in numbers_without(&side.spans, &other.spans) {
            let wanted = range.end - range.start;
            let loaded = self.store().load_turns(side.session.cut, range).await?;
            if u64::try_from(loaded.len()).unwrap_or(u64::MAX) != wanted {
                return Ok(None);
            }
            turns.extend(loaded);
        }
        Ok(Some(turns))
    }

    /// Whether the content hashes are the same. Texts of different lengths cannot be, and the same turns
    /// in the same order must be, so that the turns are rarely read.
    async fn says_the_same(&self, left: &Side, right: &Side) -> Result<Option<bool>, ChatError> {
        if left.spans == right.spans {
            return Ok(Some(true));
        }
        if left.hashed_chars() != right.hashed_chars() {
            return Ok(Some(false));
        }
        let (a, b) = (self.hash(left).await?, self.hash(right).await?);
        Ok(a.zip(b).map(|(a, b)| a == b))
    }

    async fn hash(&self, side: &Side) -> Result<Option<String>, ChatError> {
        let Some(Thread { session, turns }) = self.store().load_thread(&side.session.id, 0..u64::MAX).await?
        else {
            return Ok(None);
        };
        let words =
            turns.iter().map(|kept| (kept.turn.user.content.as_str(), kept.turn.assistant.content.as_str()));
        Ok((session.cut == side.session.cut).then(|| content_hash(words)))
    }
}

/// The numbers of the turns of `spans` that `other` has not, as runs of neighbours.
fn numbers_without(spans: &[Span], other: &[Span]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut start = 0;
    for span in spans {
        for rest in subtract(&[*span], other) {
            let from = start + rest.from.abs_diff(span.from);
            let to = from + rest.len();
            match ranges.last_mut() {
                Some(last) if last.end == from => last.end = to,
                _ => ranges.push(from..to),
            }
        }
        start += span.len();
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use membrane_core::ids::SegmentId;

    #[test]
    fn numbers_count_through_all_spans_and_neighbours_are_one_run() {
        let span = |segment, from, to| Span { segment: SegmentId(segment), from, to };
        let left = [span(1, 2, 6), span(2, 0, 3), span(3, 0, 1)];
        assert_eq!(numbers_without(&left, &[span(1, 3, 5), span(2, 1, 9)]), [0..1, 3..5, 7..8]);
        assert_eq!(numbers_without(&left, &[]), [Range { start: 0, end: 8 }]);
        assert!(numbers_without(&left, &left).is_empty());
    }
}
