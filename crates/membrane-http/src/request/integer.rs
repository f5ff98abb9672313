//! Integers as pydantic 2 takes them when it is lax: `1.0`, `true` and `" 5 "` are integers too.
//!
//! Bounds are checked here as well, because what does not fit an `i64` may still have to be called
//! out of bounds instead of too large.

use std::ops::{RangeFrom, RangeFull, RangeInclusive};

use super::field_error::Problem;

/// The least and the greatest integer that are accepted, each inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    min: Option<i64>,
    max: Option<i64>,
}

impl From<RangeFull> for Bounds {
    fn from(_: RangeFull) -> Self {
        Self { min: None, max: None }
    }
}

impl From<RangeFrom<i64>> for Bounds {
    fn from(range: RangeFrom<i64>) -> Self {
        Self { min: Some(range.start), max: None }
    }
}

impl From<RangeInclusive<i64>> for Bounds {
    fn from(range: RangeInclusive<i64>) -> Self {
        Self { min: Some(*range.start()), max: Some(*range.end()) }
    }
}

/// Reads a JSON value, given as its text, which was checked to be JSON.
pub(super) fn parse_integer(json: &str, bounds: Bounds) -> Result<i64, Problem> {
    let value = match json.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(json).map_err(|_| Problem::NotAnIntegersText)?;
            let text = lax_digits(&text).ok_or(Problem::NotAnIntegersText)?;
            parse_digits(&text)
        }
        Some(b't') => Parsed::Fits(1),
        Some(b'f') => Parsed::Fits(0),
        Some(b'-' | b'0'..=b'9') if json.contains(['.', 'e', 'E']) => parse_float(json)?,
        Some(b'-' | b'0'..=b'9') => parse_digits(json),
        _ => return Err(Problem::NotAnInteger),
    };
    match (value, bounds) {
        (Parsed::Fits(value), Bounds { min: Some(min), .. }) if value < min => Err(Problem::Below(min)),
        (Parsed::Fits(value), Bounds { max: Some(max), .. }) if value > max => Err(Problem::Above(max)),
        (Parsed::Fits(value), _) => Ok(value),
        (Parsed::TooSmall, Bounds { min: Some(min), .. }) => Err(Problem::Below(min)),
        (Parsed::TooLarge, Bounds { max: Some(max), .. }) => Err(Problem::Above(max)),
        (Parsed::TooSmall | Parsed::TooLarge, _) => Err(Problem::TooLarge),
    }
}

enum Parsed {
    Fits(i64),
    TooSmall,
    TooLarge,
}

/// Digits with an optional minus sign.
fn parse_digits(text: &str) -> Parsed {
    match text.parse() {
        Ok(value) => Parsed::Fits(value),
        Err(_) if text.starts_with('-') => Parsed::TooSmall,
        Err(_) => Parsed::TooLarge,
    }
}

fn parse_float(json: &str) -> Result<Parsed, Problem> {
    let value: f64 = json.parse().map_err(|_| Problem::TooLarge)?;
    if value.fract() != 0.0 {
        return Err(Problem::HasFraction);
    }
    // The decimal form of a whole float is exact, so no bit is lost on the way; pydantic takes neither
    // end of the range of `i64`.
    match format!("{value:.0}").parse() {
        Ok(value @ -9_223_372_036_854_775_807..) => Ok(Parsed::Fits(value)),
        _ => Err(Problem::TooLarge),
    }
}

/// The digits of a text that pydantic takes for an integer: white space around it, a plus sign, single
/// underscores between digits and a fraction of zeros are allowed.
fn lax_digits(text: &str) -> Option<String> {
    let text = text.trim();
    let (sign, text) = match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        _ => ("", text),
    };
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    let is_group = |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    whole.split('_').all(is_group).then(|| format!("{sign}{}", whole.replace('_', "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pydantic_takes_for_an_integer_is_one() {
        for (json, expected) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0", 0),
            ("1.0", 1),
            ("1e2", 100),
            ("1E+2", 100),
            ("1e18", 1_000_000_000_000_000_000),
            ("-1e18", -1_000_000_000_000_000_000),
            ("true", 1),
            ("false", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            (r#""5""#, 5),
            (r#"" 5 ""#, 5),
            (r#""\n5\t""#, 5),
            (r#""\u00a05""#, 5),
            (r#""+5""#, 5),
            (r#""-5""#, -5),
            (r#""05""#, 5),
            (r#""5.000""#, 5),
            (r#""-5.0""#, -5),
            (r#""5_000""#, 5000),
            (r#""0_0""#, 0),
        ] {
            assert_eq!(parse_integer(json, (..).into()), Ok(expected), "{json}");
        }
    }

    #[test]
    fn what_is_no_integer_is_refused_as_pydantic_does() {
        let not_text =
            ["", " ", "x", "1.5", "1e2", "5.", ".0", "_5", "5_", "5__0", "+-5", "-", "- 5", "0x5", "٥"];
        for text in not_text {
            let json = format!("\"{text}\"");
            assert_eq!(parse_integer(&json, (..).into()), Err(Problem::NotAnIntegersText), "{json}");
        }
        for (json, problem) in [
            ("1.5", Problem::HasFraction),
            ("1e-1", Problem::HasFraction),
            ("null", Problem::NotAnInteger),
            ("[]", Problem::NotAnInteger),
            ("{}", Problem::NotAnInteger),
            ("9223372036854775808", Problem::TooLarge),
            ("-9223372036854775809", Problem::TooLarge),
            (r#""9223372036854775808""#, Problem::TooLarge),
            ("9223372036854775807.0", Problem::TooLarge),
            ("-9223372036854775808.0", Problem::TooLarge),
            ("1e300", Problem::TooLarge),
        ] {
            assert_eq!(parse_integer(json, (..).into()), Err(problem), "{json}");
        }
    }

    #[test]
    fn bounds_are_inclusive_and_hold_for_what_no_integer_type_holds() {
        let bounds = Bounds::from(1..=100);
        for json in ["1", "100", "\"100\""] {
            assert!(parse_integer(json, bounds).is_ok(), "{json}");
        }
        for (json, problem) in [
            ("0", Problem::Below(1)),
            ("false", Problem::Below(1)),
            ("101", Problem::Above(100)),
            ("9999999999999999999999", Problem::Above(100)),
            ("\"-9999999999999999999999\"", Problem::Below(1)),
        ] {
            assert_eq!(parse_integer(json, bounds), Err(problem), "{json}");
        }
        assert_eq!(parse_integer("-1", (0..).into()), Err(Problem::Below(0)));
        assert_eq!(parse_integer("9999999999999999999999", (0..).into()), Err(Problem::TooLarge));
    }
}
