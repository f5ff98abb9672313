//! Whose database it is, whether its schema is the one that its migrations make, and what the user may do in it.

use membrane_store::StoreError;
use membrane_store::doctor::Check;

use super::examine::ask;
use crate::connect::Connector;
use crate::db::Db;
use crate::error::{Doing, OpenError, whole};
use crate::migrations::{self, MIGRATIONS};
use crate::rights::{self, grant_making, grant_use};
use crate::transfer::mark;
use crate::value::values;

const NAME: &str = "schema";

/// What was found, and whether there is a keep to look into.
pub(super) struct State {
    pub(super) checks: Vec<Check>,
    pub(super) has_keep: bool,
    /// Whether steps are still to be applied that make tables.
    pub(super) lacks_steps: bool,
}

pub(super) async fn look(db: Db<'_>, connector: &Connector) -> State {
    let mut state = State { checks: Vec::new(), has_keep: false, lacks_steps: false };
    let searched =
        ask(db, "SELECT current_schema()::text, current_setting('search_path')", "look at the schemas").await;
    let searched = searched.and_then(|row| {
        let doing = "look at the schemas";
        Ok((row.try_get::<_, Option<String>>(0).doing(doing)?, row.try_get::<_, String>(1).doing(doing)?))
    });
    let schema = match searched {
        Ok((Some(schema), _)) => schema,
        Ok((None, path)) => {
            let found = format!("none of the schemas that are searched ({path}) is there for this user");
            let remedy = "CREATE SCHEMA, or GRANT USAGE ON SCHEMA …, or set search_path";
            state.checks.push(Check::problem(NAME, found, remedy));
            return state;
        }
        Err(error) => {
            state.checks.push(Check::problem(NAME, whole(&error), "look at the server's log"));
            return state;
        }
    };
    match mark::find_source(db).await {
        Ok(None) => {}
        Ok(Some(source)) => {
            let found = format!("an unfinished copy of {source}: not all of a keep");
            let remedy = "run \"membrane copy\" again with the same --from and --to, or drop the database";
            state.checks.push(Check::problem(NAME, found, remedy));
        }
        Err(error) => {
            state.checks.push(Check::problem(NAME, whole(&error), grant_use(&schema, &connector.user())));
        }
    }
    if let Err(error) = migrations::inspect(db, connector).await {
        state.checks.push(refused(&error, connector, &schema));
        // What a newer or an unreleased membrane wrote can be looked into all the same.
        state.has_keep = matches!(error, OpenError::TooNew { .. } | OpenError::ChecksumMismatch { .. });
        return state;
    }
    match migrations::status(db, connector).await {
        Ok(steps) => {
            let newest = steps.iter().filter(|step| step.applied_at.is_some()).map(|step| step.version).max();
            let missing: Vec<String> = steps
                .iter()
                .filter(|step| step.applied_at.is_none())
                .map(|step| step.version.to_string())
                .collect();
            state.has_keep = newest.is_some();
            state.lacks_steps = !missing.is_empty();
            state.checks.push(match newest {
                None => {
                    let found = format!("schema {schema} is empty: no keep was made in it");
                    Check::problem(NAME, found, "membrane migrate")
                }
                Some(newest) if missing.is_empty() => {
                    Check::ok(NAME, format!("version {newest} in schema {schema}, the newest that this binary knows"))
                }
                Some(newest) => {
                    let next = missing.join(", ");
                    let found = format!("version {newest} in schema {schema}; {next} will be applied by the next command that opens it");
                    Check::note(NAME, found).with_remedy("do it apart, after a backup: membrane migrate")
                }
            });
            if newest.is_some() && missing.is_empty() {
                state.checks.push(tables(db).await);
            }
        }
        Err(error) => state.checks.push(refused(&error, connector, &schema)),
    }
    state
}

