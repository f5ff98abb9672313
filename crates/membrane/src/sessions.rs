//! Sessions as a whole: create, find, load, list, count, rename, delete.

use std::ops::Range;

use membrane_core::ids::SessionId;
use membrane_core::json::Json;
use membrane_core::page::{PageRequest, SessionFilter, SessionPage};
use membrane_core::session::{MAIN_BRANCH, NewSession, Session, SessionPatch};
use membrane_core::state::Action;
use membrane_store::change::Origin;
use membrane_store::{Change, Receipt, Requirement, StoreError, Thread, Write};

use crate::chat::Chat;
use crate::chat_session::ChatSession;
use crate::error::ChatError;
use crate::options::{ClientKey, Scope, WriteOptions};

/// What a new session is to be called; the default is one on branch `main`, outside any project.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewSessionOptions {
    /// Its id; a new one for `None`.
    pub id: Option<SessionId>,
    /// The project it belongs to.
    pub project_id: Option<String>,
    /// Its branch name, which may be empty; `main` for `None`.
    pub branch_name: Option<String>,
    /// A title for people.
    pub title: Option<String>,
    /// Labels, in order.
    pub tags: Vec<String>,
    /// A JSON object of the client's own; `{}` for `None`.
    pub metadata: Option<Json>,
    /// Makes the call happen once.
    pub key: Option<ClientKey>,
}

impl Chat {
    /// Creates an empty session, stored at once.
    ///
    /// # Errors
    /// - [`ChatError::AlreadyExists`]: the given id is taken.
    /// - [`ChatError::Refused`]: the metadata is not an object, or there are too many tags.
    /// - [`ChatError::TooLarge`]: a name is over its limit.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    pub async fn create_session(&self, options: NewSessionOptions) -> Result<Session, ChatError> {
        let limits = self.limits();
        let branch_name = options.branch_name.unwrap_or_else(|| MAIN_BRANCH.to_owned());
        let metadata = options.metadata.unwrap_or_else(Json::empty_object);
        limits.check_optional_name("project id", options.project_id.as_deref())?;
        limits.check_name("branch name", &branch_name)?;
        limits.check_optional_name("title", options.title.as_deref())?;
        limits.check_tags(&options.tags)?;
        limits.check_metadata(&metadata)?;
        let id = options.id.unwrap_or_else(|| SessionId::generate(self.ids()));
        let scope = Scope::new("create_session", None, options.key)?;
        let session = NewSession {
            project_id: options.project_id,
            branch_name,
            title: options.title,
            tags: options.tags,
            metadata,
            ..NewSession::root(id.clone())
        };
        let change = Change::at(self.now()).once(scope.map(|scope| scope.with(id.as_str()))).write(
            Write::CreateSession { session, origin: Origin::Empty { legacy: Vec::new() }, created_at: None },
        );
        let receipt = self.store().commit(change).await?;
        self.get_session(&made_session(&receipt, id)).await
    }

    /// Finds a session's record; its turns are not in it.
    pub async fn find_session(&self, id: &SessionId) -> Result<Option<Session>, ChatError> {
        Ok(self.store().find_session(id).await?)
    }

    /// Loads a session with all its turns, to be read, edited and saved.
    pub async fn load_session(&self, id: &SessionId) -> Result<Option<ChatSession>, ChatError> {
        let thread = self.store().load_thread(id, 0..u64::MAX).await?;
        Ok(thread.map(|Thread { session, turns }| ChatSession::loaded(self, session, turns)))
    }

    /// Loads turns `range` of a session, cut to what it has, with its record and their signals, in one
    /// snapshot.
    pub async fn load_turns(&self, id: &SessionId, range: Range<u64>) -> Result<Option<Thread>, ChatError> {
        Ok(self.store().load_thread(id, range).await?)
    }

    /// Lists sessions: newest `last_active` first, ties by id descending.
    pub async fn list_sessions(
        &self,
        filter: &SessionFilter,
        page: &PageRequest,
    ) -> Result<SessionPage, ChatError> {
        Ok(self.store().list_sessions(filter, page).await?)
    }

    /// Counts the sessions that a filter finds.
    pub async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64, ChatError> {
        Ok(self.store().count_sessions(filter).await?)
    }

    /// Changes a session's names and flags, and gives it as it is then.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Conflict`]: it is not at the expected version.
    /// - [`ChatError::Refused`]: the metadata is not an object, or there are too many tags.
    /// - [`ChatError::TooLarge`]: a name is over its limit.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    pub async fn patch_session(
        &self,
        id: &SessionId,
        patch: SessionPatch,
        options: WriteOptions,
    ) -> Result<Session, ChatError> {
        self.check_patch(&patch)?;
        let scope = Scope::new("patch_session", Some(id), options.key)?;
        let mut change = Change::at(self.now()).once(scope.map(|scope| scope.with("")));
        if let Some(version) = options.expected_version {
            change = change.require(Requirement::Version { session: id.clone(), version });
        }
        change = change.require(Requirement::Allows { session: id.clone(), action: Action::Rename });
        if !patch.is_empty() {
            change = change.write(Write::PatchSession { session: id.clone(), patch });
        }
        self.store().commit(change).await?;
        self.get_session(id).await
    }

    /// Deletes a session with its checkpoints, its crystal and every turn that no other session and no
    /// named checkpoint holds. Forks of it stay whole.
    ///
    /// # Errors
    /// [`ChatError::NotFound`]: no such session; of several deletes at once exactly one succeeds.
    pub async fn delete_session(&self, id: &SessionId) -> Result<(), ChatError> {
        let change = Change::at(self.now())
            .require(Requirement::Allows { session: id.clone(), action: Action::Delete })
            .write(Write::DeleteSession { session: id.clone() });
        self.store().commit(change).await?;
        self.runs().forget_session(id);
        Ok(())
    }

    fn check_patch(&self, patch: &SessionPatch) -> Result<(), ChatError> {
        let limits = self.limits();
        limits.check_optional_name("project id", patch.project_id.as_ref().and_then(Option::as_deref))?;
        limits.check_optional_name("branch name", patch.branch_name.as_deref())?;
        limits.check_optional_name("title", patch.title.as_ref().and_then(Option::as_deref))?;
        patch.tags.as_ref().map_or(Ok(()), |tags| limits.check_tags(tags))?;
        patch.metadata.as_ref().map_or(Ok(()), |metadata| limits.check_metadata(metadata))
    }
}

/// The id of the session that a change made: that of the first time, if this only repeats its answer.
pub(crate) fn made_session(receipt: &Receipt, id: SessionId) -> SessionId {
    if receipt.replayed { SessionId::from_stored(&receipt.result) } else { id }
}

/// A key's result that is not what was written with it.
pub(crate) fn odd_result(receipt: &Receipt) -> ChatError {
    let problem = "its result is not what this kind of call writes";
    ChatError::Store(StoreError::inconsistent("idempotency_keys", &receipt.result, problem))
}
