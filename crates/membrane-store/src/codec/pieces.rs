//! A run's pieces as stored text.

use membrane_core::error::ValueError;
use membrane_core::run::{Pause, Piece, PieceBody};
use membrane_core::time::Timestamp;
use membrane_core::tool::{ToolCall, ToolEffect};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::tools::{ConsentText, ToolText, consent, consent_text, tool, tool_text};
use super::{from_text, json, raw, to_text};

#[derive(Serialize, Deserialize)]
struct CallText {
    call_id: String,
    name: String,
    input: Box<RawValue>,
    effect: String,
    called_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PieceText {
    Text(String),
    Reasoning(String),
    Call(CallText),
    Pause {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Box<RawValue>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        carry: Option<Box<RawValue>>,
    },
    Consent {
        call_id: String,
        consent: ConsentText,
    },
    Tool(ToolText),
}

/// Pieces that follow on one another as the text of one row, which goes by the number of the last. One alone is its own text.
///
/// # Errors
/// As [`super::encode_turn`].
pub fn encode_pieces(pieces: &[Piece]) -> Result<String, ValueError> {
    let texts: Vec<PieceText> = pieces.iter().map(|piece| text_of(&piece.body)).collect::<Result<_, _>>()?;
    match texts.as_slice() {
        [text] => to_text("piece", text),
        texts => to_text("pieces", &texts),
    }
}

fn text_of(body: &PieceBody) -> Result<PieceText, ValueError> {
    Ok(match body {
        PieceBody::Text(text) => PieceText::Text(text.clone()),
        PieceBody::Reasoning(text) => PieceText::Reasoning(text.clone()),
        PieceBody::Call(call) => PieceText::Call(CallText {
            call_id: call.call_id.clone(),
            name: call.name.clone(),
            input: raw(&call.input)?,
            effect: call.effect.as_str().to_owned(),
            called_at: call.called_at.to_string(),
        }),
        PieceBody::Pause(Pause { usage, carry }) => PieceText::Pause {
            usage: usage.as_ref().map(raw).transpose()?,
            carry: carry.as_ref().map(raw).transpose()?,
        },
        PieceBody::Consent { call_id, consent } => {
            PieceText::Consent { call_id: call_id.clone(), consent: consent_text(consent) }
        }
        PieceBody::Tool(tool) => PieceText::Tool(tool_text(tool)?),
    })
}

/// Reads a row's pieces back, the last of which has this number.
///
/// # Errors
/// [`ValueError`] naming what cannot be read.
pub fn decode_pieces(last: u64, text: &str) -> Result<Vec<Piece>, ValueError> {
    // Not by trying both: an error is to say what is wrong with the one that it is.
    let texts: Vec<PieceText> = if text.trim_start().starts_with('[') {
        from_text("pieces", text)?
    } else {
        vec![from_text("piece", text)?]
    };
    let n_before = last.checked_add(1).zip(u64::try_from(texts.len()).ok());
    let first = n_before.and_then(|(end, count)| end.checked_sub(count)).filter(|first| *first <= last);
    let Some(first) = first else {
        let problem = format!("{} pieces cannot end with number {last}", texts.len());
        return Err(ValueError::NotJson { what: "pieces", problem });
    };
    (first..).zip(texts).map(|(seq, text)| Ok(Piece { seq, body: body_of(text)? })).collect()
}

fn body_of(text: PieceText) -> Result<PieceBody, ValueError> {
    Ok(match text {
        PieceText::Text(text) => PieceBody::Text(text),
        PieceText::Reasoning(text) => PieceBody::Reasoning(text),
        PieceText::Call(text) => PieceBody::Call(ToolCall {
            call_id: text.call_id,
            name: text.name,
            input: json(&text.input)?,
            effect: ToolEffect::parse(&text.effect)?,
            called_at: Timestamp::parse(&text.called_at)?,
        }),
        PieceText::Pause { usage, carry } => PieceBody::Pause(Pause {
            usage: usage.as_deref().map(json).transpose()?,
            carry: carry.as_deref().map(json).transpose()?,
        }),
        PieceText::Consent { call_id, consent: text } => {
            PieceBody::Consent { call_id, consent: consent(text)? }
        }
        PieceText::Tool(text) => PieceBody::Tool(tool(text)?),
    })
}

/// Finds the runs that lack pieces, of rows in the order of runs and numbers.
#[derive(Debug, Default)]
pub struct PieceOrder {
    run: String,
    next: u64,
    is_told: bool,
}

impl PieceOrder {
    /// Takes a run's next row; whether it is the first of the run before which pieces are missing.
    pub fn has_gap(&mut self, run: &str, pieces: &[Piece]) -> bool {
        if self.run != run {
            *self = Self { run: run.to_owned(), next: 0, is_told: false };
        }
        let is_next = pieces.first().is_none_or(|piece| piece.seq == self.next);
        self.next = pieces.last().map_or(self.next, |piece| piece.seq.saturating_add(1));
        !is_next && !std::mem::replace(&mut self.is_told, true)
    }
}

#[cfg(test)]
mod tests {
    use membrane_core::json::Json;
    use membrane_core::tool::{Consent, ConsentKind, ToolUse};

