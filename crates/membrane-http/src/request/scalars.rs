//! One value, given as its JSON text, read as pydantic 2 does when it is lax.
//!
//! Integers have a room of their own; finding values is not here.

use membrane::Json;

use super::field_error::Problem;
use super::integer::{Bounds, parse_integer};

pub(super) fn parse_string(json: &str) -> Result<String, Problem> {
    serde_json::from_str(json).map_err(|_| Problem::NotAString)
}

pub(super) fn in_bounds<T: TryFrom<i64>>(bounds: Bounds) -> impl FnOnce(&str) -> Result<T, Problem> {
    move |json| T::try_from(parse_integer(json, bounds)?).map_err(|_| Problem::TooLarge)
}

/// The words and numbers that pydantic takes for yes and no.
pub(super) fn parse_boolean(json: &str) -> Result<bool, Problem> {
    match json.as_bytes().first() {
        Some(b'"') => match parse_string(json)?.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "y" | "on" | "t" => Ok(true),
            "false" | "0" | "no" | "n" | "off" | "f" => Ok(false),
            _ => Err(Problem::NotABooleansText),
        },
        _ => match parse_integer(json, (..).into()) {
            Ok(0) => Ok(false),
            Ok(1) => Ok(true),
            Ok(_) => Err(Problem::NotABooleansText),
            Err(_) => Err(Problem::NotABoolean),
        },
    }
}

pub(super) fn parse_object(name: &'static str, json: &str) -> Result<Json, Problem> {
    Json::parse(name, json).ok().filter(Json::is_object).ok_or(Problem::NotADictionary)
}

/// A number of at least 0; a text that is one is, too.
pub(super) fn parse_number(json: &str) -> Result<f64, Problem> {
    let text = parse_string(json).ok();
    let parsed =
        text.as_deref().unwrap_or(json).trim().parse::<f64>().ok().filter(|number| number.is_finite());
    match parsed {
        Some(number) if number < 0.0 => Err(Problem::Below(0)),
        Some(number) => Ok(number),
        None if text.is_some() => Err(Problem::NotANumbersText),
        None => Err(Problem::NotANumber),
    }
}

pub(super) fn parse_choice<T: Copy>(json: &str, choices: &[(&'static str, T)]) -> Result<T, Problem> {
    let word = parse_string(json).ok();
    let chosen = choices.iter().find(|(name, _)| word.as_deref() == Some(name));
    chosen
        .map(|(_, value)| *value)
        .ok_or_else(|| Problem::NotOneOf(choices.iter().map(|(name, _)| *name).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_for_yes_and_no_are_those_of_pydantic() {
        for (json, expected) in [
            ("true", true),
            ("1", true),
            ("1.0", true),
            (r#""TRUE""#, true),
            (r#""on""#, true),
            ("false", false),
            ("0", false),
            (r#""Off""#, false),
            (r#""n""#, false),
        ] {
            assert_eq!(parse_boolean(json), Ok(expected), "{json}");
        }
        for json in [r#""x""#, r#""""#, r#"" true ""#, r#""1.0""#, "2"] {
            assert_eq!(parse_boolean(json), Err(Problem::NotABooleansText), "{json}");
        }
        for json in ["null", "[]", "1.5"] {
            assert_eq!(parse_boolean(json), Err(Problem::NotABoolean), "{json}");
        }
    }
}
