//! Membrane as the benchmark uses it: a real file, opened and called as an application would.

use std::path::Path;
use std::sync::Arc;

use membrane::core::ids::SessionId;
use membrane::{Chat, NewSessionOptions, NewTurn, WriteOptions};
use membrane_sqlite::{SqliteOptions, SqliteStore};

use crate::Failure;
use crate::measure::{reply_text, user_text};

/// Opens a keep with the settings that ship.
pub(crate) async fn open(path: &Path) -> Result<Chat, Failure> {
    open_with(SqliteOptions::at(path)).await
}

/// Opens a keep with other settings.
pub(crate) async fn open_with(options: SqliteOptions) -> Result<Chat, Failure> {
    Ok(Chat::create(Arc::new(SqliteStore::open(options).await?)))
}

/// A new session.
pub(crate) async fn create(chat: &Chat, project: Option<&str>) -> Result<SessionId, Failure> {
    let options = NewSessionOptions { project_id: project.map(str::to_owned), ..Default::default() };
    Ok(chat.create_session(options).await?.id)
}

/// One turn of the usual size.
pub(crate) async fn append(chat: &Chat, id: &SessionId) -> Result<(), Failure> {
    chat.append(id, NewTurn::new(user_text(), reply_text()), WriteOptions::default()).await?;
    Ok(())
}

/// Many turns of the usual size at once, to make a session long.
pub(crate) async fn fill(chat: &Chat, id: &SessionId, n_turns: usize) -> Result<(), Failure> {
    let mut left = n_turns;
    while left > 0 {
        let n = left.min(500);
        let turns = (0..n).map(|_| NewTurn::new(user_text(), reply_text())).collect();
        chat.append_many(id, turns, WriteOptions::default()).await?;
        left -= n;
    }
    Ok(())
}
