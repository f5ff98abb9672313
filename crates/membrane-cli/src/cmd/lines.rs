//! Turns as JSON lines: what a line may hold, and reading them without ever holding more than one
//! batch. Where the turns go is in `append.rs`.

use std::io::BufRead;

use membrane::{
    Item, Json, Linearity, Message, NewTurn, Timestamp, ToolUse, TurnError, TurnStatus, ValueError,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::failure::Failure;

/// The longest line: the largest turn, with room for what JSON adds to it.
pub(super) const MAX_LINE_BYTES: usize = 128 * 1024 * 1024;

/// How many turns may wait for the store.
const QUEUE: usize = 64;

/// A turn that was read, or why nothing more can be.
pub(super) struct Line {
    /// Counted from 1, with the empty ones.
    pub(super) number: u64,
    pub(super) turn: Result<NewTurn, Failure>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnLine {
    user: String,
    assistant: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Option<Box<RawValue>>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    error: Option<ErrorLine>,
    #[serde(default)]
    tools: Vec<ToolLine>,
    #[serde(default)]
    user_linearity: Option<String>,
    #[serde(default)]
    assistant_linearity: Option<String>,
    #[serde(default)]
    started_at: Option<String>,
    #[serde(default)]
    completed_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorLine {
    code: String,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolLine {
    #[serde(default)]
    call_id: String,
    name: String,
    #[serde(default)]
    input: Option<Box<RawValue>>,
    #[serde(default)]
    output: Option<Box<RawValue>>,
    #[serde(default = "yes")]
    success: bool,
    #[serde(default)]
    duration_ms: f64,
}

fn yes() -> bool {
    true
}

/// Reads turns on a thread of their own, because standard input cannot be waited for in any other way.
/// Ends after the last line, or after the first one that cannot be read.
pub(super) fn read(
    mut input: impl BufRead + Send + 'static,
    max_line_bytes: usize,
) -> Result<mpsc::Receiver<Line>, Failure> {
    let (lines, receiver) = mpsc::channel(QUEUE);
    let reader = std::thread::Builder::new().name("membrane-stdin".to_owned());
    let started = reader.spawn(move || {
        let mut number = 0;
        let mut buffer = Vec::new();
        loop {
            number += 1;
            let turn = match next_line(&mut input, &mut buffer, max_line_bytes) {
                Ok(false) => return,
                Ok(true) if buffer.trim_ascii().is_empty() => continue,
                Ok(true) => parse(&buffer),
                Err(failure) => Err(failure),
            };
            let is_last = turn.is_err();
            // Nobody receives any more when the store has refused a turn.
            if lines.blocking_send(Line { number, turn }).is_err() || is_last {
                return;
            }
        }
    });
    started.map_err(|error| Failure::io("start a thread that reads standard input", &error))?;
    Ok(receiver)
}

/// Reads one line into `buffer`; false at the end of the input.
fn next_line(input: &mut impl BufRead, buffer: &mut Vec<u8>, max_line_bytes: usize) -> Result<bool, Failure> {
    buffer.clear();
    let limit = u64::try_from(max_line_bytes).unwrap_or(u64::MAX);
    let read = std::io::Read::take(&mut *input, limit.saturating_add(1))
        .read_until(b'\n', buffer)
        .map_err(|error| Failure::io("read standard input", &error))?;
    if buffer.last() == Some(&b'\n') {
        buffer.pop();
    }
    if buffer.len() > max_line_bytes {
        return Err(Failure::usage(format!("it has more than {max_line_bytes} bytes; split the turn")));
    }
    Ok(read > 0)
}

fn parse(line: &[u8]) -> Result<NewTurn, Failure> {
    let text = std::str::from_utf8(line).map_err(|error| {
        Failure::usage(format!("it is not UTF-8 from byte {} on; convert the input", error.valid_up_to() + 1))
    })?;
    let line: TurnLine = serde_json::from_str(text).map_err(|error| Failure::usage(json_problem(&error)))?;
    Ok(line.into_turn()?)
}

/// The parser counts lines itself; ours has only one, so its column is enough.
fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let words = text.split(" at line ").next().unwrap_or(&text);
    format!("{words} (column {}); give {{\"user\": \"…\", \"assistant\": \"…\"}}", error.column())
}

impl TurnLine {
    fn into_turn(self) -> Result<NewTurn, ValueError> {
        let raw = |what, value: Option<Box<RawValue>>| match value {
            Some(value) => Json::parse(what, value.get()),
            None => Ok(Json::null()),
        };
        let message = |content: String, tag: Option<String>| {
            let linearity = tag.map_or(Ok(Linearity::Preserved), |tag| Linearity::parse(&tag))?;
            Ok::<_, ValueError>(Message { linearity, ..Message::new(content) })
        };
        let mut items: Vec<Item> = self.reasoning.into_iter().map(Item::Reasoning).collect();
        for tool in self.tools {
            items.push(Item::Tool(ToolUse {
                output: raw("tool's output", tool.output)?,
                success: tool.success,
                duration_ms: tool.duration_ms,
                ..ToolUse::new(tool.call_id, tool.name, raw("tool's input", tool.input)?)
            }));
        }
        Ok(NewTurn {
            status: self.status.map_or(Ok(TurnStatus::Complete), |status| TurnStatus::parse(&status))?,
            user: message(self.user, self.user_linearity)?,
            assistant: message(self.assistant, self.assistant_linearity)?,
            items,
            model: self.model,
            usage: self.usage.map(|usage| Json::parse("usage", usage.get())).transpose()?,
            finish_reason: self.finish_reason,
            error: self.error.map(|error| TurnError { code: error.code, message: error.message }),
            portal_emissions: None,
            started_at: self.started_at.map(|at| Timestamp::parse(&at)).transpose()?,
            completed_at: self.completed_at.map(|at| Timestamp::parse(&at)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn all(input: &[u8], max_line_bytes: usize) -> Vec<(u64, Result<String, String>)> {
        let mut lines = read(Cursor::new(input.to_vec()), max_line_bytes).unwrap();
        std::iter::from_fn(|| lines.blocking_recv())
            .map(|line| {
                let said = line.turn.map(|turn| turn.user.content).map_err(|failure| failure.to_string());
                (line.number, said)
            })
            .collect()
    }

    #[test]
    fn lines_are_numbered_from_1_and_empty_ones_are_skipped() {
        let input = b"\n{\"user\":\"a\",\"assistant\":\"\"}\r\n  \n{\"user\":\"b\",\"assistant\":\"\"}";
        let found = all(input, 1000);
        assert_eq!(found, [(2, Ok("a".to_owned())), (4, Ok("b".to_owned()))]);
        assert!(all(b"", 1000).is_empty());
    }

    #[test]
    fn nothing_is_read_behind_a_line_that_cannot_be() {
        for (bad, word) in [
            (&b"{\"user\":\"a\"}"[..], "assistant"),
            (b"nonsense", "column"),
            (b"{\"user\":\"a\",\"assistant\":\"\",\"usr\":1}", "usr"),
            (b"{\"user\":\"a\",\"assistant\":\"\"} {}", "trailing"),
            (b"{\"user\":\"a\",\"assistant\":\"\",\"status\":\"odd\"}", "complete"),
            (b"{\"user\":\"a\",\"assistant\":\"\",\"started_at\":\"now\"}", "not a time"),
            (b"{\"user\":\"\\ud800\",\"assistant\":\"\"}", "hex escape"),
            (b"\xff", "UTF-8 from byte 1"),
        ] {
            let good = b"{\"user\":\"a\",\"assistant\":\"\"}\n";
            let found = all(&[good, bad, b"\n", good].concat(), 1000);
            assert_eq!(found.len(), 2, "{found:?}");
            let (number, error) = &found[1];
            assert!(*number == 2 && error.as_ref().unwrap_err().contains(word), "{error:?}");
        }
    }

    #[test]
    fn a_line_may_be_exactly_as_long_as_the_limit() {
        let line = br#"{"user":"a","assistant":""}"#;
        assert!(all(line, line.len())[0].1.is_ok());
        let over = all(line, line.len() - 1);
        assert!(over[0].1.as_ref().unwrap_err().contains("26 bytes"), "{over:?}");
    }

    #[test]
    fn everything_that_a_line_may_hold_comes_through() {
        let line = br#"{"user":"u","assistant":"a","status":"interrupted","model":"m","usage":{"in":1e400},
            "finish_reason":"stop","reasoning":"hm","error":{"code":"c","message":"m"},
            "tools":[{"name":"t","input":[1],"success":false,"duration_ms":1.5}],
            "user_linearity":"required","started_at":"2026-01-02T03:04:05+01:00"}"#;
        let turn = parse(line).unwrap();
        assert_eq!((turn.status, turn.user.linearity), (TurnStatus::Interrupted, Linearity::Required));
        assert_eq!(turn.usage.unwrap().as_str(), r#"{"in":1e400}"#);
        assert_eq!(turn.items.len(), 2);
        assert_eq!(turn.started_at.unwrap().to_string(), "2026-01-02T02:04:05.000000Z");
    }
}
