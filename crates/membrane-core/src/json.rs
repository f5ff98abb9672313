//! JSON that must come back unchanged: checked once, kept as text, byte for byte.

use std::fmt;
use std::sync::Arc;

use crate::error::ValueError;

/// A JSON text, valid by construction. Numbers of any size and the order of keys survive.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

impl Json {
    /// Checks that `text` is one JSON value and keeps it as it is, less the white space around it.
    ///
    /// # Errors
    /// [`ValueError::NotJson`] with the parser's words.
    pub fn parse(what: &'static str, text: &str) -> Result<Self, ValueError> {
        match serde_json::from_str::<&serde_json::value::RawValue>(text) {
            Ok(raw) => Ok(Self(raw.get().into())),
            Err(error) => Err(ValueError::NotJson { what, problem: error.to_string() }),
        }
    }

    /// The text of an already built value.
    pub fn from_value(value: &serde_json::Value) -> Self {
        Self(value.to_string().into())
    }

    /// `{}`.
    pub fn empty_object() -> Self {
        Self("{}".into())
    }

    /// `null`.
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Whether this is an object, which metadata must be.
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keys_and_spacing_come_back_unchanged() {
        for text in [
            r#"{"b": 1, "a": 123456789012345678901234567890.50}"#,
            r#""\ud800 \u0000""#,
            "null",
            "[1e400,-0]",
        ] {
            assert_eq!(Json::parse("input", &format!(" {text}\n")).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_name() {
        let error = Json::parse("metadata", "{").unwrap_err();
        assert!(error.to_string().starts_with("the metadata is not valid JSON"));
    }
}
