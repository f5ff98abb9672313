//! What the user of a database needs to be allowed, and the statements that allow it.

use membrane_store::StoreError;
use tokio_postgres::Error;

use crate::connect::Connector;
use crate::db::Db;
use crate::error::{Doing, OpenError};
use crate::migrations;
use crate::value::values;

/// The tables and sequences of the keep on which the user lacks a right.
pub(crate) async fn list_missing(db: Db<'_>) -> Result<Vec<String>, StoreError> {
    let doing = "look at the user's rights";
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace \
               AND relname = ANY ($1) AND CASE \
                   WHEN relkind IN ('r', 'p') THEN NOT (has_table_privilege(oid, 'SELECT') \
                       AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE') \
                       AND has_table_privilege(oid, 'DELETE')) \
                   WHEN relkind = 'S' THEN NOT has_sequence_privilege(oid, 'USAGE') ELSE FALSE END ORDER BY 1";
    let rows = db.query(sql, &values![migrations::tables_and_sequences()]).await.doing(doing)?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, Error>>().doing(doing)
}

/// Refuses a user who may look and no more.
pub(crate) async fn refuse_missing(db: Db<'_>, connector: &Connector, schema: &str) -> Result<(), OpenError> {
    let missing = list_missing(db).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let user = connector.user();
    Err(OpenError::NotAllowed {
        server: connector.server(),
        remedy: grant_use(schema, &user),
        user,
        doing: "read and write its tables",
        problem: format!("a right is missing on {}", missing.join(", ")),
    })
}

/// Lets the user do with the tables what servers do.
pub(crate) fn grant_use(schema: &str, user: &str) -> String {
    let (schema, user) = (identifier(schema), identifier(user));
    format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}; \
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {user}"
    )
}

/// Lets the user make the tables.
pub(crate) fn grant_making(schema: &str, user: &str) -> String {
    format!("GRANT USAGE, CREATE ON SCHEMA {} TO {}", identifier(schema), identifier(user))
}

/// What allows that which the server has just refused in these words.
pub(crate) fn remedy(problem: &str, user: &str) -> String {
    if let Some(schema) = problem.strip_prefix("permission denied for schema ") {
        return grant_making(schema, user);
    }
    if let Some(table) = problem.strip_prefix("must be owner of table ") {
        return format!("ALTER TABLE {} OWNER TO {}", identifier(table), identifier(user));
    }
    grant_use("public", user)
}

/// A name as SQL has it.
pub(crate) fn identifier(name: &str) -> String {
    let is_plain = |char: char| char.is_ascii_lowercase() || char == '_';
    let is_word =
        name.starts_with(is_plain) && name.chars().all(|char| is_plain(char) || char.is_ascii_digit());
    if is_word { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_allowed_by_a_statement_that_can_be_typed() {
        for (problem, statement) in [
            ("permission denied for schema public", "GRANT USAGE, CREATE ON SCHEMA public TO \"Al-Ice\""),
            ("must be owner of table schema_version", "ALTER TABLE schema_version OWNER TO \"Al-Ice\""),
        ] {
            assert_eq!(remedy(problem, "Al-Ice"), statement);
        }
        assert!(remedy("permission denied for table turns", "a").contains("DELETE ON ALL TABLES"));
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
    }
}
