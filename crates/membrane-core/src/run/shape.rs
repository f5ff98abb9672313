//! How an ended run came: into which pieces its answer was cut, so that a reader who was cut off can go on after the
//! last one that he saw, although the pieces themselves are gone and only the turn is there.

use std::fmt::Write;

use super::{Pause, PieceBody};
use crate::error::ValueError;
use crate::ids::TurnId;
use crate::time::Timestamp;
use crate::turn::{Item, Turn};

/// The kinds and lengths of a run's pieces, in order.
///
/// As text, a letter and a number of bytes for each: `r40 t5 t12`, with `x` for a piece that is neither text nor thought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunShape(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Text(usize),
    Reasoning(usize),
    Other,
}

/// A run that has become a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRun {
    /// The turn.
    pub turn_id: TurnId,
    /// Its number in the session.
    pub turn_number: u64,
    /// The session's version when the run began.
    pub version: u64,
    /// How its answer came.
    pub shape: RunShape,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl RunShape {
    /// How these pieces came.
    pub fn of<'a>(pieces: impl IntoIterator<Item = &'a PieceBody>) -> Self {
        let parts = pieces.into_iter().map(|body| match body {
            PieceBody::Text(text) => Part::Text(text.len()),
            PieceBody::Reasoning(text) => Part::Reasoning(text.len()),
            PieceBody::Call(_) | PieceBody::Pause(_) | PieceBody::Consent { .. } | PieceBody::Tool(_) => {
                Part::Other
            }
        });
        Self(parts.collect())
    }

    /// The text that [`RunShape::parse`] reads.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(self.0.len() * 4);
        for part in &self.0 {
            let separator = if text.is_empty() { "" } else { " " };
            // A text can be written to.
            let _ = match part {
                Part::Text(len) => write!(text, "{separator}t{len}"),
                Part::Reasoning(len) => write!(text, "{separator}r{len}"),
                Part::Other => write!(text, "{separator}x"),
            };
        }
        text
    }

    /// Reads what [`RunShape::encode`] wrote.
    ///
    /// # Errors
    /// [`ValueError::Unknown`] naming the part that cannot be read.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let part = |part: &str| {
            let read = match part.split_at_checked(1) {
                Some(("t", len)) => len.parse().ok().map(Part::Text),
                Some(("r", len)) => len.parse().ok().map(Part::Reasoning),
                Some(("x", "")) => Some(Part::Other),
                _ => None,
            };
            read.ok_or_else(|| ValueError::Unknown {
                what: "piece of a run's shape",
                value: part.chars().take(64).collect(),
                allowed: "t<bytes>, r<bytes>, x",
            })
        };
        text.split(' ').filter(|part| !part.is_empty()).map(part).collect::<Result<_, _>>().map(Self)
    }

    /// How many pieces there were.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing had arrived.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The turn's answer and thoughts, cut as they came. What was neither has nothing in it any more. `None` if this is not
    /// how the turn came.
    pub fn cut(&self, turn: &Turn) -> Option<Vec<PieceBody>> {
        let thoughts = turn.items.iter().filter_map(|item| match item {
            Item::Reasoning(text) => Some(text.as_str()),
            Item::Tool(_) | Item::Message(_) | Item::Other(_) => None,
        });
        let thoughts: String = thoughts.collect();
        let (mut text, mut thoughts) = (turn.assistant.content.as_str(), thoughts.as_str());
        let take = |from: &mut &str, len: usize| {
            let (taken, rest) = from.split_at_checked(len)?;
            *from = rest;
            Some(taken.to_owned())
        };
        let pieces = self.0.iter().map(|part| match *part {
            Part::Text(len) => take(&mut text, len).map(PieceBody::Text),
            Part::Reasoning(len) => take(&mut thoughts, len).map(PieceBody::Reasoning),
            Part::Other => Some(PieceBody::Pause(Pause::default())),
        });
        let pieces: Vec<_> = pieces.collect::<Option<_>>()?;
        (text.is_empty() && thoughts.is_empty()).then_some(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SequentialIds;

    fn turn(thoughts: &[&str], answer: &str) -> Turn {
        let id = TurnId::generate(&SequentialIds::default());
        let mut turn = Turn::plain(id, "why?", answer, Timestamp::from_micros(0));
        turn.items = thoughts.iter().map(|thought| Item::Reasoning((*thought).to_owned())).collect();
        turn
    }

    #[test]
    fn a_turn_is_cut_again_as_it_came() {
        let pieces = [
            PieceBody::Reasoning("hm".into()),
            PieceBody::Text("日本".into()),
            PieceBody::Pause(Pause::default()),
            PieceBody::Reasoning("so 🙂".into()),
            PieceBody::Text("\0".into()),
        ];
        let shape = RunShape::of(&pieces);
        assert_eq!(shape.encode(), "r2 t6 x r7 t1");
        let read = RunShape::parse(&shape.encode()).unwrap();
        assert_eq!((read.len(), &read), (5, &shape));
        assert_eq!(read.cut(&turn(&["hm", "so 🙂"], "日本\0")).unwrap(), pieces);
        assert_eq!(RunShape::parse("").unwrap().cut(&turn(&[], "")).unwrap(), []);
    }

    #[test]
    fn another_turn_is_not_cut_by_a_shape_that_is_not_its() {
        let shape = RunShape::parse("t3 t4").unwrap();
        assert_eq!(shape.cut(&turn(&[], "日本語")), None, "too long, and in the middle of a character");
        assert_eq!(shape.cut(&turn(&[], "abcdef")), None, "too short");
        assert_eq!(shape.cut(&turn(&["hm"], "abcdefg")), None, "thoughts that it does not know");
    }

    #[test]
    fn what_is_no_shape_is_refused_by_name() {
        for odd in ["t", "q5", "t-1", "x3", "t5 tt", "é"] {
            let error = RunShape::parse(odd).unwrap_err().to_string();
            assert!(error.contains("t<bytes>"), "{error}");
        }
    }
}
