//! What a run's pieces say, put together: what the model said, the tools that it called in between, and what is still
//! open.

use super::{Piece, PieceBody};
use crate::json::Json;
use crate::tool::{Consent, ToolCall, ToolUse};
use crate::turn::{Item, Message, Turn};
use crate::usage;

/// A part of an answer: what the model said, and the tools that it called then.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// What it thought, in the parts between which it said something.
    pub thoughts: Vec<String>,
    /// What it said.
    pub text: String,
    /// The tools, in the order of the calls.
    pub tools: Vec<ToolUse>,
    /// What the provider wants to be given back unchanged.
    pub carry: Option<Json>,
}

impl Step {
    /// What of it is kept in a finished turn beside the answer's text, in order.
    pub(super) fn into_items(self) -> impl Iterator<Item = Item> {
        let said = (!self.text.is_empty() && !self.tools.is_empty()).then(|| Message::new(self.text));
        let thoughts = self.thoughts.into_iter().map(Item::Reasoning);
        thoughts.chain(said.map(Item::Message)).chain(self.tools.into_iter().map(Item::Tool))
    }

    /// The parts of a finished turn's answer, as a model is shown them again: all that ended with tools, and what the
    /// model said last.
    pub fn of_turn(turn: &Turn) -> (Vec<Self>, &str) {
        let (mut steps, mut step) = (Vec::new(), Self::default());
        let mut rest = turn.assistant.content.as_str();
        for item in &turn.items {
            if !step.tools.is_empty() && !matches!(item, Item::Tool(_)) {
                steps.push(std::mem::take(&mut step));
            }
            match item {
                Item::Tool(tool) => step.tools.push(tool.clone()),
                Item::Reasoning(thought) => step.thoughts.push(thought.clone()),
                Item::Message(message) => {
                    rest = rest.strip_prefix(message.content.as_str()).unwrap_or(rest);
                    step.text.push_str(&message.content);
                }
                Item::Other(_) => {}
            }
        }
        if !step.tools.is_empty() {
            steps.push(step);
        }
        (steps, rest)
    }
}

/// A call of the last part that has no result yet.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenCall {
    /// The call.
    pub call: ToolCall,
    /// What was said of it.
    pub consent: Option<Consent>,
}

/// What a run's pieces say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transcript {
    /// The parts that ended with tool calls. Calls that nobody answered yet are told apart by [`Transcript::open_calls`],
    /// and stand in their part as what they are if the turn ends now.
    pub steps: Vec<Step>,
    /// What followed: what the model is saying now, or said last.
    pub last: Step,
    /// All that the model said.
    pub text: String,
    /// What the parts cost that ended with tool calls.
    pub usage: Option<Json>,
}

/// A call with what is known of it.
struct Slot {
    call: ToolCall,
    consent: Option<Consent>,
    result: Option<ToolUse>,
}

/// Reads pieces one after the other.
#[derive(Default)]
struct Reading {
    transcript: Transcript,
    calls: Vec<Slot>,
    /// Whether the last thing was a thought, which goes on.
    is_thinking: bool,
}

impl Transcript {
    /// What these pieces say, which are a run's first ones.
    pub fn of<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> Self {
        let mut reading = Reading::default();
        for piece in pieces {
            reading.read(&piece.body);
        }
        reading.close_step();
        reading.transcript
    }

    /// The calls that have no result yet, in order.
    pub fn open_calls<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> Vec<OpenCall> {
        let mut reading = Reading::default();
        for piece in pieces {
            reading.read(&piece.body);
        }
        let open = reading.calls.into_iter().filter(|slot| slot.result.is_none());
        open.map(|Slot { call, consent, .. }| OpenCall { call, consent }).collect()
    }
}

impl Reading {
    fn read(&mut self, body: &PieceBody) {
        let is_thinking = matches!(body, PieceBody::Reasoning(_));
        match body {
            PieceBody::Text(text) => {
                self.begin_step();
                self.transcript.text.push_str(text);
                self.transcript.last.text.push_str(text);
            }
            PieceBody::Reasoning(text) => {
                self.begin_step();
                match self.transcript.last.thoughts.last_mut() {
                    Some(thought) if self.is_thinking => thought.push_str(text),
                    _ => self.transcript.last.thoughts.push(text.clone()),
                }
            }
            PieceBody::Call(call) => {
                self.begin_step();
                self.calls.push(Slot { call: call.clone(), consent: None, result: None });
            }
            PieceBody::Pause(pause) => {
                self.transcript.last.carry.clone_from(&pause.carry);
                let earlier = self.transcript.usage.take();
                self.transcript.usage = usage::add(earlier, pause.usage.clone());
            }
            PieceBody::Consent { call_id, consent } => {
                if let Some(slot) = self.open(call_id) {
                    slot.consent = Some(consent.clone());
                }
            }
            PieceBody::Tool(tool) => match self.open(&tool.call_id) {
                Some(slot) => slot.result = Some(tool.clone()),
                // One that was used without a call that could be waited for.
                None => self.transcript.last.tools.push(tool.clone()),
            },
        }
        self.is_thinking = is_thinking;
    }

