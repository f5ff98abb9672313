//! Values of columns, as both backends agree on them.

use std::cmp::Ordering;

/// What a column of a row holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number; 0 or 1 for a flag.
    Int(i64),
    /// A real number, never -0.
    Real(f64),
    /// Text, NUL included.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A row: its values in the order of the table's columns. A key is a row's beginning.
pub type Row = Vec<Value>;

impl Value {
    /// A real number. SQLite does not keep the sign of zero.
    pub fn real(value: f64) -> Self {
        Self::Real(value + 0.0)
    }

    /// Its size, roughly.
    fn bytes(&self) -> usize {
        match self {
            Self::Null | Self::Int(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Appends an encoding from which it can be told from every other value, whatever follows.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut counted = |kind: u8, bytes: &[u8]| {
            out.push(kind);
            out.extend(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            out.extend(bytes);
        };
        match self {
            Self::Null => out.push(0),
            Self::Int(value) => {
                out.push(1);
                out.extend(value.to_be_bytes());
            }
            Self::Real(value) => {
                out.push(2);
                out.extend(value.to_bits().to_be_bytes());
            }
            Self::Text(text) => counted(3, text.as_bytes()),
            Self::Bytes(bytes) => counted(4, bytes),
        }
    }

    /// As an error names it.
    fn shown(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Int(value) => value.to_string(),
            Self::Real(value) => value.to_string(),
            Self::Text(text) => text.clone(),
            Self::Bytes(bytes) => format!("{} bytes", bytes.len()),
        }
    }
}

/// How large a row is, roughly.
pub fn bytes_of(row: &[Value]) -> usize {
    row.iter().map(Value::bytes).sum()
}

/// The order in which tables are walked: numbers by size, text by its bytes. Keys hold nothing else.
pub(super) fn compare(left: &[Value], right: &[Value]) -> Ordering {
    let pairs = left.iter().zip(right).map(|(left, right)| match (left, right) {
        (Value::Int(left), Value::Int(right)) => left.cmp(right),
        (Value::Text(left), Value::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
        _ => Ordering::Equal,
    });
    pairs.fold(Ordering::Equal, Ordering::then)
}

/// A key as an error names it.
pub(super) fn shown(key: &[Value]) -> String {
    key.iter().map(Value::shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_have_one_encoding() {
        let text = |text: &str| Value::Text(text.to_owned());
        let rows = [
            vec![Value::Null, Value::Null],
            vec![Value::Null],
            vec![Value::Int(0)],
            vec![Value::real(0.0)],
            vec![text("")],
            vec![Value::Bytes(Vec::new())],
            vec![text("ab"), text("c")],
            vec![text("a"), text("bc")],
            vec![text("a\0")],
            vec![text("a")],
        ];
        let encoded = rows.map(|row| {
            let mut out = Vec::new();
            for value in row {
                value.encode(&mut out);
            }
            out
        });
        for (at, one) in encoded.iter().enumerate() {
            assert!(encoded.iter().skip(at + 1).all(|other| other != one), "{one:?}");
        }
        assert_eq!(Value::real(-0.0), Value::real(0.0));
        let (mut minus, mut plus) = (Vec::new(), Vec::new());
        Value::real(-0.0).encode(&mut minus);
        Value::real(0.0).encode(&mut plus);
        assert_eq!(minus, plus);
    }

    #[test]
    fn keys_are_in_the_order_of_their_bytes() {
        let key = |number, text: &str| vec![Value::Int(number), Value::Text(text.to_owned())];
        let ordered =
            [key(-1, "z"), key(2, ""), key(2, "B"), key(2, "a"), key(2, "a\0"), key(2, "é"), key(10, "")];
        for pair in ordered.windows(2) {
            assert_eq!(compare(&pair[0], &pair[1]), Ordering::Less, "{pair:?}");
        }
    }
}
