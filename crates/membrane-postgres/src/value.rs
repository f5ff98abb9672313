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
    if memchr::memchr2(0, 1, text.as_bytes()).is_none() {
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
    /// Rows of a composite type, each as its fields; the statement says which type it is: `$1::name[]`.
    Rows(Vec<Vec<Self>>),
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
            // A type of the schema's has another number in each database: the server finds it by the cast.
            Self::Rows(_) => Type::UNKNOWN,
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
            Self::Rows(rows) => put_rows(rows, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// An array of composite values, as `array_send` and `record_send` of PostgreSQL write them.
fn put_rows(rows: &[Vec<Value<'_>>], out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
    // The server knows the type from the cast, and takes no other word for one that is not built in.
    let (has_nulls, unknown) = (0, 0);
    if rows.is_empty() {
        put_ints(out, &[0, has_nulls, unknown]);
        return Ok(IsNull::No);
    }
    put_ints(out, &[1, has_nulls, unknown, i32::try_from(rows.len())?, 1]);
    for row in rows {
        put_sized(out, |out| {
            put_ints(out, &[i32::try_from(row.len())?]);
            for field in row {
                let kind = field.kind();
                out.extend_from_slice(&kind.oid().to_be_bytes());
                put_sized(out, |out| field.to_sql(&kind, out))?;
            }
            Ok(IsNull::No)
        })?;
    }
    Ok(IsNull::No)
}

fn put_ints(out: &mut BytesMut, ints: &[i32]) {
    for int in ints {
        out.extend_from_slice(&int.to_be_bytes());
    }
}

/// A value after its length in bytes, which is -1 for NULL.
fn put_sized(
    out: &mut BytesMut,
    put: impl FnOnce(&mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>>,
) -> Result<(), Box<dyn Error + Sync + Send>> {
    let before = out.len();
    put_ints(out, &[-1]);
    let begin = out.len();
    if let IsNull::No = put(out)? {
        let len = i32::try_from(out.len() - begin)?;
        if let Some(place) = out.get_mut(before..begin) {
            place.copy_from_slice(&len.to_be_bytes());
        }
    }
    Ok(())
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

    #[test]
    fn rows_are_sent_field_by_field_with_their_lengths() {
        let rows = Value::Rows(vec![values!["é", 7, None::<&str>].into()]);
        let mut out = BytesMut::new();
        assert!(matches!(rows.to_sql(&rows.kind(), &mut out), Ok(IsNull::No)));
        let mut expected = Vec::new();
        // Dimensions, no nulls, no type; one row from 1 on, its length, and three fields.
        for int in [1, 0, 0, 1, 1, 4 + (4 + 4 + 2) + (4 + 4 + 8) + (4 + 4), 3, 25, 2] {
            expected.extend(i32::to_be_bytes(int));
        }
        expected.extend("é".bytes());
        for int in [20, 8, 0, 7, 25, -1] {
            expected.extend(i32::to_be_bytes(int));
        }
        assert_eq!(out, expected);
        let mut empty = BytesMut::new();
        assert!(matches!(Value::Rows(Vec::new()).to_sql(&Type::UNKNOWN, &mut empty), Ok(IsNull::No)));
        assert_eq!(empty, [0; 12].as_slice());
    }
}
