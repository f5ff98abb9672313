//! A session in memory: what [`Chat::load_session`](crate::Chat::load_session) gives and
//! [`Chat::save_session`](crate::Chat::save_session) takes. How the difference is found and committed
//! is in `save.rs`.

use std::sync::Arc;

use membrane_core::evidence::Evidence;
use membrane_core::history::Cut;
use membrane_core::ids::{IdSource, SessionId};
use membrane_core::json::Json;
use membrane_core::session::{MAIN_BRANCH, NewSession, Session, SessionPatch};
use membrane_core::time::Clock;
use membrane_core::turn::{KeptTurn, Turn};

use crate::chat::Chat;
use crate::new_turn::NewTurn;
use crate::turns::Turns;

/// A session with all its turns, to be read and edited freely; nothing is stored until it is saved.
#[derive(Debug, Clone)]
pub struct ChatSession {
    /// The project it belongs to.
    pub project_id: Option<String>,
    /// Its name among its siblings.
    pub branch_name: String,
    /// A title for people.
    pub title: Option<String>,
    /// Labels, in order.
    pub tags: Vec<String>,
    /// A JSON object of the client's own.
    pub metadata: Json,
    /// Its turns.
    pub turns: Turns,
    pub(crate) id: SessionId,
    pub(crate) base: Option<Base>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

/// What the store held at the last load or save: the difference to this is what saving commits.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) version: u64,
    pub(crate) cut: Cut,
    pub(crate) names: Names,
    /// The record as it was read; `None` when it was gone before it could be read back.
    pub(crate) record: Option<Box<Session>>,
}

/// The editable part of a session's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) project_id: Option<String>,
    pub(crate) branch_name: String,
    pub(crate) title: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) metadata: Json,
}

impl Names {
    fn of(record: &Session) -> Self {
        Self {
            project_id: record.project_id.clone(),
            branch_name: record.branch_name.clone(),
            title: record.title.clone(),
            tags: record.tags.clone(),
            metadata: record.metadata.clone(),
        }
    }

    /// What makes `self` into `new`.
    pub(crate) fn patch_to(&self, new: &Self) -> SessionPatch {
        fn changed<T: Clone + PartialEq>(old: &T, new: &T) -> Option<T> {
            (old != new).then(|| new.clone())
        }
        SessionPatch {
            project_id: changed(&self.project_id, &new.project_id),
            branch_name: changed(&self.branch_name, &new.branch_name),
            title: changed(&self.title, &new.title),
            tags: changed(&self.tags, &new.tags),
            metadata: changed(&self.metadata, &new.metadata),
            ..SessionPatch::default()
        }
    }

    pub(crate) fn into_new_session(self, id: SessionId) -> NewSession {
        NewSession {
            project_id: self.project_id,
            branch_name: self.branch_name,
            title: self.title,
            tags: self.tags,
            metadata: self.metadata,
            ..NewSession::root(id)
        }
    }
}

impl ChatSession {
    /// Its name; never changes.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The record as the store had it at the last load or save; `None` for one that is not stored yet.
    pub fn record(&self) -> Option<&Session> {
        self.base.as_ref()?.record.as_deref()
    }

    /// The version that it was loaded or saved at; `None` for one that is not stored yet. Saving is
    /// refused with a conflict when the store has another one by then.
    pub fn version(&self) -> Option<u64> {
        self.base.as_ref().map(|base| base.version)
    }

    /// The evidence of what is stored, as of the last load or save; turns added since count once they
    /// are saved.
    pub fn evidence(&self) -> Evidence {
        self.record().map_or(Evidence::NONE, Session::evidence)
    }

    /// Adds a complete plain turn at the end, with a new id and the time of now.
    pub fn add_turn(&mut self, user: impl Into<String>, assistant: impl Into<String>) {
        self.add(NewTurn::new(user, assistant));
    }

    /// Adds a turn at the end, with a new id, and the time of now where it has none.
    pub fn add(&mut self, turn: NewTurn) {
        self.turns.push_new(turn.into_turn(&*self.ids, self.clock.now()));
    }

    pub(crate) fn names(&self) -> Names {
        Names {
            project_id: self.project_id.clone(),
            branch_name: self.branch_name.clone(),
            title: self.title.clone(),
            tags: self.tags.clone(),
            metadata: self.metadata.clone(),
        }
    }

    pub(crate) fn loaded(chat: &Chat, record: Session, turns: Vec<KeptTurn>) -> Self {
        let names = Names::of(&record);
        let turns: Vec<Turn> = turns.into_iter().map(|kept| kept.turn).collect();
        Self {
            project_id: names.project_id.clone(),
            branch_name: names.branch_name.clone(),
            title: names.title.clone(),
            tags: names.tags.clone(),
            metadata: names.metadata.clone(),
            turns: Turns::loaded(turns),
            id: record.id.clone(),
            base: Some(Base {
                version: record.version,
                cut: record.cut,
                names,
                record: Some(Box::new(record)),
            }),
            clock: Arc::clone(&chat.shared.clock),
            ids: Arc::clone(&chat.shared.ids),
        }
    }
}

impl Chat {
    /// A new, empty session on branch `main` with a new id. It is stored when it is saved first.
    pub fn new_session(&self) -> ChatSession {
        self.new_session_with_id(SessionId::generate(self.ids()))
    }

    /// A new, empty session on branch `main` that is called `id`. Saving it is refused with
    /// [`ChatError::AlreadyExists`](crate::ChatError::AlreadyExists) when the id is taken.
    pub fn new_session_with_id(&self, id: SessionId) -> ChatSession {
        ChatSession {
            project_id: None,
            branch_name: MAIN_BRANCH.to_owned(),
            title: None,
            tags: Vec::new(),
            metadata: Json::empty_object(),
            turns: Turns::default(),
            id,
            base: None,
            clock: Arc::clone(&self.shared.clock),
            ids: Arc::clone(&self.shared.ids),
        }
    }
}
