//! Values on their way to PostgreSQL, and text on its way back.
//!
//! PostgreSQL's `text` cannot hold NUL. A NUL is written as U+0001 and `0`, and U+0001 itself as U+0001 and `1`; all
//! other text is what it is, so that SQL readers see it as it was said.

use std::borrow::Cow;
use std::error::Error;

use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

const ESCAPE: char = '\u{1}';

/// Text that PostgreSQL can hold.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte <= 1) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            '\0' => escaped.extend([ESCAPE, '0']),
            ESCAPE => escaped.extend([ESCAPE, '1']),
            char => escaped.push(char),
        }
    }
    Cow::Owned(escaped)
}

/// The text as it was.
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains(ESCAPE) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != ESCAPE {
            plain.push(char);
            continue;
        }
        match chars.next() {
            Some('0') => plain.push('\0'),
            Some('1') => plain.push(ESCAPE),
            // Another program wrote it.
            other => plain.extend([Some(ESCAPE), other].into_iter().flatten()),
        }
    }
    Cow::Owned(plain)
}

/// A parameter of a statement, with its type: so that a statement means the same whether it is prepared or not.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Int(Option<i64>),
    Real(f64),
    Bool(Option<bool>),
    Text(Option<Cow<'a, str>>),
    Bytes(&'a [u8]),
    Ints(Vec<i64>),
    MaybeInts(Vec<Option<i64>>),
    Reals(Vec<f64>),
    Texts(Vec<Cow<'a, str>>),
    MaybeTexts(Vec<Option<Cow<'a, str>>>),
    MaybeBools(Vec<Option<bool>>),
}

impl Value<'_> {
    /// The type that the statement is to see.
    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::Int(_) => Type::INT8,
            Self::Real(_) => Type::FLOAT8,
            Self::Bool(_) => Type::BOOL,
            Self::Text(_) => Type::TEXT,
            Self::Bytes(_) => Type::BYTEA,
            Self::Ints(_) | Self::MaybeInts(_) => Type::INT8_ARRAY,
            Self::Reals(_) => Type::FLOAT8_ARRAY,
            Self::Texts(_) | Self::MaybeTexts(_) => Type::TEXT_ARRAY,
            Self::MaybeBools(_) => Type::BOOL_ARRAY,
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Int(value) => value.to_sql(kind, out),
            Self::Real(value) => value.to_sql(kind, out),
            Self::Bool(value) => value.to_sql(kind, out),
            Self::Text(value) => value.as_deref().to_sql(kind, out),
            Self::Bytes(value) => value.to_sql(kind, out),
            Self::Ints(values) => values.to_sql(kind, out),
            Self::MaybeInts(values) => values.to_sql(kind, out),
            Self::Reals(values) => values.to_sql(kind, out),
            Self::Texts(values) => values.to_sql(kind, out),
            Self::MaybeTexts(values) => values.to_sql(kind, out),
            Self::MaybeBools(values) => values.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(Some(value))
    }
}

impl From<Option<bool>> for Value<'_> {
    fn from(value: Option<bool>) -> Self {
        Self::Bool(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(escape(value)))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        value.as_str().into()
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::Text(Some(Cow::Owned(escape(&value).into_owned())))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value.map(escape))
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(value: &'a Option<String>) -> Self {
        value.as_deref().into()
    }
}

impl<'a> From<Vec<&'a str>> for Value<'a> {
    fn from(values: Vec<&'a str>) -> Self {
        Self::Texts(values.into_iter().map(escape).collect())
    }
}

impl From<Vec<i64>> for Value<'_> {
    fn from(values: Vec<i64>) -> Self {
        Self::Ints(values)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(value)
    }
}

/// Parameters in order, each as a [`Value`].
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        [$($crate::value::Value::from($value)),*]
    };
}
pub(crate) use values;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_byte_for_byte() {
        for text in ["", "plain", "\0", "a\0b", "\u{1}", "\u{1}0", "\0\u{1}\0", "é\u{1}1\0😀"] {
            let held = escape(text);
            assert!(!held.contains('\0'), "{text:?}");
            assert_eq!(unescape(&held), text);
        }
        assert!(matches!(escape("plain"), Cow::Borrowed(_)));
    }
}
