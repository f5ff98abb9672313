//! A turn's small columns as one text: reading a column through the driver costs as much as copying a
//! hundred bytes, and loading a session reads them a thousand times. The columns hold the same for SQL.

use std::fmt::Write;

use membrane_core::history::Placement;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Linearity, Totals, Turn, TurnStatus};

/// Instead of the status's letter: a complete turn that observes nothing itself.
const LEGACY: char = 'l';
const LEGACY_BYTE: u8 = b'l';

/// What loading a turn needs beside its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) status: TurnStatus,
    /// Whether an old file's total holds what it showed.
    pub(crate) is_legacy: bool,
    pub(crate) user_linearity: Linearity,
    pub(crate) assistant_linearity: Linearity,
    /// Whether `tools_json` or `extra_json` is there.
    pub(crate) has_rare: bool,
    pub(crate) order_at: Timestamp,
    pub(crate) started_at: Timestamp,
    pub(crate) completed_at: Timestamp,
    pub(crate) sums: Totals,
}

impl Facts {
    /// What is written with a turn.
    pub(crate) fn of(turn: &Turn, placement: &Placement, has_rare: bool) -> Self {
        Self {
            status: turn.status,
            is_legacy: turn.is_legacy && turn.status == TurnStatus::Complete,
            user_linearity: turn.user.linearity,
            assistant_linearity: turn.assistant.linearity,
            has_rare,
            order_at: placement.order_at,
            started_at: turn.started_at,
            completed_at: turn.completed_at,
            sums: placement.sums,
        }
    }

    /// Letters, then numbers.
    pub(crate) fn encode(&self) -> String {
        let letter = |word: &'static str| word.chars().next().unwrap_or('?');
        let mut text = String::with_capacity(112);
        text.extend([
            if self.is_legacy { LEGACY } else { letter(self.status.as_str()) },
            letter(self.user_linearity.as_str()),
            letter(self.assistant_linearity.as_str()),
            if self.has_rare { '1' } else { '0' },
        ]);
        for number in self.numbers() {
            // Writing to a string cannot fail.
            let _ = write!(text, ",{number}");
        }
        text
    }

    /// The two later times as differences: most are short then, and quick to read.
    fn numbers(&self) -> [i64; 9] {
        let Totals { succeeded, failed, tool_calls, tokens, chars, code_blocks } = self.sums;
        let [order_at, started_at, completed_at] =
            [self.order_at, self.started_at, self.completed_at].map(Timestamp::as_micros);
        let (waited, took) = (order_at - started_at, completed_at - started_at);
        [order_at, waited, took, succeeded, failed, tool_calls, tokens, chars, code_blocks]
    }

    /// Reads them back; `None` when they make no sense.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let (letters, rest) = text.split_at_checked(4)?;
        let [status, user, assistant, has_rare] = *letters.as_bytes() else { return None };
        let linearity = |letter| match letter {
            b'r' => Some(Linearity::Required),
            b'p' => Some(Linearity::Preserved),
            b'd' => Some(Linearity::Droppable),
            _ => None,
        };
        let [order_at, waited, took, succeeded, failed, tool_calls, tokens, chars, code_blocks] =
            numbers(rest.as_bytes())?;
        let started_at = order_at.checked_sub(waited)?;
        Some(Self {
            status: match status {
                b'c' | LEGACY_BYTE => TurnStatus::Complete,
                b'i' => TurnStatus::Interrupted,
                b'f' => TurnStatus::Failed,
                _ => return None,
            },
            is_legacy: status == LEGACY_BYTE,
            user_linearity: linearity(user)?,
            assistant_linearity: linearity(assistant)?,
            has_rare: has_rare == b'1',
            order_at: Timestamp::from_micros(order_at),
            started_at: Timestamp::from_micros(started_at),
            completed_at: Timestamp::from_micros(started_at.checked_add(took)?),
            sums: Totals { succeeded, failed, tool_calls, tokens, chars, code_blocks },
        })
    }
}

/// Nine numbers, each after a comma.
fn numbers(text: &[u8]) -> Option<[i64; 9]> {
    let mut numbers = [0; 9];
    let mut rest = text;
    for number in &mut numbers {
        (*number, rest) = leading_number(rest.strip_prefix(b",")?)?;
    }
    rest.is_empty().then_some(numbers)
}

/// No 19 digits are more than an unsigned integer of 64 bits holds, so that only the end is checked.
const MAX_DIGITS: usize = 19;

fn leading_number(text: &[u8]) -> Option<(i64, &[u8])> {
    let (is_negative, text) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let n_digits = text.iter().take(MAX_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if n_digits == 0 || n_digits > MAX_DIGITS {
        return None;
    }
    let (digits, rest) = text.split_at_checked(n_digits)?;
    let size = digits.iter().fold(0_u64, |sum, digit| sum.wrapping_mul(10) + u64::from(digit & 15));
    let size = i64::try_from(size).ok()?;
    Some((if is_negative { -size } else { size }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back() {
        let facts = Facts {
            status: TurnStatus::Interrupted,
            is_legacy: false,
            user_linearity: Linearity::Required,
            assistant_linearity: Linearity::Droppable,
            has_rare: true,
            order_at: Timestamp::from_micros(-5),
            started_at: Timestamp::MIN,
            completed_at: Timestamp::MAX,
            sums: Totals {
                succeeded: 1,
                failed: 0,
                tool_calls: 12,
                tokens: i64::MAX,
                chars: -7,
                code_blocks: -1,
            },
        };
        assert_eq!(Facts::decode(&facts.encode()), Some(facts));
        let legacy = Facts { status: TurnStatus::Complete, is_legacy: true, ..facts };
        assert_eq!(Facts::decode(&legacy.encode()), Some(legacy));
    }

    #[test]
    fn what_makes_no_sense_is_not_read() {
        for text in [
            "",
            "cpp",
            "cpp0",
            "cpp0,1,2,3,4,5,6,7,8",
            "cpp0,1,2,3,4,5,6,7,8,9,10",
            "xpp0,1,2,3,4,5,6,7,8,9",
            "cpp0,1,2,3,4,5,6,7,8,x",
            "cpp01,2,3,4,5,6,7,8,9",
            "cpp0,99999999999999999999,2,3,4,5,6,7,8,9",
            "ü,1",
        ] {
            assert_eq!(Facts::decode(text), None, "{text}");
        }
    }
}
