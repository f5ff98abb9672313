//! What a write is: requirements, then writes, applied as one.
//!
//! Decided values only; nothing here reads or computes.

use std::time::Duration;

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::crystal::Crystal;
use membrane_core::evidence::{LegacySet, Standing};
use membrane_core::history::{Cut, Slice, TurnRef};
use membrane_core::ids::{CheckpointId, InstanceId, LeaseToken, RunId, SessionId};
use membrane_core::role::Role;
use membrane_core::run::{Lease, Piece, Run, RunShape};
use membrane_core::session::{NewSession, SessionPatch};
use membrane_core::state::Action;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Signal, Turn};

use crate::kgents::OldRow;

/// How long an idempotency key is remembered.
pub const KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest idempotency key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// One atomic change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Makes the change happen once, however often it is sent.
    pub key: Option<IdempotencyKey>,
    /// What must hold; checked in order, before any write.
    pub require: Vec<Requirement>,
    /// What is written, in order.
    pub writes: Vec<Write>,
    /// The time of the change: `created_at` and `last_active` of what it touches.
    pub now: Timestamp,
}

impl Change {
    /// A change at `now` that requires and writes nothing yet.
    pub fn at(now: Timestamp) -> Self {
        Self { key: None, require: Vec::new(), writes: Vec::new(), now }
    }

    /// The same change, done once per key.
    #[must_use]
    pub fn once(mut self, key: Option<IdempotencyKey>) -> Self {
        self.key = key;
        self
    }

    /// Adds a requirement.
    #[must_use]
    pub fn require(mut self, requirement: Requirement) -> Self {
        self.require.push(requirement);
        self
    }

    /// Adds a write.
    #[must_use]
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }
}

/// Names a request, so that sending it again does nothing twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The kind of request; the same key on another route is another key.
    pub route: String,
    /// The session it is about; `None` when it creates one. The key is removed with this session, and
    /// with any session that the change created.
    pub session: Option<SessionId>,
    /// The client's word, at most [`MAX_KEY_BYTES`].
    pub key: String,
    /// A hash of the request's body: another body under the same key is refused.
    pub body_hash: [u8; 32],
    /// What the caller wants back on a replay, such as the id of what was made.
    pub result: String,
}

/// Something that must hold when the change is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// The session is at this version, else [`crate::StoreError::Conflict`].
    Version {
        /// The session.
        session: SessionId,
        /// The version that the change was decided on.
        version: u64,
    },
    /// The session's state allows this, else [`crate::StoreError::Refused`].
    Allows {
        /// The session.
        session: SessionId,
        /// What is to be done to it.
        action: Action,
    },
    /// The session points at this cut's history and sees at least its turns, else
    /// [`crate::StoreError::Changed`].
    Sees {
        /// The session.
        session: SessionId,
        /// What it must see.
        cut: Cut,
    },
    /// The session's checkpoint is there, else [`crate::StoreError::NotFound`].
    Checkpoint {
        /// The session.
        session: SessionId,
        /// Its checkpoint.
        id: CheckpointId,
    },
    /// All turns of the cut are there, else [`crate::StoreError::Gap`].
    Intact {
        /// The cut.
        cut: Cut,
    },
    /// The run is there and its lease carries this token, else [`crate::StoreError::LeaseLost`].
    Lease {
        /// The run.
        run: RunId,
        /// The token.
        token: LeaseToken,
    },
    /// The run waits for a tool, or its lease has expired by the backend's clock, or `dead_owner` holds
    /// it; else [`crate::StoreError::LeaseHeld`].
    Abandoned {
        /// The run.
        run: RunId,
        /// An owner that the caller knows to be dead.
        dead_owner: Option<InstanceId>,
    },
    /// The run is there and waits for a tool, else [`crate::StoreError::LeaseLost`].
    Waiting {
        /// The run.
        run: RunId,
    },
}

/// Where a new session's thread comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// Nowhere: a new, empty history, with these legacy observations.
    Empty {
        /// Ordered by origin.
        legacy: Vec<LegacySet>,
    },
    /// It points at what another one sees.
    Cut(Cut),
    /// A new history of these closed slices, as a merge lays them out.
    Slices {
        /// In order, without gaps, from turn 0.
        slices: Vec<Slice>,
        /// The union of the sources' legacy observations.
        legacy: Vec<LegacySet>,
    },
}

