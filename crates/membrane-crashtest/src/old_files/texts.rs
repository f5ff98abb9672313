//! Texts, ids and JSON as old files hold them, from plain to hostile.
//!
//! Not here: where they go ([`super::v1`]).

use super::cell::{Cell, hex};
use crate::seed::Choices;

/// How much in a file is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// Nothing: as kgents wrote files.
    Calm,
    /// Here and there.
    Lively,
    /// Everywhere.
    Wild,
}

/// Where oddities come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The choices of the file.
    pub choices: Choices,
    /// How much is odd.
    pub temper: Temper,
    /// Whether columns have no types, so that any value can stand in any of them.
    pub is_loose: bool,
    /// Whether text must be UTF-8 because the file holds UTF-16.
    pub is_utf16: bool,
}

const WORDS: &[&str] = &[
    "how",
    "do",
    "I",
    "keep",
    "a",
    "talk",
    "```rust\nfn main() {}\n```",
    "turn",
    "branch",
    "merge",
    "why",
    "not",
    "naïve",
    "über",
    "日本語",
    "🙂",
    "fine.",
];

const ODD_TEXTS: &[&str] = &[
    "",
    " ",
    "\0",
    "before\0after",
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "שלום עולם \u{202e}abc",
    "e\u{301}\u{327} Å Å",
    "\u{feff}with a mark",
    "\u{ffff}\u{fffe}\u{10ffff}",
    "line\r\nline\rline\u{2028}line",
    "'; DROP TABLE chat_turns; --",
    "{\"looks\": \"like JSON\"}",
    "\u{fffd}",
    "%s %n ${HOME} `id`",
    "\u{1}\u{1b}[31m\u{7f}",
];

/// Bytes that are no UTF-8: half a character, a lone surrogate, a byte that never occurs, an overlong form.
const NO_TEXTS: &[&[u8]] =
    &[b"ab\xff\xfecd", b"\xed\xa0\x80", b"x\xed\xb0\x80y", b"cut \xf0\x9f\x99", b"\xc0\xaf", b"\x80"];

const ODD_IDS: &[&str] = &[
    "0",
    " leading and trailing ",
    "session-ABCDEF",
    "session-abcdef",
    "a/b?c=d&e#f%20",
    "Ünïcødé-🙂",
    "'; DROP TABLE chat_sessions; --",
    "\"quoted\"",
    "a\0b",
    "new\nline",
    "..",
    "main",
];

