//! Saving a session: the difference to what is stored, in one commit.

use std::collections::HashSet;

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::evidence::Evidence;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, TurnId};
use membrane_core::state::Action;
use membrane_core::turn::Turn;
use membrane_store::change::{Leave, Origin};
use membrane_store::{Change, Receipt, Requirement, StoreError, Write};

use crate::chat::Chat;
use crate::chat_session::{Base, ChatSession, Names};
use crate::error::ChatError;

/// What a save did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Saved {
    /// The version that the session is at now.
    pub version: u64,
    /// How many of the stored turns stayed.
    pub kept: u64,
    /// How many stored turns were taken off the end; an automatic checkpoint holds them.
    pub removed: u64,
    /// How many turns were appended.
    pub appended: u64,
    /// Whether the names or the metadata changed; true for a session that was not stored before.
    pub renamed: bool,
    /// The session's evidence now.
    pub evidence: Evidence,
}

/// What the tail of a session in memory means for the stored one.
struct Tail {
    /// How many stored turns stay.
    kept: u64,
    /// The ids of the stored turns that do not.
    removed_ids: HashSet<TurnId>,
}

impl Chat {
    /// Makes the store hold what `session` holds: what was added, changed and removed since it was
    /// loaded or saved is committed at once.
    ///
    /// The common prefix of the turns stays as it is. A changed tail is a rewind, which leaves an
    /// automatic checkpoint, and appends; an appended turn that the session had under the same id
    /// before gets a new one, because finished turns never change. A session that was never stored is
    /// created. Without any difference nothing is written. Afterwards `session` carries the new
    /// version, so it can be edited and saved again.
    ///
    /// Costs what was added: turns that are still there untouched are neither read nor compared.
    ///
    /// # Errors
    /// - [`ChatError::Conflict`]: the store has another version than the one loaded; load again.
    /// - [`ChatError::NotFound`]: the session was deleted meanwhile; it is not brought back.
    /// - [`ChatError::AlreadyExists`]: it was never loaded, and its id is taken.
    /// - [`ChatError::Refused`]: a turn is under way, or the metadata is not an object.
    /// - [`ChatError::TooLarge`]: a message, name or turn is over its limit.
    ///
    /// # Cancel safety
    /// Dropping the future leaves either nothing or the complete change in the store; `session` then
    /// still has the old version, so saving it again is a conflict if the change was made.
    pub async fn save_session(&self, session: &mut ChatSession) -> Result<Saved, ChatError> {
        let names = session.names();
        self.check_names(&names)?;
        match session.base.clone() {
            None => self.save_new(session, names).await,
            Some(base) => self.save_difference(session, &base, names).await,
        }
    }

    async fn save_new(&self, session: &mut ChatSession, names: Names) -> Result<Saved, ChatError> {
        let turns = self.prepare_tail(session, 0, &HashSet::new())?;
        let appended = as_u64(turns.len());
        let id = session.id.clone();
        let mut change = Change::at(self.now()).write(Write::CreateSession {
            session: names.clone().into_new_session(id.clone()),
            origin: Origin::Empty { legacy: Vec::new() },
            created_at: None,
        });
        if !turns.is_empty() {
            change = change.write(Write::AppendTurns { session: id, turns });
        }
        let receipt = self.store().commit(change).await?;
        let (version, evidence) = self.rebase(session, names, &receipt).await?;
        Ok(Saved { version, kept: 0, removed: 0, appended, renamed: true, evidence })
    }

    async fn save_difference(
        &self,
        session: &mut ChatSession,
        base: &Base,
        names: Names,
    ) -> Result<Saved, ChatError> {
        let stored = base.cut.turn_count;
        let tail = self.compare_tail(session, base).await?;
        let turns = self.prepare_tail(session, tail.kept, &tail.removed_ids)?;
        let (appended, removed) = (as_u64(turns.len()), stored - tail.kept);
        let patch = base.names.patch_to(&names);
        let renamed = !patch.is_empty();
        if appended == 0 && removed == 0 && !renamed {
            let evidence = self.confirm_base(session, base).await?;
            session.turns.mark_saved();
            return Ok(Saved { version: base.version, kept: stored, removed, appended, renamed, evidence });
        }

        let id = session.id.clone();
        let action = if appended == 0 && removed == 0 { Action::Rename } else { Action::Save };
        let mut change = Change::at(self.now())
            .require(Requirement::Version { session: id.clone(), version: base.version })
            .require(Requirement::Allows { session: id.clone(), action });
        if removed > 0 {
            change = change.write(Write::MoveSession {
                session: id.clone(),
                to: Cut { turn_count: tail.kept, ..base.cut },
                leave: Leave::automatic(CheckpointId::generate(self.ids()), CheckpointKind::Rewind),
            });
        }
        if appended > 0 {
            change = change.write(Write::AppendTurns { session: id.clone(), turns });
        }
        if renamed {
            change = change.write(Write::PatchSession { session: id, patch });
        }
        let receipt = self.store().commit(change).await?;
        let (version, evidence) = self.rebase(session, names, &receipt).await?;
        Ok(Saved { version, kept: tail.kept, removed, appended, renamed, evidence })
    }

