//! Events: which of them a change makes, how long they are kept, and how readers are woken.
//!
//! A backend notes each write that it has carried out in [`ChangeEvents`] and stores what comes out of it in the same
//! transaction. Only here is it decided what makes an event, so that backends cannot drift apart:
//!
//! | write | event |
//! | --- | --- |
//! | `CreateSession` | `session.created` |
//! | `PatchSession`, `MarkMerged`, `MoveSession`, `SetPast` | `session.updated` |
//! | `DeleteSession` | `session.deleted` |
//! | `AppendTurns` | `turn.added` |
//! | `AddSignal` | `turn.updated`, for every session that holds the turn |
//! | `CreateCheckpoint` | `checkpoint.created` |
//! | `DeleteCheckpoint` | `checkpoint.deleted` |
//! | `SaveCrystal` | `crystal.saved` |
//! | `BeginRun` | `run.started` |
//! | `SuspendRun` | `run.waiting` |
//! | `ResumeRun` | `run.resumed` |
//! | `FinishRun` | `turn.added`, `run.ended` |
//! | all others, an empty patch and no turns | none |
//!
//! One of a kind for each session and change, in the order of the writes; each with the session's version after the
//! change. A replayed key makes none.

use std::time::Duration;

use membrane_core::event::{Event, EventKind, EventSeq};
use membrane_core::ids::SessionId;
use tokio::sync::watch;

use crate::{Change, StoreError, Write};

/// How long an event is kept.
pub const EVENT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How many events are kept at the most.
pub const MAX_EVENTS: u64 = 1_000_000;

/// How many events one [`Write::ForgetEvents`] forgets at the most, so that no writer waits long behind it.
pub const FORGET_AT_ONCE: u32 = 2_000;

/// How often a store looks for what another process has committed, while somebody waits.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The same where other processes wake it: for those who have no time to, or do not know how. Less than the second within
/// which readers are to be told.
pub const LOOK_SELDOM: Duration = Duration::from_millis(750);

/// What is there after a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventPage {
    /// Events, oldest first; none if there are none yet.
    Events(Vec<Event>),
    /// Events after the place are forgotten, or it is of other data. What is known of sessions may be out of date:
    /// read them anew, and then go on after this place.
    Reset(EventSeq),
}

/// The places from which events can be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventBounds {
    /// The oldest: all events up to this one may be forgotten.
    pub oldest: EventSeq,
    /// The newest: no event is after it yet.
    pub newest: EventSeq,
}

impl EventBounds {
    /// Whether events can be followed from this place.
    pub fn contain(&self, place: EventSeq) -> bool {
        self.oldest <= place && place <= self.newest
    }
}

/// An event that has no number yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What happened.
    pub kind: EventKind,
    /// The session.
    pub session: SessionId,
    /// Its version after the change; of a deleted one, the last that it had.
    pub version: u64,
}

/// What a write makes of the session that it is about. A deletion is noted by [`ChangeEvents::note_deleted`].
fn kinds(write: &Write) -> &'static [EventKind] {
    match write {
        Write::CreateSession { .. } => &[EventKind::SessionCreated],
        Write::AppendTurns { turns, .. } if turns.is_empty() => &[],
        Write::AppendTurns { .. } => &[EventKind::TurnAdded],
        Write::PatchSession { patch, .. } if patch.is_empty() => &[],
        Write::PatchSession { .. }
        | Write::MoveSession { .. }
        | Write::MarkMerged { .. }
        | Write::SetPast { .. } => &[EventKind::SessionUpdated],
        Write::CreateCheckpoint { .. } => &[EventKind::CheckpointCreated],
        Write::DeleteCheckpoint { .. } => &[EventKind::CheckpointDeleted],
        Write::AddSignal { .. } => &[EventKind::TurnUpdated],
        Write::SaveCrystal(_) => &[EventKind::CrystalSaved],
        Write::BeginRun { .. } => &[EventKind::RunStarted],
        Write::SuspendRun { .. } => &[EventKind::RunWaiting],
        Write::ResumeRun { .. } => &[EventKind::RunResumed],
        Write::FinishRun { .. } => &[EventKind::TurnAdded, EventKind::RunEnded],
        Write::DeleteSession { .. }
        | Write::KeepOldRow(_)
        | Write::AppendPieces { .. }
        | Write::RenewLease { .. }
        | Write::RequestStop { .. }
        | Write::ForgetEndedRuns { .. }
        | Write::ForgetKeys { .. }
        | Write::ForgetEvents { .. }
        | Write::TakeLead { .. }
        | Write::GiveUpLead { .. } => &[],
    }
}

