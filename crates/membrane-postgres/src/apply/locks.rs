//! What a change locks before it looks at anything, in the one order that all changes keep: sessions by id, the families of
//! sessions to be deleted, runs, segments by number. All of it is sent in one flight with `BEGIN`.

use membrane_core::checkpoint::MAX_AUTOMATIC;
use membrane_core::history::{Cut, TurnRef};
use membrane_core::ids::{CheckpointId, RunId, SessionId};
use membrane_store::change::Origin;
use membrane_store::{Change, Requirement, Write};

use crate::db::Statement;
use crate::value::{Value, escape};

/// What a change names.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    sessions: Vec<&'a SessionId>,
    /// Runs.
    pub(super) runs: Vec<&'a RunId>,
    /// Those of them whose session changes, too.
    session_runs: Vec<&'a RunId>,
    /// The sessions on which runs begin.
    begun: Vec<&'a SessionId>,
    deleted: Vec<&'a SessionId>,
    moved: Vec<&'a SessionId>,
    deleted_checkpoints: Vec<&'a CheckpointId>,
    cuts: Vec<Cut>,
    segments: Vec<i64>,
    /// The turns that get signals.
    pub(super) signals: Vec<TurnRef>,
    /// Whether pointers at turns go, or what hangs on turns changes.
    is_exclusive: bool,
}

impl<'a> Names<'a> {
    /// What the change names.
    pub(super) fn of(change: &'a Change) -> Self {
        let mut names = Self::default();
        change.require.iter().for_each(|requirement| names.add_requirement(requirement));
        change.writes.iter().for_each(|write| names.add_write(write));
        names
    }

    fn add_requirement(&mut self, requirement: &'a Requirement) {
        match requirement {
            Requirement::Version { session, .. }
            | Requirement::Allows { session, .. }
            | Requirement::Sees { session, .. }
            | Requirement::Checkpoint { session, .. } => self.sessions.push(session),
            Requirement::Intact { cut } => self.cuts.push(*cut),
            Requirement::Lease { run, .. }
            | Requirement::Abandoned { run, .. }
            | Requirement::Waiting { run } => self.runs.push(run),
        }
    }

    fn add_write(&mut self, write: &'a Write) {
        match write {
            Write::CreateSession { origin: Origin::Empty { .. }, .. }
            | Write::KeepOldRow(_)
            | Write::ForgetKeys { .. }
            | Write::ForgetEndedRuns { .. }
            | Write::ForgetEvents { .. }
            | Write::TakeLead { .. }
            | Write::GiveUpLead { .. } => {}
            Write::CreateSession { origin: Origin::Cut(cut), .. } => self.cuts.push(*cut),
            Write::CreateSession { origin: Origin::Slices { slices, .. }, .. } => {
                self.segments.extend(slices.iter().map(|slice| slice.segment.0));
            }
            Write::AppendTurns { session, .. }
            | Write::PatchSession { session, .. }
            | Write::MarkMerged { session, .. }
            | Write::SetPast { session, .. } => self.sessions.push(session),
            Write::SaveCrystal(crystal) => self.sessions.push(&crystal.session),
            Write::MoveSession { session, to, .. } => {
                self.sessions.push(session);
                self.moved.push(session);
                self.cuts.push(*to);
                self.is_exclusive = true;
            }
            Write::DeleteSession { session } => {
                self.sessions.push(session);
                self.deleted.push(session);
                self.is_exclusive = true;
            }
            Write::CreateCheckpoint { session, cut, .. } => {
                self.sessions.push(session);
                self.cuts.push(*cut);
            }
            Write::DeleteCheckpoint { session, id } => {
                self.sessions.push(session);
                self.deleted_checkpoints.push(id);
                self.is_exclusive = true;
            }
            Write::AddSignal { at, .. } => {
                self.segments.push(at.segment.0);
                self.signals.push(*at);
                self.is_exclusive = true;
            }
            Write::BeginRun { run, .. } => {
                self.sessions.push(&run.session);
                self.begun.push(&run.session);
            }
            Write::AppendPieces { run, .. } | Write::RenewLease { run, .. } | Write::RequestStop { run } => {
                self.runs.push(run);
            }
            Write::SuspendRun { run } | Write::ResumeRun { run, .. } | Write::FinishRun { run, .. } => {
                self.runs.push(run);
                self.session_runs.push(run);
            }
        }
    }