/// The checkpoint that a move leaves behind at the place it moves away from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leave {
    /// Its id.
    pub id: CheckpointId,
    /// Rewind or restore; named only when old files are loaded.
    pub kind: CheckpointKind,
    /// What it is called, if it is named.
    pub name: Option<String>,
}

impl Leave {
    /// An automatic one.
    pub fn automatic(id: CheckpointId, kind: CheckpointKind) -> Self {
        Self { id, kind, name: None }
    }
}

/// One write. A write that names something missing fails with [`crate::StoreError::NotFound`].
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Creates a session, idle, at version 1.
    CreateSession {
        /// What it is called.
        session: NewSession,
        /// Where its thread comes from.
        origin: Origin,
        /// When it was created, if not at the change's time.
        created_at: Option<Timestamp>,
    },
    /// Appends finished turns at the session's end, wherever that is now: the one relative write, so
    /// that appends never conflict with each other. In place while the session stands at the end of a
    /// segment that it owns, else into a new history and a fresh segment.
    AppendTurns {
        /// The session.
        session: SessionId,
        /// In order.
        turns: Vec<Turn>,
    },
    /// Points the session at another cut, which must be alive: part of what it sees, a named
    /// checkpoint's, or required to be [`Requirement::Intact`].
    MoveSession {
        /// The session.
        session: SessionId,
        /// Where to.
        to: Cut,
        /// The automatic checkpoint to leave where it stood. Beyond
        /// [`membrane_core::checkpoint::MAX_AUTOMATIC`] the oldest automatic ones go.
        leave: Leave,
    },
    /// Changes names and flags.
    PatchSession {
        /// The session.
        session: SessionId,
        /// What changes.
        patch: SessionPatch,
    },
    /// Marks a session as gone into a merge.
    MarkMerged {
        /// The source.
        session: SessionId,
        /// The merge.
        into: SessionId,
    },
    /// Deletes the session, its checkpoints, crystal, run and keys, and every turn that no other session
    /// and no named checkpoint reaches. An automatic checkpoint keeps alive only turns of segments whose
    /// owner lives. While others of its family live, a tombstone stays.
    DeleteSession {
        /// The session.
        session: SessionId,
    },
    /// Makes a named checkpoint where the session stands; or at `cut`, which the change requires it to see.
    CreateCheckpoint {
        /// Its id.
        id: CheckpointId,
        /// The session.
        session: SessionId,
        /// What the user calls it.
        name: Option<String>,
        /// The turns that it sees.
        cut: Cut,
    },
    /// Deletes a checkpoint, and the turns that nothing reaches without it.
    DeleteCheckpoint {
        /// The session.
        session: SessionId,
        /// Its checkpoint.
        id: CheckpointId,
    },
    /// Adds a signal to a turn; evidence of every session that holds the turn follows.
    AddSignal {
        /// The turn's identity.
        at: TurnRef,
        /// The signal.
        signal: Signal,
    },
    /// Writes what an old file knew of a session; only for loading old files.
    SetPast {
        /// The session.
        session: SessionId,
        /// What was known.
        past: Past,
    },
    /// Keeps something of an old file that has no place elsewhere, word for word; it goes with its session.
    KeepOldRow(OldRow),
    /// Writes or replaces a session's crystal.
    SaveCrystal(Crystal),
    /// Opens a run; the session becomes `processing`. [`crate::StoreError::Busy`] if one is open.
    BeginRun {
        /// The run, phase `running`.
        run: Run,
        /// How long the lease lasts unless renewed.
        lease_for: Duration,
    },
    /// Adds pieces to a run's log; their numbers go on without a gap, else somebody else writes it too:
    /// [`crate::StoreError::LeaseLost`].
    AppendPieces {
        /// The run.
        run: RunId,
        /// In order.
        pieces: Vec<Piece>,
    },
    /// Lets the lease last `lease_for` from now by the backend's clock.
    RenewLease {
        /// The run.
        run: RunId,
        /// How long.
        lease_for: Duration,
    },
    /// The run waits for a tool: no lease; the session becomes `awaiting_tool`.
    SuspendRun {
        /// The run.
        run: RunId,
    },
    /// The run goes on under a new lease; the session becomes `processing`.
    ResumeRun {
        /// The run.
        run: RunId,
        /// The new owner.
        lease: Lease,
        /// How long the lease lasts unless renewed.
        lease_for: Duration,
    },
    /// Asks whoever drives the run to stop it; see [`crate::Store::list_stop_requests`]. Asking again changes nothing.
    RequestStop {
        /// The run.
        run: RunId,
    },
    /// Ends a run: the turn is appended, the run and its pieces go, the session becomes `idle`. How its answer came is
    /// remembered until the session's next run ends, or [`Write::ForgetEndedRuns`].
    FinishRun {
        /// The run.
        run: RunId,
        /// The finished turn.
        turn: Box<Turn>,
        /// How its answer came.
        shape: RunShape,
    },
    /// Forgets how runs came that ended before this.
    ForgetEndedRuns {
        /// Those that ended before this go.
        before: Timestamp,
    },
    /// Forgets idempotency keys older than this.
    ForgetKeys {
        /// Keys made before this go.
        before: Timestamp,
    },
    /// Forgets the oldest events, at most [`crate::events::FORGET_AT_ONCE`] of them. Their numbers are not used
    /// again, even if none is left.
    ForgetEvents {
        /// Events of changes before this go.
        before: Timestamp,
        /// How many may stay, the newest ones.
        keep: u64,
    },
    /// Gives a role to an instance for `lease_for` from now by the backend's clock: if it has the role already, or
    /// nobody's lease lasts, or `dead_leader` has it; else [`crate::StoreError::LeadHeld`].
    TakeLead {
        /// The role.
        role: Role,
        /// Who is to lead.
        instance: InstanceId,
        /// How long, unless taken again.
        lease_for: Duration,
        /// A leader that the caller knows to be dead.
        dead_leader: Option<InstanceId>,
    },
    /// Lets the role go, if the instance has it.
    GiveUpLead {
        /// The role.
        role: Role,
        /// Who leads no more.
        instance: InstanceId,
    },
}