/// Whether a change may make events.
pub fn makes_events(change: &Change) -> bool {
    change.writes.iter().any(|write| matches!(write, Write::DeleteSession { .. }) || !kinds(write).is_empty())
}

/// The events of a change under way.
#[derive(Debug, Default)]
pub struct ChangeEvents {
    /// In order; only a deletion's version is known already.
    noted: Vec<(EventKind, SessionId, Option<u64>)>,
}

impl ChangeEvents {
    /// Notes a write that was carried out, once for each session that it is about: the one that it names
    /// ([`Write::session`]), its run's, or each that holds its turn.
    pub fn note(&mut self, write: &Write, session: &SessionId) {
        for kind in kinds(write) {
            if !self.noted.iter().any(|(noted, of, _)| noted == kind && of == session) {
                self.noted.push((*kind, session.clone(), None));
            }
        }
    }

    /// Notes a deletion, with the last version that the session had. What the change did to the session before shows
    /// nowhere, and one that it created itself was never there.
    pub fn note_deleted(&mut self, session: &SessionId, version: u64) {
        let was_created =
            self.noted.iter().any(|(kind, of, _)| *kind == EventKind::SessionCreated && of == session);
        self.noted.retain(|(_, of, version)| of != session || version.is_some());
        if !was_created {
            self.noted.push((EventKind::SessionDeleted, session.clone(), Some(version)));
        }
    }

    /// The events, in order, with the versions that the sessions have at the change's end.
    ///
    /// # Errors
    /// What `version_of` fails with.
    pub fn finish<E>(
        self,
        mut version_of: impl FnMut(&SessionId) -> Result<u64, E>,
    ) -> Result<Vec<NewEvent>, E> {
        let with_version = |(kind, session, version): (EventKind, SessionId, Option<u64>)| {
            let version = version.map_or_else(|| version_of(&session), Ok)?;
            Ok(NewEvent { kind, session, version })
        };
        self.noted.into_iter().map(with_version).collect()
    }
}

/// What the newest event is as far as this process knows, and the waking of those who wait for a newer one.
#[derive(Debug)]
pub struct EventBell {
    known: watch::Sender<Known>,
    /// Held by the one of those who wait that looks for what other processes commit.
    lookout: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    newest: EventSeq,
    is_closed: bool,
}

impl Default for EventBell {
    fn default() -> Self {
        Self { known: watch::Sender::new(Known::default()), lookout: tokio::sync::Mutex::new(()) }
    }
}

impl EventBell {
    /// Tells of the newest event that was seen, in a commit of one's own or in reading.
    pub fn ring(&self, newest: EventSeq) {
        self.known.send_if_modified(|known| {
            let is_news = newest > known.newest;
            known.newest = known.newest.max(newest);
            is_news
        });
    }

    /// Whether anybody waits.
    pub fn has_waiters(&self) -> bool {
        self.known.receiver_count() > 0
    }

    /// Wakes all who wait, now and from now on, with [`StoreError::Closed`].
    pub fn close(&self) {
        self.known.send_modify(|known| known.is_closed = true);
    }

    /// Waits until an event after `after` is known of.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn wait(&self, after: EventSeq) -> Result<(), StoreError> {
        let mut known = self.known.subscribe();
        let seen = known.wait_for(|known| known.is_closed || known.newest > after).await;
        let is_closed = seen.map_or(true, |known| known.is_closed);
        if is_closed { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// The same where others commit to the same data: as long as anybody waits, one of those who do asks `look` for
    /// the newest event, each time after `pause` has passed. What fails is tried again. Needs a tokio runtime with time
    /// enabled.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn wait_and_look<F>(
        &self,
        after: EventSeq,
        pause: impl Fn() -> Duration,
        look: impl Fn() -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<EventSeq, StoreError>>,
    {
        let looking = async {
            let _turn = self.lookout.lock().await;
            loop {
                tokio::time::sleep(pause()).await;
                match look().await {
                    Ok(newest) => self.ring(newest),
                    Err(StoreError::Closed) => return StoreError::Closed,
                    // Whoever reads or writes is told what is wrong; here it only means not to know of others yet.
                    Err(_) => {}
                }
            }
        };
        tokio::select! {
            biased;
            woken = self.wait(after) => woken,
            error = looking => Err(error),
        }
    }
}