    fn open(&mut self, call_id: &str) -> Option<&mut Slot> {
        self.calls.iter_mut().find(|slot| slot.result.is_none() && slot.call.call_id == call_id)
    }

    /// What arrives now is of a new part, if all calls of the last one have their results.
    fn begin_step(&mut self) {
        if !self.calls.is_empty() && self.calls.iter().all(|slot| slot.result.is_some()) {
            self.close_step();
        }
    }

    fn close_step(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let mut step = std::mem::take(&mut self.transcript.last);
        let used = self.calls.drain(..).map(|Slot { call, consent, result }| {
            result.unwrap_or_else(|| ToolUse::unanswered(&call, consent))
        });
        step.tools.extend(used);
        self.transcript.steps.push(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SequentialIds, TurnId};
    use crate::run::Pause;
    use crate::time::Timestamp;
    use crate::tool::{ConsentKind, ToolEffect};

    fn pieces(bodies: impl IntoIterator<Item = PieceBody>) -> Vec<Piece> {
        bodies.into_iter().zip(0..).map(|(body, seq)| Piece { seq, body }).collect()
    }

    fn call(id: &str) -> PieceBody {
        PieceBody::Call(ToolCall {
            call_id: id.into(),
            name: "look".into(),
            input: Json::empty_object(),
            effect: ToolEffect::Read,
            called_at: Timestamp::from_micros(3),
        })
    }

    fn used(id: &str) -> PieceBody {
        PieceBody::Tool(ToolUse::new(id, "look", Json::empty_object()))
    }

    fn text(text: &str) -> PieceBody {
        PieceBody::Text(text.into())
    }

    fn pause(usage: &str) -> PieceBody {
        let json = |text| Some(Json::parse("test", text).unwrap());
        PieceBody::Pause(Pause { usage: json(usage), carry: json("[1]") })
    }

    #[test]
    fn an_answer_with_tools_falls_into_parts_and_its_text_stays_one() {
        let pieces = pieces([
            PieceBody::Reasoning("h".into()),
            PieceBody::Reasoning("m".into()),
            text("Let me "),
            text("look."),
            call("a"),
            call("b"),
            pause(r#"{"total_tokens":3}"#),
            used("b"),
            used("a"),
            call("c"),
            pause(r#"{"total_tokens":4}"#),
            used("c"),
            text("\n\nSo."),
        ]);
        let Transcript { steps, last, text, usage } = Transcript::of(&pieces);
        assert_eq!((steps.len(), text.as_str()), (2, "Let me look.\n\nSo."));
        assert_eq!(steps[0].thoughts, ["hm"]);
        assert_eq!((steps[0].text.as_str(), steps[0].tools.len()), ("Let me look.", 2));
        assert_eq!(steps[0].tools[0].call_id, "a", "in the order of the calls");
        assert_eq!((steps[1].text.as_str(), steps[1].tools.len(), last.text.as_str()), ("", 1, "\n\nSo."));
        assert!(steps.iter().all(|step| step.carry.is_some()) && last.carry.is_none());
        assert_eq!(usage.unwrap().as_str(), r#"{"total_tokens":7}"#);
        assert_eq!(Transcript::open_calls(&pieces), []);
    }

    #[test]
    fn calls_are_open_until_they_have_a_result_and_keep_what_was_said_of_them() {
        let consent = Consent {
            kind: ConsentKind::Approved,
            by: "ada".into(),
            reason: None,
            at: Timestamp::from_micros(9),
        };
        let said = PieceBody::Consent { call_id: "b".into(), consent: consent.clone() };
        let pieces = pieces([call("a"), call("b"), pause("1"), used("a"), said]);
        let open = Transcript::open_calls(&pieces);
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].call.call_id.as_str(), &open[0].consent), ("b", &Some(consent.clone())));
        let steps = Transcript::of(&pieces).steps;
        let left = &steps[0].tools[1];
        assert_eq!((left.success, &left.consent), (false, &Some(consent)), "as it is if the turn ends now");
        assert!(left.error.is_some() && steps[0].tools[0].success);
    }

    #[test]
    fn a_finished_turn_falls_into_the_same_parts_again() {
        let id = TurnId::generate(&SequentialIds::default());
        let mut turn = Turn::plain(id, "why?", "Let me look.\n\nSo.", Timestamp::from_micros(0));
        assert_eq!(Step::of_turn(&turn), (Vec::new(), "Let me look.\n\nSo."));
        let pieces = pieces([
            PieceBody::Reasoning("hm".into()),
            text("Let me look."),
            call("a"),
            used("a"),
            call("b"),
        ]);
        turn.items = Transcript::of(&pieces).steps.into_iter().flat_map(Step::into_items).collect();
        let (steps, rest) = Step::of_turn(&turn);
        assert_eq!((steps.len(), rest), (1, "\n\nSo."), "what was called in a row counts as called at once");
        assert_eq!((steps[0].thoughts.concat().as_str(), steps[0].tools.len()), ("hm", 2));
        assert_eq!(steps[0].text, "Let me look.");
    }
}
