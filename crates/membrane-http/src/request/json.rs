//! JSON bodies: checked as a whole, then looked into without building values for what nobody asked for.
//!
//! A tree of values would take up to forty times the body's size. What the fields mean is not here.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Where and why a text is not JSON that can be worked with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidJson {
    /// The byte's position in the text.
    pub(super) position: usize,
    /// The parser's words.
    pub(super) problem: String,
}

/// Checks the whole text, and gives it without the white space around it.
///
/// Stricter than taking it apart would need: lone surrogates, numbers that no float holds and nesting
/// deeper than 128 are refused wherever they stand, so that everything that is kept can be read back.
pub(super) fn check_json(text: &str) -> Result<&str, InvalidJson> {
    // Python's parser, which clients may have tested against, skips a byte order mark.
    let json = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_json::from_str::<Checked>(json) {
        Ok(Checked) => Ok(json.trim_matches([' ', '\t', '\n', '\r'])),
        Err(error) => Err(InvalidJson {
            position: text.len() - json.len() + position_of(&error, json),
            problem: without_position(&error.to_string()),
        }),
    }
}

/// The value of the last field with this name; of fields that stand twice the last one counts.
pub(super) fn find<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(Find { name }).ok().flatten().map(RawValue::get)
}

/// Goes through a list's items; false if the value is no list.
pub(super) fn for_each_item(json: &str, visit: impl FnMut(usize, &str)) -> bool {
    let mut reader = serde_json::Deserializer::from_str(json);
    json.starts_with('[') && reader.deserialize_seq(Items { visit }).is_ok()
}

fn position_of(error: &serde_json::Error, json: &str) -> usize {
    if error.is_eof() {
        return json.len();
    }
    let line_start = match error.line() {
        0 | 1 => 0,
        line => json.match_indices('\n').nth(line - 2).map_or(0, |(at, _)| at + 1),
    };
    (line_start + error.column()).saturating_sub(1).min(json.len())
}

/// The parser ends its words with the line and column, which `loc` says already.
fn without_position(words: &str) -> String {
    words.rsplit_once(" at line ").map_or(words, |(problem, _)| problem).to_owned()
}

/// Any value, looked at in full and forgotten.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while let Some(Self) = items.next_element()? {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        while let Some((Self, Self)) = fields.next_entry()? {}
        Ok(self)
    }
}

struct Find<'n> {
    name: &'n str,
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = fields.next_key_seed(IsKey { name: self.name })? {
            if is_it {
                found = Some(fields.next_value()?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key, with its escapes undone, is this one.
struct IsKey<'n> {
    name: &'n str,
}

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.name)
    }
}

struct Items<F> {
    visit: F,
}

impl<'de, F: FnMut(usize, &str)> Visitor<'de> for Items<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(item) = items.next_element::<&RawValue>()? {
            (self.visit)(index, item.get());
            index += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_json_is_given_back_without_the_space_around_it() {
        for text in [r#"{"a": [1, 2.5e3, -0, true, null, "\ud83d\ude42\u0000"]}"#, "null", "12", r#""x""#] {
            assert_eq!(check_json(&format!("\r\n {text}\t")), Ok(text));
        }
        assert_eq!(check_json("\u{feff}{}"), Ok("{}"));
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_position_in_bytes() {
        for (text, position, problem) in [
            ("{", 1, "EOF while parsing an object"),
            ("  ", 2, "EOF while parsing a value"),
            ("{\"a\":1,}", 7, "trailing comma"),
            ("{\"a\":\n  x}", 8, "expected value"),
            ("{\"é\" x}", 6, "expected `:`"),
            ("\u{feff}{\"a\" x}", 8, "expected `:`"),
            ("{} {}", 3, "trailing characters"),
            ("[NaN]", 1, "expected value"),
            ("[01]", 2, "invalid number"),
            ("[1e400]", 5, "number out of range"),
            (r#"["\ud800"]"#, 8, "unexpected end of hex escape"),
            (r#"["\udc00"]"#, 7, "lone leading surrogate in hex escape"),
            ("[\"a\nb\"]", 3, "control character (\\u0000-\\u001F) found while parsing a string"),
        ] {
            let expected = InvalidJson { position, problem: problem.to_owned() };
            assert_eq!(check_json(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_wherever_it_stands() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        check_json(&nested(100)).unwrap();
        for depth in [128, 1_000_000] {
            assert_eq!(check_json(&nested(depth)).unwrap_err().problem, "recursion limit exceeded");
        }
    }

    #[test]
    fn of_fields_that_stand_twice_the_last_counts_and_values_keep_their_form() {
        let object = r#"{"a": 1, "\u0061": 2.50, "b": {"a": 3}, "c" : [ 1 ] }"#;
        assert_eq!(find(object, "a"), Some("2.50"));
        assert_eq!(find(object, "b"), Some(r#"{"a": 3}"#));
        assert_eq!(find(object, "c"), Some("[ 1 ]"));
        assert_eq!(find(object, "d"), None);
    }

    #[test]
    fn items_are_visited_in_order_and_only_of_lists() {
        let mut seen = Vec::new();
        assert!(for_each_item(r#"["a", 1.0]"#, |index, json| seen.push((index, json.to_owned()))));
        assert_eq!(seen, [(0, r#""a""#.to_owned()), (1, "1.0".to_owned())]);
        assert!(!for_each_item("{}", |_, _| ()));
        assert!(!for_each_item("\"[]\"", |_, _| ()));
    }
}
