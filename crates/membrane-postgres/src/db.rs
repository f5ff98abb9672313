//! One connection for the length of one piece of work: statements with typed values, named where that is possible.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use crate::value::Value;

/// A borrowed connection.
#[derive(Clone, Copy)]
pub(crate) struct Db<'a> {
    client: &'a ClientWrapper,
    /// Whether statements are prepared once by name. A pooler that changes the connection would not find them again.
    is_named: bool,
}

impl<'a> Db<'a> {
    pub(crate) fn new(client: &'a ClientWrapper, is_named: bool) -> Self {
        Self { client, is_named }
    }

    /// All rows of a statement.
    pub(crate) async fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        if self.is_named {
            let kinds: Vec<Type> = values.iter().map(Value::kind).collect();
            let statement = self.client.prepare_typed_cached(sql, &kinds).await?;
            let values: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            return self.client.query(&statement, &values).await;
        }
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|value| (value as &(dyn ToSql + Sync), value.kind())).collect();
        self.client.query_typed(sql, &values).await
    }

    /// The first row, if there is one.
    pub(crate) async fn find(&self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, values).await?.into_iter().next())
    }

    /// How many rows a statement touched.
    pub(crate) async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Error> {
        if self.is_named {
            let kinds: Vec<Type> = values.iter().map(Value::kind).collect();
            let statement = self.client.prepare_typed_cached(sql, &kinds).await?;
            let values: Vec<&(dyn ToSql + Sync)> =
                values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            return self.client.execute(&statement, &values).await;
        }
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|value| (value as &(dyn ToSql + Sync), value.kind())).collect();
        self.client.execute_typed(sql, &values).await
    }

    /// Statements without values, such as `BEGIN`.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }
}