    /// Locks and reads the sessions.
    pub(super) fn lock_sessions(&self) -> Option<Statement<'a>> {
        if self.sessions.is_empty() && self.session_runs.is_empty() && self.signals.is_empty() {
            return None;
        }
        let named = texts(self.sessions.iter().map(|id| id.as_str()));
        // A deletion waits for those who point at the row by a foreign key, as well.
        if !self.deleted.is_empty() || !self.signals.is_empty() || !self.session_runs.is_empty() {
            let runs = texts(self.session_runs.iter().map(|id| id.as_str()));
            let segments = Value::Ints(self.signals.iter().map(|at| at.segment.0).collect());
            let positions = Value::Ints(self.signals.iter().map(|at| at.position).collect());
            let sql = if self.deleted.is_empty() { LOCK_FOUND } else { LOCK_FOUND_TO_DELETE };
            return Some(Statement { sql, values: vec![named, runs, segments, positions] });
        }
        Some(match self.sessions.as_slice() {
            [id] => Statement { sql: LOCK_ONE, values: vec![Value::from(id.as_str())] },
            _ => Statement { sql: LOCK_NAMED, values: vec![named] },
        })
    }

    /// Lets the deletions of a family's sessions come one after the other, so that the last one knows that it is.
    pub(super) fn lock_families(&self) -> Option<Statement<'a>> {
        (!self.deleted.is_empty()).then(|| Statement {
            sql: "SELECT 1 FROM (SELECT DISTINCT hashtext(family_id) AS key FROM chat_sessions WHERE id = ANY($1) \
                  ORDER BY key) AS families, LATERAL pg_advisory_xact_lock(1835363693, families.key) AS locked",
            values: vec![texts(self.deleted.iter().map(|id| id.as_str()))],
        })
    }

    /// Locks the runs.
    pub(super) fn lock_runs(&self) -> Option<Statement<'a>> {
        (!self.runs.is_empty()).then(|| Statement {
            sql: "SELECT 1 FROM runs WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE",
            values: vec![texts(self.runs.iter().map(|id| id.as_str()))],
        })
    }

    /// Reads the runs, once they are locked: a statement that waits for a lock does not see what else changed meanwhile.
    pub(super) fn read_runs(&self) -> Option<Statement<'a>> {
        (!self.runs.is_empty()).then(|| Statement {
            sql: "SELECT id, session_id, phase, owner_id, lease_token, lease_until IS NOT NULL, \
                  coalesce(lease_until <= clock_timestamp(), FALSE), \
                  (SELECT coalesce(max(seq) + 1, 0) FROM run_pieces WHERE run_id = runs.id), version \
                  FROM runs WHERE id = ANY($1)",
            values: vec![texts(self.runs.iter().map(|id| id.as_str()))],
        })
    }

    /// Reads which of the sessions on which runs begin have one. They are locked: nobody opens or closes one meanwhile.
    pub(super) fn read_open_runs(&self) -> Option<Statement<'a>> {
        (!self.begun.is_empty()).then(|| Statement {
            sql: "SELECT session_id, started_at FROM runs WHERE session_id = ANY($1)",
            values: vec![texts(self.begun.iter().map(|id| id.as_str()))],
        })
    }

    /// Locks the segments to which pointers come, from which they go, or on whose turns something hangs.
    pub(super) fn lock_segments(&self) -> Option<Statement<'a>> {
        let is_needed = self.is_exclusive || !self.cuts.is_empty() || !self.segments.is_empty();
        is_needed.then(|| Statement {
            sql: if self.is_exclusive { LOCK_SEGMENTS } else { SHARE_SEGMENTS },
            values: vec![
                Value::Ints(self.segments.clone()),
                Value::Ints(self.cuts.iter().map(|cut| cut.history.0).collect()),
                texts(self.deleted.iter().map(|id| id.as_str())),
                texts(self.moved.iter().map(|id| id.as_str())),
                texts(self.deleted_checkpoints.iter().map(|id| id.as_str())),
                // Each move leaves one, and so many are kept.
                Value::from((kept_checkpoints() - i64::try_from(self.moved.len()).unwrap_or(0)).max(0)),
            ],
        })
    }
}

