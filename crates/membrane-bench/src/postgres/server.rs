//! The server that both sides use, and a database for each part.

use std::sync::Arc;

use membrane::Chat;
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_testservers::{Database, Postgres, PostgresOptions as ServerOptions};
use tokio::task::block_in_place;

use crate::Failure;

/// A private server that syncs each commit, as one in use does.
pub(crate) struct Server {
    cluster: Postgres,
}

/// A keep in a database of its own, in which the floor has its tables, too.
pub(crate) struct Keep {
    pub(crate) chat: Chat,
    pub(crate) url: String,
    _database: Database,
}

impl Server {
    /// Makes and starts it.
    pub(crate) fn start() -> Result<Self, Failure> {
        let options = ServerOptions::default()
            .durable()
            .setting("shared_buffers", "512MB")
            .setting("max_wal_size", "4GB");
        let cluster = block_in_place(|| Postgres::start_with(&options))?;
        Ok(Self { cluster })
    }

    /// What it calls itself.
    pub(crate) async fn version(&self) -> Result<String, Failure> {
        let url = self.cluster.admin_url();
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client.query_one("SHOW server_version", &[]).await?.try_get(0)?)
    }

    /// An empty keep with the settings that ship.
    pub(crate) async fn keep(&self) -> Result<Keep, Failure> {
        let database = block_in_place(|| self.cluster.create_database())?;
        let url = database.url();
        let store = PostgresStore::open(PostgresOptions::at(url.clone())).await?;
        Ok(Keep { chat: Chat::create(Arc::new(store)), url, _database: database })
    }
}

impl Keep {
    /// Lets go of it.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        Ok(self.chat.close().await?)
    }
}
