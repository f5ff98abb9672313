//! Times as old files have them, and what they are in UTC where no doubt is possible.
//!
//! Not here: a library for times; whoever is judged may use one.

use super::cell::Cell;
use crate::seed::Choices;

/// The zone of the files whose times have none; `Winter` is one with summer time, as POSIX writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// UTC.
    Utc,
    /// New York's rule since 2007.
    Winter,
}

impl Zone {
    /// As POSIX writes it.
    pub fn posix(self) -> &'static str {
        match self {
            Self::Utc => "UTC0",
            Self::Winter => "EST5EDT,M3.2.0,M11.1.0",
        }
    }
}

/// Times that happened never, or twice, in [`Zone::Winter`].
const UNCLEAR: &[&str] = &["2025-03-09T02:30:00", "2025-11-02T01:30:00.250000", "2025-11-02T01:59:59"];

/// What is no time, or not a whole one.
const NONSENSE: &[&str] = &[
    "",
    "yesterday",
    "2025-13-45T99:99:99",
    "2025-02-30T00:00:00",
    "1700000000",
    "0000-00-00T00:00:00",
    "+292277026596-12-04T15:30:08",
    "12:30:00",
];

/// What is one all the same.
const UNUSUAL: &[&str] = &["2025-06-15", "2025-06-15T12", "2025-06-15T23:59:60"];

/// The `n`-th moment of a session that began at `start` (seconds since 2025-01-01).
pub fn naive(start: u64, n: u64, micros: u64) -> String {
    let seconds = 1_735_689_600 + start + n * 37;
    let text = civil(seconds);
    if micros == 0 { text } else { format!("{text}.{micros:06}") }
}

fn civil(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    while days >= days_in(year, month) {
        days -= days_in(year, month);
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}", days + 1, rest / 3600, rest / 60 % 60, rest % 60)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The same moment written in another way, or something that is no time.
pub fn odd(choices: &mut Choices, text: &str) -> Cell {
    let pick = |list: &[&str], at: usize| Cell::text(*list.get(at % list.len().max(1)).unwrap_or(&""));
    let at = choices.below(64);
    match choices.below(10) {
        0 => Cell::text(text.replace('T', " ")),
        1 => Cell::text(format!("{text}Z")),
        2 => Cell::text(format!("{text}+00:00")),
        3 => Cell::text(format!("{text}+05:30")),
        4 => Cell::text(format!("{text}-08:00")),
        5 | 6 => pick(UNCLEAR, at),
        7 => pick(UNUSUAL, at),
        _ => pick(NONSENSE, at),
    }
}

/// What a text says of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// This one, in UTC with microseconds and `Z`.
    Clear(String),
    /// One that nobody here works out: summer time begins and ends around it.
    Near,
    /// None, or one of two, or one that never was.
    Unclear,
}

/// What a text says of a moment.
pub fn meaning(text: &str, zone: Zone) -> Meaning {
    // As Python reads them.
    let whole = match text.len() {
        10 => format!("{text}T00:00:00"),
        13 => format!("{text}:00:00"),
        _ => text.to_owned(),
    };
    let has_zone = whole.get(19..).is_some_and(|rest| rest.contains(['Z', '+', '-']));
    match (utc(&whole, zone), utc(&whole, Zone::Utc)) {
        (Some(moment), _) if has_zone || zone == Zone::Utc || !UNCLEAR.contains(&text) => {
            Meaning::Clear(moment)
        }
        (None, Some(_)) if !UNCLEAR.contains(&text) => Meaning::Near,
        _ => Meaning::Unclear,
    }
}

/// The moment in UTC with microseconds and `Z`, if the text says it without doubt.
fn utc(text: &str, zone: Zone) -> Option<String> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u64> {
        let part = bytes.get(from..to)?;
        part.iter().all(u8::is_ascii_digit).then_some(())?;
        std::str::from_utf8(part).ok()?.parse().ok()
    };
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, mark)| bytes.get(*at) == Some(mark))
        || !matches!(bytes.get(10), Some(b'T' | b' '))
    {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_sane = year >= 1970 && (1..=12).contains(&month) && day >= 1 && day <= days_in(year, month);
    if !is_sane || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (micros, rest) = fraction(text.get(19..)?)?;
    let mut days: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    days += (1..month).map(|month| days_in(year, month)).sum::<u64>() + day - 1;
    // A leap second is the one before it, as for everybody who counts seconds since 1970.
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second.min(59);
    let utc = seconds.checked_add_signed(-offset(rest, zone, (month, day, hour))?)?;
    Some(format!("{}.{micros:06}Z", civil(utc)))
}

fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if n_digits == 0 || n_digits > 6 {
        return None;
    }
    let (digits, rest) = rest.split_at(n_digits);
    format!("{digits:0<6}").parse().ok().map(|micros| (micros, rest))
}

/// Seconds east of UTC.
fn offset(text: &str, zone: Zone, (month, day, _): (u64, u64, u64)) -> Option<i64> {
    match (text, zone) {
        ("Z" | "+00:00", _) | ("", Zone::Utc) => Some(0),
        ("+05:30", _) => Some(5 * 3600 + 1800),
        ("-08:00", _) => Some(-8 * 3600),
        // Far from the days on which clocks are changed.
        ("", Zone::Winter) if (4..=10).contains(&month) => Some(-4 * 3600),
        ("", Zone::Winter) if month <= 2 || month == 12 || (month == 11 && day > 8) => Some(-5 * 3600),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_times_are_known_in_utc_and_unclear_ones_are_not() {
        let in_utc = |text| utc(text, Zone::Utc);
        assert_eq!(in_utc("2025-06-15T12:00:00").as_deref(), Some("2025-06-15T12:00:00.000000Z"));
        assert_eq!(in_utc("2025-06-15 12:00:00.5").as_deref(), Some("2025-06-15T12:00:00.500000Z"));
        assert_eq!(in_utc("2025-01-01T01:00:00+05:30").as_deref(), Some("2024-12-31T19:30:00.000000Z"));
        assert_eq!(utc("2025-06-15T20:00:00", Zone::Winter).as_deref(), Some("2025-06-16T00:00:00.000000Z"));
        assert_eq!(utc("2025-01-15T12:00:00", Zone::Winter).as_deref(), Some("2025-01-15T17:00:00.000000Z"));
        for text in NONSENSE.iter().chain(UNCLEAR) {
            assert_eq!(utc(text, Zone::Winter), None, "{text}");
        }
        for text in UNCLEAR {
            assert_eq!(meaning(text, Zone::Winter), Meaning::Unclear, "{text}");
        }
        assert_eq!(naive(59 * 86_400, 0, 7), "2025-03-01T00:00:00.000007");
    }
}