/// How many automatic checkpoints a session keeps.
pub(super) fn kept_checkpoints() -> i64 {
    i64::try_from(MAX_AUTOMATIC).unwrap_or(i64::MAX)
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Value<'a> {
    Value::Texts(texts.map(escape).collect())
}

/// The columns are those of [`super::record::Record::decode`].
macro_rules! lock_sessions {
    ($found:literal, $strength:literal) => {
        concat!(
            "SELECT id, family_id, version, state, history_id, turn_count, head_segment_id, head_position, \
             last_order_at, sum_succeeded, sum_failed, sum_tool_calls, context_size, sum_chars, sum_code_blocks, \
             flipped, legacy_alpha, legacy_beta, created_at, last_active FROM chat_sessions WHERE ",
            $found,
            " ORDER BY id ",
            $strength
        )
    };
}

const LOCK_ONE: &str = lock_sessions!("id = $1", "FOR NO KEY UPDATE");

const LOCK_NAMED: &str = lock_sessions!("id = ANY($1)", "FOR NO KEY UPDATE");

/// Out of the order of locks, and so only those for whom nobody has to be waited.
pub(super) const LOCK_LATE: &str = lock_sessions!("id = ANY($1)", "FOR NO KEY UPDATE SKIP LOCKED");

/// The sessions named by $1, those of the runs $2, and those that see the turns at $3, $4.
macro_rules! lock_found {
    ($strength:literal) => {
        lock_sessions!(
            "id = ANY($1 || ARRAY(SELECT session_id FROM runs WHERE id = ANY($2)) || ARRAY( \
                 SELECT s.id FROM unnest($3, $4) AS at (segment_id, position) \
                 JOIN slices sl ON sl.segment_id = at.segment_id AND sl.segment_offset <= at.position \
                 JOIN chat_sessions s ON s.history_id = sl.history_id AND at.position < \
                     sl.segment_offset - sl.start + least(coalesce(sl.stop, s.turn_count), s.turn_count)))",
            $strength
        )
    };
}

const LOCK_FOUND: &str = lock_found!("FOR NO KEY UPDATE");

const LOCK_FOUND_TO_DELETE: &str = lock_found!("FOR UPDATE");

/// Segments named by $1, those of the histories $2, those that the sessions $3, which go, own or that they and their checkpoints
/// read from, those of the sessions $4, which move away from where they are and may lose their automatic checkpoints but for the newest
/// $6, and those that the checkpoints $5, which go, read from.
macro_rules! segments {
    ($strength:literal) => {
        concat!(
            "SELECT id FROM segments WHERE id = ANY(ARRAY( \
                 SELECT unnest($1) \
                 UNION SELECT segment_id FROM slices WHERE history_id = ANY(ARRAY( \
                     SELECT unnest($2) \
                     UNION SELECT history_id FROM chat_sessions WHERE id = ANY($3 || $4) \
                     UNION SELECT history_id FROM chat_checkpoints WHERE session_id = ANY($3) \
                     UNION SELECT history_id FROM chat_checkpoints WHERE id = ANY($5) \
                     UNION SELECT old.history_id FROM unnest($4) AS moved (id), LATERAL ( \
                         SELECT history_id FROM chat_checkpoints \
                         WHERE session_id = moved.id AND kind <> 'named' ORDER BY number DESC OFFSET $6 \
                     ) AS old \
                 )) \
                 UNION SELECT id FROM segments WHERE owner_id = ANY($3) \
                 UNION SELECT head_segment_id FROM chat_sessions WHERE id = ANY($4) \
             )) ORDER BY id ",
            $strength
        )
    };
}

const LOCK_SEGMENTS: &str = segments!("FOR UPDATE");

const SHARE_SEGMENTS: &str = segments!("FOR SHARE");