impl Source {
    /// One of a few.
    pub fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> Option<&'a T> {
        list.get(self.choices.below(list.len())).copied()
    }

    /// Whether something is to be odd here.
    pub fn is_odd(&mut self) -> bool {
        match self.temper {
            Temper::Calm => false,
            Temper::Lively => self.choices.one_in(12),
            Temper::Wild => self.choices.one_in(4),
        }
    }

    /// A text without surprises, of up to some hundred bytes.
    pub fn plain(&mut self) -> String {
        let n_words = 1 + self.choices.below(20);
        let words: Vec<_> = (0..n_words).filter_map(|_| self.pick(WORDS)).collect();
        words.join(" ")
    }

    /// A message.
    pub fn message(&mut self) -> Cell {
        if !self.is_odd() {
            return Cell::text(self.plain());
        }
        match self.choices.below(20) {
            0 if self.temper == Temper::Lively => Cell::text("long ".repeat((1 << 20) / 5)),
            0..=2 => Cell::text("pages ".repeat(900 + self.choices.below(3000))),
            3..=6 if !self.is_utf16 => Cell::Text(self.pick(NO_TEXTS).unwrap_or(b"").to_owned()),
            7 | 8 => self.wrong_type(),
            _ => Cell::text(self.pick(ODD_TEXTS).unwrap_or("")),
        }
    }

    /// A value of another type than text; a column of type TEXT can hold only a blob.
    pub fn wrong_type(&mut self) -> Cell {
        let n_kinds = if self.is_loose { 5 } else { 1 };
        match self.choices.below(n_kinds) {
            0 => Cell::Blob(self.choices.next_number().to_le_bytes().to_vec()),
            1 => Cell::Int(42),
            2 => Cell::Real(2.5),
            3 => Cell::Int(i64::MIN),
            _ => Cell::Null,
        }
    }

    /// A word of a few; now and then another one, or none.
    pub fn word(&mut self, known: &[&str]) -> Cell {
        if self.is_odd() {
            return match self.choices.below(4) {
                0 => self.wrong_type(),
                1 => Cell::text(""),
                _ => Cell::text("sticky"),
            };
        }
        Cell::text(self.pick(known).unwrap_or("").to_owned())
    }

    /// A new id; the caller sees to it that it is new.
    pub fn id(&mut self, prefix: &str) -> Cell {
        let bits = self.choices.next_number().to_be_bytes();
        let plain = format!("{prefix}-{}", hex(bits.get(..6).unwrap_or(&[])));
        if !self.is_odd() {
            return Cell::text(plain);
        }
        match self.choices.below(12) {
            0 => Cell::text(""),
            1 => Cell::Null,
            2 => self.wrong_type(),
            3 if !self.is_utf16 => Cell::Text([plain.as_bytes(), b"\xff"].concat()),
            4 => Cell::text(format!("{plain}-{}", "x".repeat(300))),
            5 if self.temper == Temper::Wild => Cell::text("y".repeat(70_000)),
            _ => Cell::text(self.pick(ODD_IDS).unwrap_or("1")),
        }
    }

    /// Evidence of `n_turns` successes; now and then anything.
    pub fn evidence(&mut self, n_turns: usize, at: &str) -> Cell {
        if !self.is_odd() {
            return Cell::text(consistent_evidence(n_turns, at));
        }
        self.json(&[
            "{}",
            "null",
            "{\"prior_alpha\": 1e308, \"prior_beta\": -5}",
            "{\"prior_alpha\": 12.5, \"prior_beta\": 3.25, \"tools_succeeded\": 4, \"unknown\": [1, 2]}",
            "{\"prior_alpha\": \"many\"}",
            "{\"prior_alpha\": 9007199254740993, \"prior_beta\": 1, \"ashc_equivalence\": 0.5}",
        ])
    }

    /// What a session's users keep with it.
    pub fn metadata(&mut self) -> Cell {
        if !self.is_odd() {
            return Cell::text(match self.choices.below(3) {
                0 => "{}".to_owned(),
                1 => "{\"title\": \"A talk\", \"nested\": {\"list\": [1, 2.5, null, true, {\"é\": \"🙂\"}]}}"
                    .to_owned(),
                _ => format!("{{\"n\": {}}}", self.choices.below(1000)),
            });
        }
        let nested = format!("{{\"deep\": {}{}}}", "[".repeat(90), "]".repeat(90));
        self.json(&[
            "[]",
            "\"text\"",
            "{\"a\": 1, \"a\": 2}",
            "{\"surrogate\": \"\\ud800\"}",
            "{\"number\": 123456789012345678901234567890}",
            &nested,
        ])
    }

    /// Tools of a turn.
    pub fn tools(&mut self) -> Cell {
        if self.is_odd() {
            return self.json(&[
                "[1, 2]",
                "{\"name\": \"not a list\"}",
                "[{\"input\": {}}]",
                "[{\"name\": 7}]",
                "[null]",
                "[{\"name\": \"a\", \"success\": \"maybe\", \"more\": 1}]",
            ]);
        }
        match self.choices.below(8) {
            0 => Cell::text("[]"),
            1 => Cell::text("[\"read_file\", \"grep\"]"),
            2 => Cell::text(
                "[{\"call_id\": \"call_1\", \"name\": \"read_file\", \"input\": {\"path\": \"a\"}, \"output\": \"text\", \
                 \"success\": true, \"duration_ms\": 12.5}]",
            ),
            _ => Cell::Null,
        }
    }

    /// JSON of the kind that fits, or text that is none at all.
    pub fn json(&mut self, some: &[&str]) -> Cell {
        match self.choices.below(8) {
            0 => Cell::text("{"),
            1 => Cell::text("nonsense"),
            2 => self.wrong_type(),
            3 if self.temper == Temper::Wild => Cell::text(format!("[{}1]", "1, ".repeat(30_000))),
            4 if self.temper == Temper::Wild => Cell::text("[".repeat(20_000)),
            _ => Cell::text(self.pick(some).unwrap_or("{}").to_owned()),
        }
    }

    /// A JSON list of strings.
    pub fn strings(&mut self) -> Cell {
        if self.is_odd() {
            return self.json(&["[1]", "{}", "[\"a\", null]", "\"a\""]);
        }
        match self.choices.below(3) {
            0 => Cell::Null,
            1 => Cell::text("[]"),
            _ => Cell::text("[\"use segments\", \"é, \\\"quoted\\\"\"]"),
        }
    }
}

/// Evidence as kgents writes it after so many successes.
#[expect(clippy::cast_precision_loss, reason = "counts of a small file")]
pub fn consistent_evidence(n_turns: usize, at: &str) -> String {
    let confidence = (n_turns as f64 + 1.0) / (n_turns as f64 + 2.0);
    format!(
        "{{\"id\": \"chat-evd-0123456789ab\", \"prior_alpha\": {}.0, \"prior_beta\": 1.0, \"confidence\": {confidence}, \
         \"should_stop\": {}, \"tools_succeeded\": {n_turns}, \"tools_failed\": 0, \"ashc_equivalence\": null, \
         \"created_at\": \"{at}\", \"updated_at\": \"{at}\", \"metadata\": {{}}}}",
        n_turns + 1,
        n_turns >= 2
    )
}
