//! One connection for the length of one piece of work: statements with typed values, named where that is possible.

use deadpool_postgres::ClientWrapper;
use futures_util::future::{self, join_all};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row, RowStream};

use crate::value::Value;

/// What a transaction begins with that reads several things as they were at one moment.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// How many statements are sent before the first answer is waited for: `join_all` keeps the order of so many.
const MAX_FLIGHT: usize = 30;

/// A statement with its values, to be sent later.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    pub(crate) sql: &'static str,
    /// None for one without values, such as `BEGIN`.
    pub(crate) values: Vec<Value<'a>>,
}

impl Statement<'_> {
    /// Stands for [`Db::begin`].
    pub(crate) const BEGIN: Self = Self { sql: "BEGIN", values: Vec::new() };
}

/// A borrowed connection.
#[derive(Clone, Copy)]
pub(crate) struct Db<'a> {
    client: &'a ClientWrapper,
    /// Whether statements are prepared once by name. A pooler that changes the connection would not find them again.
    is_named: bool,
    /// What a transaction sets for itself, where the connection has no settings.
    limits: &'a str,
}

impl<'a> Db<'a> {
    pub(crate) fn new(client: &'a ClientWrapper, is_named: bool, limits: &'a str) -> Self {
        Self { client, is_named, limits }
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

    /// The rows of a statement as they come, for what does not fit into memory.
    pub(crate) async fn stream(&self, sql: &str, values: &[Value<'_>]) -> Result<RowStream, Error> {
        if self.is_named {
            let kinds: Vec<Type> = values.iter().map(Value::kind).collect();
            let statement = self.client.prepare_typed_cached(sql, &kinds).await?;
            return self.client.query_raw(&statement, values).await;
        }
        self.client.query_typed_raw(sql, values.iter().map(|value| (value, value.kind()))).await
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

    /// Statements without values, such as `COMMIT`.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    /// Sends all statements at once and gives their answers in order. What fails inside a transaction makes those after it
    /// fail, too.
    pub(crate) async fn flight(
        &self,
        statements: &[Statement<'_>],
    ) -> Result<Vec<Result<Vec<Row>, Error>>, Error> {
        if self.is_named {
            // First all the names: a statement that had to be prepared on the way would be overtaken.
            for statement in statements.iter().filter(|statement| !statement.values.is_empty()) {
                let kinds: Vec<Type> = statement.values.iter().map(Value::kind).collect();
                self.client.prepare_typed_cached(statement.sql, &kinds).await?;
            }
        }
        let mut answers = Vec::with_capacity(statements.len());
        for part in statements.chunks(MAX_FLIGHT) {
            answers.extend(join_all(part.iter().map(|statement| self.answer(statement))).await);
        }
        Ok(answers)
    }

    async fn answer(&self, statement: &Statement<'_>) -> Result<Vec<Row>, Error> {
        if statement.values.is_empty() {
            let is_begin = statement.sql == Statement::BEGIN.sql;
            let sent = if is_begin { self.begin().await } else { self.batch(statement.sql).await };
            return sent.map(|()| Vec::new());
        }
        self.query(statement.sql, &statement.values).await
    }

    /// Sends reading statements at once, which see everything as it is at one moment, and gives their rows in order.
    pub(crate) async fn snapshot<const N: usize>(
        &self,
        statements: [Statement<'_>; N],
    ) -> Result<[Vec<Row>; N], Error> {
        if self.is_named {
            for Statement { sql, values } in &statements {
                let kinds: Vec<Type> = values.iter().map(Value::kind).collect();
                self.client.prepare_typed_cached(sql, &kinds).await?;
            }
        }
        let read = join_all(statements.iter().map(|Statement { sql, values }| self.query(sql, values)));
        let (began, read, ended) = future::join3(self.begin_snapshot(), read, self.batch("COMMIT")).await;
        began?;
        let mut rows = [const { Vec::new() }; N];
        for (rows, read) in rows.iter_mut().zip(read) {
            *rows = read?;
        }
        ended?;
        Ok(rows)
    }

    /// Begins a transaction that writes, unless an administrator has just forbidden it: every statement sees what is
    /// committed by then.
    pub(crate) async fn begin(&self) -> Result<(), Error> {
        self.begin_as("BEGIN ISOLATION LEVEL READ COMMITTED").await
    }

    /// Begins a transaction that reads everything as it is at its first statement.
    pub(crate) async fn begin_snapshot(&self) -> Result<(), Error> {
        self.begin_as(SNAPSHOT).await
    }

    /// The same for what goes through everything, however long that takes.
    pub(crate) async fn begin_long_snapshot(&self) -> Result<(), Error> {
        self.batch(&format!("{SNAPSHOT}; SET LOCAL statement_timeout = 0")).await
    }

    async fn begin_as(&self, begin: &str) -> Result<(), Error> {
        if self.limits.is_empty() {
            return self.batch(begin).await;
        }
        self.batch(&format!("{begin}; {}", self.limits)).await
    }
}
