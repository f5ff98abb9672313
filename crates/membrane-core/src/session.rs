//! Sessions: what a thread is called, where it points and what it adds up to. Turns are not in it.

use crate::error::DomainError;
use crate::evidence::{Evidence, LegacyTotals, Standing};
use crate::history::Cut;
use crate::ids::SessionId;
use crate::json::Json;
use crate::state::State;
use crate::time::Timestamp;
use crate::turn::Totals;

/// The branch name of a session that nobody named.
pub const MAIN_BRANCH: &str = "main";

/// One session as the store holds it.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags that clients set one by one")]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// The first ancestor of its family of forks; itself if it was not forked. Kept when that is deleted.
    pub family: SessionId,
    /// The project it belongs to.
    pub project_id: Option<String>,
    /// The session it was forked from or merged into a new one from; may be deleted by now.
    pub parent_id: Option<SessionId>,
    /// How many of the parent's turns it took along; `None` unless forked.
    pub fork_point: Option<u64>,
    /// Its name among its siblings; may be empty.
    pub branch_name: String,
    /// A title for people.
    pub title: Option<String>,
    /// Labels, in the user's order.
    pub tags: Vec<String>,
    /// Never deleted by retention.
    pub pinned: bool,
    /// Out of the way.
    pub archived: bool,
    /// Readable and searchable, but over.
    pub trailing: bool,
    /// A JSON object of the client's own.
    pub metadata: Json,
    /// What it is doing.
    pub state: State,
    /// Whether it went into a merge.
    pub is_merged: bool,
    /// The merge that it went into.
    pub merged_into: Option<SessionId>,
    /// Counts the changes of its record, from 1. Signals and runs do not count.
    pub version: u64,
    /// The turns that it sees.
    pub cut: Cut,
    /// Their totals, signals aside.
    pub totals: Totals,
    /// How many successes among them count as failures because of a signal.
    pub flipped: i64,
    /// The legacy observations of its history.
    pub legacy: LegacyTotals,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its turns last changed.
    pub last_active: Timestamp,
}

impl Session {
    /// How many turns it has.
    pub fn turn_count(&self) -> u64 {
        self.cut.turn_count
    }

    /// What its turns add up to.
    pub fn standing(&self) -> Standing {
        Standing { totals: self.totals, flipped: self.flipped, legacy: self.legacy }
    }

    /// Its evidence, derived.
    pub fn evidence(&self) -> Evidence {
        self.standing().evidence()
    }

    /// How many turns a fork at `fork_point` holds: all for `None`.
    ///
    /// # Errors
    /// [`DomainError::ForkPointBeyondEnd`] for a negative one or one beyond the end; nothing is clamped.
    pub fn resolve_fork_point(&self, fork_point: Option<i64>) -> Result<u64, DomainError> {
        let Some(fork_point) = fork_point else { return Ok(self.turn_count()) };
        match u64::try_from(fork_point) {
            Ok(point) if point <= self.turn_count() => Ok(point),
            _ => Err(DomainError::ForkPointBeyondEnd { fork_point, turn_count: self.turn_count() }),
        }
    }

    /// How many turns are left when `turns` are taken off the end.
    ///
    /// # Errors
    /// [`DomainError::RewindTooFar`] when there are fewer.
    pub fn resolve_rewind(&self, turns: u64) -> Result<u64, DomainError> {
        let turn_count = self.turn_count();
        turn_count.checked_sub(turns).ok_or(DomainError::RewindTooFar { turns, turn_count })
    }

    /// A turn's number, checked.
    ///
    /// # Errors
    /// [`DomainError::NoSuchTurn`] for a negative one or one beyond the end.
    pub fn resolve_turn_number(&self, turn_number: i64) -> Result<u64, DomainError> {
        match u64::try_from(turn_number) {
            Ok(number) if number < self.turn_count() => Ok(number),
            _ => Err(DomainError::NoSuchTurn {
                session: self.id.clone(),
                turn_number,
                turn_count: self.turn_count(),
            }),
        }
    }
}

/// What a new session is to be called and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSession {
    /// Its name.
    pub id: SessionId,
    /// Its family's root: itself, or that of what it was made from.
    pub family: SessionId,
    /// The project it belongs to.
    pub project_id: Option<String>,
    /// What it was made from.
    pub parent_id: Option<SessionId>,
    /// How many of the parent's turns it takes along; `None` unless it is a fork.
    pub fork_point: Option<u64>,
    /// Its name among its siblings.
    pub branch_name: String,
    /// A title for people.
    pub title: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// A JSON object of the client's own.
    pub metadata: Json,
}

impl NewSession {
    /// A session of its own, on branch `main`, outside any project.
    pub fn root(id: SessionId) -> Self {
        Self {
            family: id.clone(),
            id,
            project_id: None,
            parent_id: None,
            fork_point: None,
            branch_name: MAIN_BRANCH.to_owned(),
            title: None,
            tags: Vec::new(),
            metadata: Json::empty_object(),
        }
    }
}

/// Changes to a session's names and flags; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionPatch {
    /// The project; `Some(None)` takes it out of any.
    pub project_id: Option<Option<String>>,
    /// The branch name.
    pub branch_name: Option<String>,
    /// The title; `Some(None)` removes it.
    pub title: Option<Option<String>>,
    /// All tags.
    pub tags: Option<Vec<String>>,
    /// Whether retention must leave it.
    pub pinned: Option<bool>,
    /// Whether it is out of the way.
    pub archived: Option<bool>,
    /// Whether it is over.
    pub trailing: Option<bool>,
    /// The client's JSON object.
    pub metadata: Option<Json>,
}

impl SessionPatch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Carries the changes out on a session in memory.
    pub fn apply(self, session: &mut Session) {
        fn put<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        put(&mut session.project_id, self.project_id);
        put(&mut session.branch_name, self.branch_name);
        put(&mut session.title, self.title);
        put(&mut session.tags, self.tags);
        put(&mut session.pinned, self.pinned);
        put(&mut session.archived, self.archived);
        put(&mut session.trailing, self.trailing);
        put(&mut session.metadata, self.metadata);
    }
}
