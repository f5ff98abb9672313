//! A YAML document as a tree that remembers on which line each key stands. What a value means is decided by who
//! reads it; nothing here knows our keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{MessageFormatter, Spanned, UserMessageFormatter};

use crate::failure::Failure;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Yaml {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    /// Nothing of ours is a list, so its entries are not kept.
    List,
    Map(Vec<Pair>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub(super) key: String,
    /// Counted from 1; nothing if it is not known.
    pub(super) line: Option<u64>,
    pub(super) value: Yaml,
}

impl Yaml {
    /// Reads the one document of a text. An error names the line and the problem, and repeats no value: a value
    /// may be a secret.
    pub(super) fn parse(text: &str) -> Result<Self, (Option<u64>, Failure)> {
        let options = serde_saphyr::options! {
            with_snippet: false,
            // A key or a model may be called y; who wants a truth value says what counts as one.
            strict_booleans: true,
            non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
            (line, Failure::usage(UserMessageFormatter.format_message(error.without_snippet())))
        })
    }

    /// The value as an error may show it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(value) => format!("{value:?}"),
            Self::Text(value) => format!("{value:?}"),
            Self::List => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Yaml, E> {
        Ok(Yaml::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Yaml, E> {
        Ok(Yaml::Integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
        Ok(Yaml::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Yaml, A::Error> {
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Yaml::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Yaml, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<Yaml>, Yaml>()? {
            let line = Some(key.defined.line()).filter(|line| *line > 0);
            let key = match key.value {
                Yaml::Text(key) => key,
                other => other.shown(),
            };
            pairs.push(Pair { key, line, value });
        }
        Ok(Yaml::Map(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Yaml {
        match Yaml::parse(&format!("a: {text}\n")) {
            Ok(Yaml::Map(mut pairs)) => pairs.pop().unwrap().value,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn values_are_what_their_form_says() {
        for (text, expected) in [
            ("", Yaml::Null),
            ("~", Yaml::Null),
            ("true", Yaml::Bool(true)),
            ("yes", Yaml::Text("yes".into())),
            ("-5", Yaml::Integer(-5)),
            ("1_000", Yaml::Integer(1000)),
            ("5.0", Yaml::Float(5.0)),
            ("1e3", Yaml::Float(1000.0)),
            ("99999999999999999999999", Yaml::Float(1e23)),
            (".inf", Yaml::Float(f64::INFINITY)),
            ("'5'", Yaml::Text("5".into())),
            ("127.0.0.1:8642", Yaml::Text("127.0.0.1:8642".into())),
            ("${A}/b", Yaml::Text("${A}/b".into())),
            ("[1, {b: 2}]", Yaml::List),
            ("!tag b", Yaml::Text("b".into())),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_are_text_and_know_their_line() {
        let tree = Yaml::parse("# first\na: 1\n7:\n  b: 2\nyes: 3\n").unwrap();
        let Yaml::Map(pairs) = tree else { panic!("{tree:?}") };
        let keys: Vec<_> = pairs.iter().map(|pair| (pair.key.as_str(), pair.line)).collect();
        assert_eq!(keys, [("a", Some(2)), ("7", Some(3)), ("yes", Some(5))]);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
            text = format!("{text}a{n}: &a{n} [{aliases}]\n");
        }
        assert!(Yaml::parse(&text).is_err());
    }
}