fn refused(error: &OpenError, connector: &Connector, schema: &str) -> Check {
    if let OpenError::OldTables { .. } = error {
        let found = format!(
            "kgents' V1 tables in schema {schema}: the next \"membrane serve\" or \"membrane migrate\" upgrades them, and keeps \
             them beside"
        );
        return Check::note(NAME, found).with_remedy("upgrade them now, after a dump: membrane migrate");
    }
    let remedy = match error {
        OpenError::TooNew { .. } => {
            "use a newer membrane, or bring back a dump from before: pg_restore".to_owned()
        }
        OpenError::ChecksumMismatch { .. } => {
            "use the build that wrote it, or bring back a dump: pg_restore".to_owned()
        }
        OpenError::ForeignTables { .. } | OpenError::NotV1 { .. } => {
            "name another database, or a schema of its own with search_path".to_owned()
        }
        OpenError::NotAllowed { remedy, .. } => remedy.clone(),
        _ => grant_use(schema, &connector.user()),
    };
    Check::problem(NAME, whole(error), remedy)
}

/// Whether all that the steps make is there.
async fn tables(db: Db<'_>) -> Check {
    const NAME: &str = "tables";
    let doing = "look at the tables";
    let sql = "SELECT name FROM unnest($1::text[]) AS name WHERE NOT EXISTS (SELECT 1 FROM pg_class \
               WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relname = name) \
               AND NOT EXISTS (SELECT 1 FROM pg_proc \
               WHERE pronamespace = quote_ident(current_schema())::regnamespace AND proname = name) ORDER BY 1";
    let found = db.query(sql, &values![migrations::names()]).await.doing(doing);
    let found = found.and_then(|rows| {
        rows.iter()
            .map(|row| row.try_get::<_, String>(0).doing(doing))
            .collect::<Result<Vec<_>, StoreError>>()
    });
    let broken = "SELECT coalesce(string_agg(indexrelid::regclass::text, ', '), '') FROM pg_index \
                  WHERE NOT indisvalid AND indrelid IN (SELECT oid FROM pg_class \
                  WHERE relnamespace = quote_ident(current_schema())::regnamespace)";
    let broken = ask(db, broken, doing).await.and_then(|row| row.try_get::<_, String>(0).doing(doing));
    match (found, broken) {
        (Ok(missing), Ok(broken)) if missing.is_empty() && broken.is_empty() => Check::ok(
            NAME,
            format!(
                "tables, views, functions, types and indexes of all {} steps are there",
                MIGRATIONS.len()
            ),
        ),
        (Ok(missing), Ok(broken)) if missing.is_empty() => Check::problem(
            NAME,
            format!("indexes that cannot be used: {broken}"),
            format!("REINDEX INDEX {broken}"),
        ),
        (Ok(missing), Ok(_)) => {
            let found = format!("missing: {}", missing.join(", "));
            Check::problem(NAME, found, "bring back a dump: pg_restore --clean --if-exists --dbname=URL FILE")
        }
        (Err(error), _) | (_, Err(error)) => {
            Check::note(NAME, format!("they cannot be looked at: {}", whole(&error)))
        }
    }
}

/// What the user may do.
pub(super) async fn rights(db: Db<'_>, connector: &Connector) -> Result<Vec<Check>, StoreError> {
    const NAME: &str = "rights";
    let doing = "look at the user's rights";
    let user = connector.user();
    let row =
        ask(db, "SELECT current_schema()::text, has_schema_privilege(current_schema(), 'CREATE')", doing)
            .await?;
    let (schema, may_create): (String, bool) = (row.try_get(0).doing(doing)?, row.try_get(1).doing(doing)?);
    let missing = rights::list_missing(db).await?;
    if !missing.is_empty() {
        let found = format!("{user} may not read and write everything: {}", missing.join(", "));
        return Ok(vec![Check::problem(NAME, found, grant_use(&schema, &user))]);
    }
    if !may_create {
        let found = format!(
            "{user} may use the tables, and may make none: the next version's steps need another user"
        );
        return Ok(vec![Check::note(NAME, found).with_remedy(grant_making(&schema, &user))]);
    }
    Ok(vec![Check::ok(NAME, format!("{user} may read, write and make tables in schema {schema}"))])
}