    /// Finds how many of the stored turns `session` still begins with. Only turns that may have been
    /// touched are read.
    async fn compare_tail(&self, session: &ChatSession, base: &Base) -> Result<Tail, ChatError> {
        let stored = base.cut.turn_count;
        let untouched = as_u64(session.turns.untouched()).min(stored);
        let mut tail = Tail { kept: untouched, removed_ids: HashSet::new() };
        if untouched == stored {
            return Ok(tail);
        }
        let old = self.store().load_turns(base.cut, untouched..stored).await?;
        if as_u64(old.len()) != stored - untouched {
            // Turns that the session had are gone, so it cannot be as it was loaded.
            self.confirm_base(session, base).await?;
            let problem = "some of its turns are missing";
            return Err(ChatError::Store(StoreError::inconsistent("sessions", &session.id, problem)));
        }
        let now = session.turns.iter().skip(session.turns.untouched());
        let equal = old.iter().zip(now).take_while(|(old, now)| old.turn == **now).count();
        tail.kept += as_u64(equal);
        tail.removed_ids = old.into_iter().skip(equal).map(|kept| kept.turn.id).collect();
        Ok(tail)
    }

    /// Checks the turns from `kept` on and gives those new ids that would use one twice.
    fn prepare_tail(
        &self,
        session: &mut ChatSession,
        kept: u64,
        removed_ids: &HashSet<TurnId>,
    ) -> Result<Vec<Turn>, ChatError> {
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        if session.turns.len() <= kept {
            return Ok(Vec::new());
        }
        session.turns[kept..].iter().try_for_each(|turn| self.shared.limits.check_turn(turn))?;
        if session.turns.has_foreign() {
            self.renew_used_ids(session, kept, removed_ids);
        }
        Ok(session.turns[kept..].to_vec())
    }

    fn renew_used_ids(&self, session: &mut ChatSession, kept: usize, removed_ids: &HashSet<TurnId>) {
        let mut used = removed_ids.clone();
        used.extend(session.turns[..kept].iter().map(|turn| turn.id.clone()));
        for number in kept..session.turns.len() {
            if !used.insert(session.turns[number].id.clone()) {
                let fresh = TurnId::generate(self.ids());
                if let Some(turn) = session.turns.get_mut(number) {
                    turn.id = fresh;
                }
            }
        }
    }

    /// Makes sure that the store still has what `base` says.
    async fn confirm_base(&self, session: &ChatSession, base: &Base) -> Result<Evidence, ChatError> {
        let record = self.get_session(&session.id).await?;
        if record.version == base.version {
            return Ok(record.evidence());
        }
        Err(ChatError::Conflict {
            session: session.id.clone(),
            expected: base.version,
            actual: record.version,
        })
    }

    /// Takes what was just committed as the base of the next save. The version is that of the commit,
    /// even if somebody else has changed the session since: then the next save is a conflict.
    async fn rebase(
        &self,
        session: &mut ChatSession,
        names: Names,
        receipt: &Receipt,
    ) -> Result<(u64, Evidence), ChatError> {
        let stamp = receipt.stamp(&session.id).ok_or_else(|| ChatError::session_not_found(&session.id))?;
        let (version, cut) = (stamp.version, stamp.cut);
        session.turns.mark_saved();
        session.base = Some(Base { version, cut, names, record: None });
        let record = self.get_session(&session.id).await?;
        let evidence = record.evidence();
        if let Some(base) = &mut session.base {
            base.record = Some(Box::new(record));
        }
        Ok((version, evidence))
    }

    fn check_names(&self, names: &Names) -> Result<(), ChatError> {
        let limits = &self.shared.limits;
        limits.check_optional_name("project id", names.project_id.as_deref())?;
        limits.check_name("branch name", &names.branch_name)?;
        limits.check_optional_name("title", names.title.as_deref())?;
        limits.check_tags(&names.tags)?;
        limits.check_metadata(&names.metadata)
    }
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
