//! What of others hangs on V1's tables. PostgreSQL ties it to the table itself and not to its name, so that it would follow
//! the old ones into the schema where they are kept.

use membrane_store::StoreError;
use membrane_store::kgents::columns::TABLES;
use tokio_postgres::Error;

use super::shape::identifier;
use crate::db::Db;
use crate::error::Doing;
use crate::value::values;

const LOOKING: &str = "look for what hangs on old tables";

/// Among what: tables of the schema that are called so.
const OLD: &str = "(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = current_schema() AND c.relname = ANY ($1) AND c.relkind = 'r')";

/// What would stop working, each in a sentence.
pub(super) async fn find_hindrances(db: Db<'_>) -> Result<Vec<String>, StoreError> {
    let sql = format!(
        "SELECT DISTINCT 'table ' || f.conrelid::regclass || ' has a foreign key on chat_turns, which becomes a view; its \
             rows stay, but could not be written any more' \
         FROM pg_constraint f JOIN pg_class old ON old.oid = f.confrelid \
         WHERE f.contype = 'f' AND f.confrelid IN {OLD} AND f.conrelid NOT IN {OLD} AND old.relname = 'chat_turns' \
         UNION ALL SELECT DISTINCT CASE v.relkind WHEN 'm' THEN 'materialized view ' WHEN 'v' THEN 'view ' ELSE 'rule on ' END \
             || v.oid::regclass || ' reads ' || d.refobjid::regclass || ', and would go on reading what was there before' \
         FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class \
         WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid IN {OLD} \
         UNION ALL SELECT 'trigger ' || quote_ident(t.tgname) || ' on ' || t.tgrelid::regclass \
             || ' would be lost with the old table' \
         FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgrelid IN {OLD} \
         UNION ALL SELECT 'policy ' || quote_ident(p.polname) || ' on ' || p.polrelid::regclass \
             || ' would be lost with the old table' \
         FROM pg_policy p WHERE p.polrelid IN {OLD} ORDER BY 1"
    );
    let rows = db.query(&sql, &values![TABLES.to_vec()]).await.doing(LOOKING)?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, Error>>().doing(LOOKING)
}

/// A foreign key of others on a table that has the same key when it is a keep's.
pub(super) struct ForeignKey {
    table: String,
    name: String,
    definition: String,
}

/// The foreign keys of others on what stays a table.
pub(super) async fn foreign_keys(db: Db<'_>) -> Result<Vec<ForeignKey>, StoreError> {
    let sql = format!(
        "SELECT f.conrelid::regclass::text, f.conname::text, pg_get_constraintdef(f.oid) \
         FROM pg_constraint f JOIN pg_class old ON old.oid = f.confrelid \
         WHERE f.contype = 'f' AND f.confrelid IN {OLD} AND f.conrelid NOT IN {OLD} AND old.relname <> 'chat_turns' \
         ORDER BY 1, 2"
    );
    let rows = db.query(&sql, &values![TABLES.to_vec()]).await.doing(LOOKING)?;
    let key = |row: &tokio_postgres::Row| -> Result<ForeignKey, Error> {
        Ok(ForeignKey { table: row.try_get(0)?, name: row.try_get(1)?, definition: row.try_get(2)? })
    };
    rows.iter().map(key).collect::<Result<_, _>>().doing(LOOKING)
}

impl ForeignKey {
    /// Lets go of the old table.
    pub(super) fn drop_sql(&self) -> String {
        format!("ALTER TABLE {} DROP CONSTRAINT {}", self.table, identifier(&self.name))
    }

    /// Takes hold of the new one, by the same name. Rows that the old one held may refer to what has no place in it.
    pub(super) fn add_sql(&self) -> String {
        format!(
            "ALTER TABLE {} ADD CONSTRAINT {} {} NOT VALID",
            self.table,
            identifier(&self.name),
            self.definition.trim_end_matches(" NOT VALID")
        )
    }

    /// What it is called.
    pub(super) fn shown(&self) -> String {
        format!("{} of {}", self.name, self.table)
    }
}
