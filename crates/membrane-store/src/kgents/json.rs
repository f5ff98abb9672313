//! JSON as Python writes it: halves of surrogate pairs in strings, and `NaN` and `Infinity` among the numbers.
//!
//! Neither is JSON. Both are in old files, and what stands around them is good.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// What had to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repairs {
    /// Halves of surrogate pairs that stood alone; U+FFFD stands in their place.
    pub surrogates: u64,
    /// `NaN`, `Infinity`, `-Infinity`; `null` stands in their place.
    pub constants: u64,
}

impl Repairs {
    /// Whether nothing was.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// Why a text gave no object.
#[derive(Debug, thiserror::Error)]
pub enum NoObject {
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It is other JSON.
    #[error("it is JSON, but no object")]
    Other,
}

/// Reads an object. Of two values with the same key the last one counts, as for Python.
///
/// # Errors
/// [`NoObject`].
pub fn parse_object(text: &str) -> Result<(Map<String, Value>, Repairs), NoObject> {
    let (text, repairs) = repair(text);
    match serde_json::from_str(&text)? {
        Value::Object(object) => Ok((object, repairs)),
        _ => Err(NoObject::Other),
    }
}

/// The text as JSON that everybody reads. What is not of Python's kind stays as it is, wrong or right.
pub fn repair(text: &str) -> (Cow<'_, str>, Repairs) {
    let mut repairs = Repairs::default();
    let may_need_it = ["\\ud", "\\uD", "NaN", "Infinity"].iter().any(|part| text.contains(part));
    if !may_need_it {
        return (Cow::Borrowed(text), repairs);
    }
    let mut repaired = String::with_capacity(text.len());
    let mut is_string = false;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let len = if is_string { string_part(rest, &mut repaired, &mut repairs) } else { 0 };
        let len = if is_string { len } else { constant(rest, &mut repaired, &mut repairs) };
        if len > 0 {
            rest = rest.get(len..).unwrap_or_default();
            continue;
        }
        is_string ^= next == '"';
        repaired.push(next);
        rest = rest.get(next.len_utf8()..).unwrap_or_default();
    }
    if repairs.is_nothing() { (Cow::Borrowed(text), repairs) } else { (Cow::Owned(repaired), repairs) }
}

/// Takes the escape that the rest of a string begins with; gives its length, 0 if it begins with none.
fn string_part(rest: &str, repaired: &mut String, repairs: &mut Repairs) -> usize {
    if !rest.starts_with('\\') {
        return 0;
    }
    let alone = match unit(rest) {
        Some(0xd800..=0xdbff) => {
            let pair =
                rest.get(..12).filter(|_| matches!(rest.get(6..).and_then(unit), Some(0xdc00..=0xdfff)));
            if let Some(pair) = pair {
                repaired.push_str(pair);
                return 12;
            }
            true
        }
        Some(0xdc00..=0xdfff) => true,
        _ => false,
    };
    if alone {
        repairs.surrogates += 1;
        repaired.push_str("\\ufffd");
        return 6;
    }
    // The escaped character may be a quote, which ends nothing.
    let len = rest.chars().take(2).map(char::len_utf8).sum();
    repaired.push_str(rest.get(..len).unwrap_or_default());
    len
}

/// Takes the constant that the rest begins with; gives its length, 0 if it begins with none.
fn constant(rest: &str, repaired: &mut String, repairs: &mut Repairs) -> usize {
    let Some(constant) = ["NaN", "Infinity", "-Infinity"].iter().find(|name| rest.starts_with(**name)) else {
        return 0;
    };
    repairs.constants += 1;
    repaired.push_str("null");
    constant.len()
}

/// The code unit that an escape at the beginning stands for.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str, surrogates: u64, constants: u64) {
        let (repaired, repairs) = repair(text);
        assert_eq!((&*repaired, repairs), (expected, Repairs { surrogates, constants }), "{text}");
    }

    #[test]
    fn halves_of_pairs_are_replaced_and_pairs_stay() {
        check(r#"{"a": "x\ud800y"}"#, r#"{"a": "x\ufffdy"}"#, 1, 0);
        check(r#"["\uDC00\uD83D\uDE00\ud83d"]"#, r#"["\ufffd\uD83D\uDE00\ufffd"]"#, 2, 0);
        check(r#"["\ud83d\ud83d\ude00"]"#, r#"["\ufffd\ud83d\ude00"]"#, 1, 0);
        check(r#"["\\ud800", "\"\ud800"]"#, r#"["\\ud800", "\"\ufffd"]"#, 1, 0);
    }

    #[test]
    fn constants_are_replaced_outside_of_strings_alone() {
        check("[NaN, -Infinity, Infinity]", "[null, null, null]", 0, 3);
        check(r#"{"NaN": "\"NaN"}"#, r#"{"NaN": "\"NaN"}"#, 0, 0);
    }

    #[test]
    fn what_is_broken_otherwise_stays_broken() {
        for text in [r#"["\ud8"#, r#"["\ud8zz"]"#, "\\", "NaNe", r#""\ud800\"#, "\"\\ü\u{0}\\uD", "Infinit"]
        {
            let (repaired, _) = repair(text);
            assert!(parse_object(&repaired).is_err(), "{text}");
        }
        assert!(matches!(parse_object("[1]"), Err(NoObject::Other)));
        let deep = "[".repeat(100_000);
        assert!(matches!(parse_object(&deep), Err(NoObject::NotJson(_))));
    }
}
