//! What is wrong with one field, in the words of pydantic 2, which clients match on.
//!
//! Deciding that something is wrong is not here.

use std::fmt::Write;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::ApiError;

/// The longest input, as JSON in bytes, that an error repeats.
const MAX_INPUT_BYTES: usize = 1024;
/// How many errors one answer lists: a long list of wrong items must not make a much longer answer.
const MAX_ERRORS: usize = 100;

/// One entry of a 422's `detail`.
#[derive(Debug, Clone, Serialize)]
pub struct FieldError {
    /// pydantic's word for the kind of error.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where: `body` or `query`, then the way to the value.
    pub loc: Vec<Step>,
    /// pydantic's sentence.
    pub msg: String,
    /// The value as it was given, or a note in its place when it is long.
    pub input: Box<RawValue>,
    /// The numbers or words that the sentence is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctx: Option<Value>,
}

/// One step on the way to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Step {
    /// Into the field of this name.
    Name(&'static str),
    /// To the item with this index, or the byte at this position.
    Index(usize),
}

/// What is wrong, apart from where and with which value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    Missing,
    NotAString,
    NotUnicode,
    NotAnInteger,
    NotAnIntegersText,
    HasFraction,
    NotANumber,
    NotANumbersText,
    TooLarge,
    Below(i64),
    Above(i64),
    NotABoolean,
    NotABooleansText,
    NotAList,
    NotADictionary,
    NotAnObject,
    NotOneOf(Vec<&'static str>),
    InvalidJson(String),
}

impl Problem {
    pub(super) fn at(self, loc: Vec<Step>, input: &str) -> FieldError {
        let (kind, msg, ctx) = self.words();
        FieldError { kind, loc, msg, input: input_of(input), ctx }
    }

    fn words(self) -> (&'static str, String, Option<Value>) {
        let (kind, msg) = match self {
            Self::Below(min) => {
                let msg = format!("Input should be greater than or equal to {min}");
                return ("greater_than_equal", msg, Some(json!({ "ge": min })));
            }
            Self::Above(max) => {
                let msg = format!("Input should be less than or equal to {max}");
                return ("less_than_equal", msg, Some(json!({ "le": max })));
            }
            Self::NotOneOf(words) => {
                let expected = in_words(&words);
                let msg = format!("Input should be {expected}");
                return ("literal_error", msg, Some(json!({ "expected": expected })));
            }
            Self::InvalidJson(error) => {
                return ("json_invalid", "JSON decode error".into(), Some(json!({ "error": error })));
            }
            Self::Missing => ("missing", "Field required"),
            Self::NotAString => ("string_type", "Input should be a valid string"),
            Self::NotUnicode => (
                "string_unicode",
                "Input should be a valid string, unable to parse raw data as a unicode string",
            ),
            Self::NotAnInteger => ("int_type", "Input should be a valid integer"),
            Self::NotAnIntegersText => {
                ("int_parsing", "Input should be a valid integer, unable to parse string as an integer")
            }
            Self::HasFraction => {
                ("int_from_float", "Input should be a valid integer, got a number with a fractional part")
            }
            Self::NotANumber => ("float_type", "Input should be a valid number"),
            Self::NotANumbersText => {
                ("float_parsing", "Input should be a valid number, unable to parse string as a number")
            }
            Self::TooLarge => {
                ("int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size")
            }
            Self::NotABoolean => ("bool_type", "Input should be a valid boolean"),
            Self::NotABooleansText => {
                ("bool_parsing", "Input should be a valid boolean, unable to interpret input")
            }
            Self::NotAList => ("list_type", "Input should be a valid list"),
            Self::NotADictionary => ("dict_type", "Input should be a valid dictionary"),
            Self::NotAnObject => (
                "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from",
            ),
        };
        (kind, msg.to_owned(), None)
    }
}

/// All that is wrong with a request, up to a number that is worth listing.
#[derive(Debug, Default)]
pub(super) struct Problems {
    listed: Vec<FieldError>,
    left_out: usize,
}

impl Problems {
    pub(super) fn add(&mut self, error: impl FnOnce() -> FieldError) {
        if self.listed.len() < MAX_ERRORS {
            self.listed.push(error());
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn finish(mut self, root: &'static str) -> Result<(), ApiError> {
        if self.listed.is_empty() {
            return Ok(());
        }
        if self.left_out > 0 {
            self.listed.push(FieldError {
                kind: "too_many_errors",
                loc: vec![Step::Name(root)],
                msg: format!("{} more errors are not listed", self.left_out),
                input: RawValue::NULL.to_owned(),
                ctx: None,
            });
        }
        Err(ApiError::invalid_body(self.listed))
    }
}

/// The JSON text itself, or how long it is.
fn input_of(json: &str) -> Box<RawValue> {
    let raw = if json.len() > MAX_INPUT_BYTES {
        let kind = match json.as_bytes().first() {
            Some(b'"') => "a string",
            Some(b'[') => "a list",
            Some(b'{') => "an object",
            _ => "a number",
        };
        let note = format!("({kind} of {} bytes as JSON, not repeated here)", json.len());
        serde_json::value::to_raw_value(&note)
    } else {
        RawValue::from_string(json.to_owned())
    };
    raw.unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// `'a', 'b' or 'c'`.
fn in_words(words: &[&str]) -> String {
    words.iter().enumerate().fold(String::new(), |mut text, (index, word)| {
        let before = match index {
            0 => "",
            _ if index + 1 == words.len() => " or ",
            _ => ", ",
        };
        // Writing into a string cannot fail.
        let _ = write!(text, "{before}'{word}'");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_listed_as_pydantic_does() {
        for (words, expected) in
            [(&["a"][..], "'a'"), (&["a", "b"], "'a' or 'b'"), (&["a", "b", "c"], "'a', 'b' or 'c'")]
        {
            assert_eq!(in_words(words), expected);
        }
    }

    #[test]
    fn an_input_is_repeated_exactly_up_to_1_kib_of_json() {
        assert_eq!(input_of("123456789012345678901234567890.50").get(), "123456789012345678901234567890.50");
        let at_limit = format!("\"{}\"", "x".repeat(MAX_INPUT_BYTES - 2));
        assert_eq!(input_of(&at_limit).get(), at_limit);
        let over = format!("\"{}\"", "x".repeat(MAX_INPUT_BYTES - 1));
        assert_eq!(input_of(&over).get(), "\"(a string of 1025 bytes as JSON, not repeated here)\"");
        let over = format!("[{}]", " ".repeat(2000));
        assert_eq!(input_of(&over).get(), "\"(a list of 2002 bytes as JSON, not repeated here)\"");
    }

    #[test]
    fn after_a_hundred_errors_the_rest_is_only_counted() {
        let mut problems = Problems::default();
        for index in 0..150 {
            problems.add(|| Problem::NotAString.at(vec![Step::Name("body"), Step::Index(index)], "1"));
        }
        let error = serde_json::to_value(problems.finish("body").unwrap_err().detail).unwrap();
        assert_eq!(error.as_array().unwrap().len(), 101);
        let last = json!({"type": "too_many_errors", "loc": ["body"],
            "msg": "50 more errors are not listed", "input": null});
        assert_eq!(error[100], last);
    }
}
