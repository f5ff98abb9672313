//! The floor: bare `tokio-postgres`, one table of sessions and one of turns, prepared once, with no history, no evidence
//! and no contract.

use membrane::core::ids::SessionId;
use tokio_postgres::{Client, Statement};

use crate::Failure;
use crate::measure::now_text;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS floor_sessions (
        id TEXT PRIMARY KEY, turn_count BIGINT NOT NULL, last_active TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS floor_turns (
        session_id TEXT NOT NULL, turn_number BIGINT NOT NULL, user_message TEXT NOT NULL,
        assistant_response TEXT NOT NULL, started_at TEXT NOT NULL, completed_at TEXT NOT NULL,
        PRIMARY KEY (session_id, turn_number)
    );";

const APPEND: &str = "
    WITH session AS (
        UPDATE floor_sessions SET turn_count = turn_count + 1, last_active = $2 WHERE id = $1
        RETURNING id, turn_count
    )
    INSERT INTO floor_turns
    SELECT id, turn_count - 1, $3, $4, $2, $2 FROM session";

const APPEND_MANY: &str = "
    WITH input AS (
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS i (id, user_message, assistant_response)
    ), session AS (
        UPDATE floor_sessions s SET turn_count = s.turn_count + 1, last_active = $4 FROM input i WHERE s.id = i.id
        RETURNING s.id, s.turn_count
    )
    INSERT INTO floor_turns
    SELECT id, turn_count - 1, user_message, assistant_response, $4, $4 FROM session JOIN input USING (id)";

const LOAD: &str = "
    SELECT turn_number, user_message, assistant_response, started_at, completed_at
    FROM floor_turns WHERE session_id = $1 ORDER BY turn_number";

/// A connection with its statements.
pub(crate) struct Floor {
    client: Client,
    append: Statement,
    append_many: Statement,
    load: Statement,
}

/// A turn as the floor reads it.
#[derive(Debug)]
#[expect(dead_code, reason = "reading it is what is measured")]
pub(crate) struct Turn {
    number: i64,
    user: String,
    reply: String,
    started_at: String,
    completed_at: String,
}

impl Floor {
    /// Connects and prepares.
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(SCHEMA).await?;
        Ok(Self {
            append: client.prepare(APPEND).await?,
            append_many: client.prepare(APPEND_MANY).await?,
            load: client.prepare(LOAD).await?,
            client,
        })
    }

    /// A session without turns.
    pub(crate) async fn create(&self, id: &SessionId) -> Result<(), Failure> {
        let sql = "INSERT INTO floor_sessions VALUES ($1, 0, $2)";
        self.client.execute(sql, &[&id.as_str(), &now_text()]).await?;
        Ok(())
    }

    /// One turn: one statement, one round trip.
    pub(crate) async fn append(&self, id: &SessionId, user: &str, reply: &str) -> Result<(), Failure> {
        let n = self.client.execute(&self.append, &[&id.as_str(), &now_text(), &user, &reply]).await?;
        expect_rows(n, 1)
    }

    /// A turn for each of several sessions, in one statement.
    pub(crate) async fn append_many(
        &self,
        ids: &[&str],
        users: &[String],
        replies: &[String],
    ) -> Result<(), Failure> {
        let n = self.client.execute(&self.append_many, &[&ids, &users, &replies, &now_text()]).await?;
        expect_rows(n, ids.len())
    }

    /// All turns of a session.
    pub(crate) async fn load(&self, id: &SessionId) -> Result<Vec<Turn>, Failure> {
        let rows = self.client.query(&self.load, &[&id.as_str()]).await?;
        rows.iter()
            .map(|row| {
                Ok(Turn {
                    number: row.try_get(0)?,
                    user: row.try_get(1)?,
                    reply: row.try_get(2)?,
                    started_at: row.try_get(3)?,
                    completed_at: row.try_get(4)?,
                })
            })
            .collect()
    }
}

fn expect_rows(found: u64, expected: usize) -> Result<(), Failure> {
    if found == u64::try_from(expected)? {
        return Ok(());
    }
    Err(format!("the floor wrote {found} turns of {expected}").into())
}
