//! A column's value, whatever type somebody gave it: V1's tables were made for SQLite, and by hand in PostgreSQL.

use membrane_store::kgents::columns::Cell;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    /// In the server's own four bytes: the shortest text that gives it back is what was meant.
    Single,
    Double,
    /// Whole or not, and of any size.
    Numeric,
    Flag,
    Bytes,
    /// A time without a zone.
    Naive,
    /// An instant.
    Instant,
    /// A list: as JSON.
    List,
    /// Text, and all that is read as its text: JSON, a UUID, a word of an enumeration.
    Text,
}

impl Kind {
    /// Of a type's name, as `format_type` gives it without a length.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "smallint" | "integer" | "bigint" | "oid" => Self::Integer,
            "real" => Self::Single,
            "double precision" => Self::Double,
            "numeric" => Self::Numeric,
            "boolean" => Self::Flag,
            "bytea" => Self::Bytes,
            "timestamp without time zone" => Self::Naive,
            "timestamp with time zone" => Self::Instant,
            list if list.ends_with("[]") => Self::List,
            _ => Self::Text,
        }
    }

    /// How the column is read: as a bigint, a double precision, a bytea, or text.
    pub(super) fn selected(self, column: &str) -> String {
        // A year before the first has no place in this form, nor have the infinities: they are told as they are.
        let time = |column: &str, zone: &str| {
            format!(
                "CASE WHEN {column} >= '0001-01-01' AND {column} < '10000-01-01' \
                 THEN to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || '{zone}' ELSE {column}::text END"
            )
        };
        match self {
            Self::Integer => format!("{column}::bigint"),
            Self::Single => format!("{column}::text::double precision"),
            Self::Double | Self::Bytes => column.to_owned(),
            Self::Numeric | Self::Text => format!("{column}::text"),
            Self::Flag => format!("{column}::int::bigint"),
            Self::Naive => time(column, ""),
            Self::Instant => time(&format!("({column} AT TIME ZONE 'UTC')"), "Z"),
            Self::List => format!("to_jsonb({column})::text"),
        }
    }

    /// What rows are ordered by: numbers and times as such, text by its bytes.
    pub(super) fn ordered(self, column: &str) -> String {
        match self {
            Self::List | Self::Text => format!("{column}::text COLLATE \"C\""),
            _ => column.to_owned(),
        }
    }

    /// The same for a column that should be a number, and may be one in words.
    pub(super) fn ordered_number(self, column: &str) -> String {
        match self {
            Self::Integer | Self::Single | Self::Double | Self::Numeric => column.to_owned(),
            _ => format!(
                "CASE WHEN {column}::text ~ '^\\s*-?[0-9]{{1,18}}\\s*$' THEN {column}::text::numeric END"
            ),
        }
    }

    /// The value of a column that was read so.
    pub(super) fn cell(self, row: &Row, at: usize) -> Result<Cell<'_>, Error> {
        let kind = row.columns().get(at).map(|column| column.type_().clone());
        Ok(match kind {
            Some(Type::INT8) => row.try_get::<_, Option<i64>>(at)?.map_or(Cell::Null, Cell::Integer),
            Some(Type::FLOAT8) => row.try_get::<_, Option<f64>>(at)?.map_or(Cell::Null, Cell::Real),
            Some(Type::BYTEA) => row.try_get::<_, Option<&[u8]>>(at)?.map_or(Cell::Null, Cell::Blob),
            _ => match row.try_get::<_, Option<&str>>(at)? {
                None => Cell::Null,
                Some(text) if self == Self::Numeric => numeric(text),
                Some(text) => Cell::Text(text.as_bytes()),
            },
        })
    }
}

fn numeric(text: &str) -> Cell<'_> {
    match (text.parse(), text.parse()) {
        (Ok(number), _) => Cell::Integer(number),
        (Err(_), Ok(number)) => Cell::Real(number),
        (Err(_), Err(_)) => Cell::Text(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_by_its_name() {
        for (name, kind) in [
            ("integer", Kind::Integer),
            ("character varying", Kind::Text),
            ("text[]", Kind::List),
            ("jsonb", Kind::Text),
            ("timestamp with time zone", Kind::Instant),
            ("some_enum", Kind::Text),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn a_numeric_is_whole_if_it_says_so() {
        assert_eq!(numeric("7"), Cell::Integer(7));
        assert_eq!(numeric("7.50"), Cell::Real(7.5));
        assert_eq!(numeric("99999999999999999999"), Cell::Real(1e20));
        assert!(matches!(numeric("NaN"), Cell::Real(number) if number.is_nan()));
    }
}