impl Write {
    /// The session that the write names itself. One of a run, a signal, a role or old things names none.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::CreateSession { session, .. } => Some(&session.id),
            Self::AppendTurns { session, .. }
            | Self::MoveSession { session, .. }
            | Self::PatchSession { session, .. }
            | Self::MarkMerged { session, .. }
            | Self::DeleteSession { session }
            | Self::CreateCheckpoint { session, .. }
            | Self::DeleteCheckpoint { session, .. }
            | Self::SetPast { session, .. } => Some(session),
            Self::SaveCrystal(crystal) => Some(&crystal.session),
            Self::BeginRun { run, .. } => Some(&run.session),
            Self::AddSignal { .. }
            | Self::KeepOldRow(_)
            | Self::AppendPieces { .. }
            | Self::RenewLease { .. }
            | Self::SuspendRun { .. }
            | Self::ResumeRun { .. }
            | Self::RequestStop { .. }
            | Self::FinishRun { .. }
            | Self::ForgetEndedRuns { .. }
            | Self::ForgetKeys { .. }
            | Self::ForgetEvents { .. }
            | Self::TakeLead { .. }
            | Self::GiveUpLead { .. } => None,
        }
    }
}

/// What an old file knew of a session that follows from nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// Whether it went into a merge.
    pub is_merged: bool,
    /// Which one, if it is known; it may be gone.
    pub merged_into: Option<SessionId>,
    /// The flags and names that are set at creation by nobody else.
    pub patch: SessionPatch,
    /// When it was last active.
    pub last_active: Timestamp,
    /// The legacy observations of its history, which no other session and no checkpoint may use yet; ordered by origin.
    pub legacy: Vec<LegacySet>,
}

/// Where a session stood after a change.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionStamp {
    /// The session.
    pub id: SessionId,
    /// Its version.
    pub version: u64,
    /// The turns that it sees.
    pub cut: Cut,
    /// What they add up to.
    pub standing: Standing,
}

/// What a committed change answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The sessions whose record or state the change wrote and that are still there, in the order in
    /// which it first wrote them. A write of the state alone (a run that begins, waits or goes on)
    /// leaves the version as it was.
    pub sessions: Vec<SessionStamp>,
    /// The key's `result`: of the first time, if this is a replay.
    pub result: String,
    /// Whether the change had been applied before and this only repeats its answer.
    pub replayed: bool,
}

impl Receipt {
    /// The stamp of one session.
    pub fn stamp(&self, id: &SessionId) -> Option<&SessionStamp> {
        self.sessions.iter().find(|stamp| stamp.id == *id)
    }
}