    use super::*;

    #[test]
    fn every_kind_of_piece_comes_back() {
        let json = |text| Json::parse("test", text).unwrap();
        let call = ToolCall {
            call_id: "c".into(),
            name: "write".into(),
            input: json(r#"{"n": 1.50}"#),
            effect: ToolEffect::Write,
            called_at: Timestamp::from_micros(7),
        };
        let consent = Consent {
            kind: ConsentKind::Denied,
            by: "ada 🙂".into(),
            reason: Some("not today".into()),
            at: Timestamp::from_micros(1_700_000_000_000_001),
        };
        let bodies = [
            PieceBody::Text("a\0🙂".into()),
            PieceBody::Reasoning(String::new()),
            PieceBody::Call(call),
            PieceBody::Pause(Pause::default()),
            PieceBody::Pause(Pause { usage: Some(json(r#"{"a": 1}"#)), carry: Some(json("[1e400]")) }),
            PieceBody::Consent { call_id: "c".into(), consent },
            PieceBody::Tool(ToolUse::new("c", "write", json("[]"))),
        ];
        let pieces: Vec<_> = (3..).zip(bodies).map(|(seq, body)| Piece { seq, body }).collect();
        for piece in &pieces {
            let one = std::slice::from_ref(piece);
            assert_eq!(decode_pieces(piece.seq, &encode_pieces(one).unwrap()).unwrap(), one);
        }
        let last = pieces.last().unwrap().seq;
        assert_eq!(decode_pieces(last, &encode_pieces(&pieces).unwrap()).unwrap(), pieces);
    }

    #[test]
    fn a_run_that_lacks_pieces_is_found_once() {
        let mut order = PieceOrder::default();
        let text = |seq| Piece { seq, body: PieceBody::Text(String::new()) };
        let mut gaps = Vec::new();
        for (run, row) in
            [("a", 0..1), ("a", 1..4), ("b", 1..2), ("b", 3..4), ("c", 0..2), ("c", 1..3), ("d", 0..1)]
        {
            let row: Vec<_> = row.map(text).collect();
            if order.has_gap(run, &row) {
                gaps.push((run, row[0].seq));
            }
        }
        assert_eq!(gaps, [("b", 1), ("c", 1)]);
    }

    #[test]
    fn rows_that_cannot_be_are_refused() {
        for (last, text) in [
            (0, "[]"),
            (u64::MAX, r#"{"text":"a"}"#),
            (0, r#"[{"text":"a"},{"text":"b"}]"#),
            (5, r#"{"words":"a"}"#),
            (5, r#"[{"text":"a"}"#),
            (5, ""),
        ] {
            decode_pieces(last, text).unwrap_err();
        }
        assert_eq!(decode_pieces(1, r#" [{"text":"a"},{"text":"b"}]"#).unwrap().len(), 2);
    }
}
