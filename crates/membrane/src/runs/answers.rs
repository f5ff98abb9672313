//! Finding a run's answer again: under way here or elsewhere, just ended, or long a turn.

use std::sync::Arc;

use membrane_core::ids::{InstanceId, LeaseToken, RunId, SessionId, TurnId};
use membrane_core::run::{EndedRun, Lease, PieceBody, Run, RunPhase};
use membrane_core::session::Session;
use membrane_core::state::State;
use membrane_core::turn::{Item, KeptTurn, Turn};
use membrane_store::{StoreError, Thread};

use super::live::{FinishedTurn, LiveRun, RunOutcome};
use super::reader::{EventId, RunReader};
use crate::chat::Chat;
use crate::error::ChatError;

impl Chat {
    /// Listens to the turn that is under way on a session, on whichever process, or that has just ended, from its
    /// beginning or after an event that was seen. `None` when there is nothing more to hear.
    ///
    /// # Errors
    /// [`ChatError::NotFound`]: no such session.
    pub async fn attach(
        &self,
        id: &SessionId,
        after: Option<EventId>,
    ) -> Result<Option<RunReader>, ChatError> {
        let session = self.get_session(id).await?;
        self.runs().forget_ended(self.run_settings().keep_ended_for);
        let live = match self.runs().find_open(id) {
            Some(live) => Some(live),
            None => self.find_elsewhere(session).await?,
        };
        let reader = live.map(|live| RunReader::new(live, after));
        Ok(reader.filter(|reader| !reader.is_at_end()))
    }

    /// The run that another process drives, that waits, or that ended last.
    async fn find_elsewhere(&self, session: Session) -> Result<Option<Arc<LiveRun>>, ChatError> {
        if session.state == State::Idle {
            return self.find_ended(&session).await;
        }
        let id = &session.id;
        if let Some(run) = self.store().find_run(id).await? {
            self.runs().has_begun(&run.turn_id).await;
            if let Some(live) = self.runs().find_open(id) {
                return Ok(Some(live));
            }
            return Ok(Some(self.follow(run, session.turn_count()).await?));
        }
        // It has ended in the meantime.
        self.find_ended(&self.get_session(id).await?).await
    }

    /// The run that ended last on a session, if that is not too long ago and the session still holds its turn.
    async fn find_ended(&self, session: &Session) -> Result<Option<Arc<LiveRun>>, ChatError> {
        let ended = self.store().find_ended_run(&session.id).await?;
        // One that waited here has gone on since.
        if let Some(live) = self.runs().find(&session.id).filter(|live| !live.is_waiting()) {
            let turn_id = &live.run().turn_id;
            let is_newest = ended.as_ref().is_none_or(|ended| ended.version < live.version());
            if is_lost(&live) && is_newest {
                return Ok(Some(live));
            }
            if !is_lost(&live) && (is_newest || ended.as_ref().is_some_and(|ended| ended.turn_id == *turn_id))
            {
                let kept = self.find_turn(&session.id, live.turn_number(), turn_id).await?;
                return Ok(kept.map(|_| live));
            }
        }
        let keep_for = self.run_settings().keep_ended_for;
        let Some(ended) = ended.filter(|ended| self.now().duration_since(ended.ended_at) < keep_for) else {
            return Ok(None);
        };
        let kept = self.find_turn(&session.id, ended.turn_number, &ended.turn_id).await?;
        Ok(kept.map(|(session, kept)| Arc::new(ended_live(&session, kept, ended.version, Some(&ended)))))
    }

    /// A turn of a session, with the session, if it is where it was.
    pub(super) async fn find_turn(
        &self,
        id: &SessionId,
        turn_number: u64,
        turn_id: &TurnId,
    ) -> Result<Option<(Session, KeptTurn)>, ChatError> {
        let range = turn_number..turn_number.saturating_add(1);
        let Some(Thread { session, turns }) = self.store().load_thread(id, range).await? else {
            return Ok(None);
        };
        let kept = turns.into_iter().find(|kept| kept.turn.id == *turn_id);
        Ok(kept.map(|kept| (session, kept)))
    }

    /// The run that an earlier call with the same key began when the session had `turn_number` turns and was at `version`, or
    /// the turn that it became.
    pub(super) async fn find_answer(
        &self,
        id: &SessionId,
        turn_id: &TurnId,
        turn_number: u64,
        version: u64,
    ) -> Result<Arc<LiveRun>, ChatError> {
        self.runs().has_begun(turn_id).await;
        if let Some(live) = self.runs().find_open(id).or_else(|| self.runs().find(id))
            && live.run().turn_id == *turn_id
            && !is_lost(&live)
            && !live.is_waiting()
        {
            return Ok(live);
        }
        // In this order: a run that is not there any more has become a turn, or never will.
        if self.find_run_of(id, turn_id).await?.is_some()
            && !self.recover_session(id).await?
            && let Some(run) = self.find_run_of(id, turn_id).await?
        {
            return self.follow(run, turn_number).await;
        }
        let ended = self.store().find_ended_run(id).await?.filter(|ended| ended.turn_id == *turn_id);
        if let Some((session, kept)) = self.find_turn(id, turn_number, turn_id).await? {
            return Ok(Arc::new(ended_live(&session, kept, version, ended.as_ref())));
        }
        let session = self.get_session(id).await?;
        let kept = self.find_left_turn(id, turn_number, turn_id).await?;
        let kept = kept.ok_or_else(|| ChatError::AnswerGone { session: id.clone() })?;
        Ok(Arc::new(ended_live(&session, kept, version, ended.as_ref())))
    }

    /// The run that is to become this turn, if it is open on the session.
    async fn find_run_of(&self, id: &SessionId, turn_id: &TurnId) -> Result<Option<Run>, StoreError> {
        Ok(self.store().find_run(id).await?.filter(|run| run.turn_id == *turn_id))
    }

    /// A turn that a session does not hold any more, in the checkpoints that were left when it was taken off.
    async fn find_left_turn(
        &self,
        id: &SessionId,
        turn_number: u64,
        turn_id: &TurnId,
    ) -> Result<Option<KeptTurn>, ChatError> {
        for checkpoint in self.store().list_checkpoints(id).await? {
            let turns = self.store().load_turns(checkpoint.cut, turn_number..turn_number.saturating_add(1));
            let found = turns.await?.into_iter().find(|kept| kept.turn.id == *turn_id);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

fn is_lost(live: &LiveRun) -> bool {
    matches!(live.outcome().as_deref(), Some(RunOutcome::Lost { .. }))
}

/// A turn that was read back, as if its run, which began when the session was at `version`, had just ended: in the pieces in
/// which it came, if that is known.
fn ended_live(session: &Session, kept: KeptTurn, version: u64, ended: Option<&EndedRun>) -> LiveRun {
    let finished = FinishedTurn::kept(session, kept);
    let turn = &finished.turn;
    let run = Run {
        id: RunId::from_stored(turn.id.as_str()),
        session: session.id.clone(),
        turn_id: turn.id.clone(),
        user: turn.user.clone(),
        model: turn.model.clone(),
        phase: RunPhase::Running,
        lease: Lease { owner: InstanceId::from_stored(""), token: LeaseToken(0) },
        started_at: turn.started_at,
        version: ended.map_or(version, |ended| ended.version),
    };
    let live = LiveRun::followed(run, finished.number);
    for body in ended.and_then(|ended| ended.shape.cut(turn)).unwrap_or_else(|| in_few_pieces(turn)) {
        live.push(body);
    }
    live.end(RunOutcome::Finished(Box::new(finished)));
    live
}

/// A turn's thoughts and answer, of which it is not known any more how they came.
fn in_few_pieces(turn: &Turn) -> Vec<PieceBody> {
    let thoughts = turn.items.iter().filter_map(|item| match item {
        Item::Reasoning(text) => Some(PieceBody::Reasoning(text.clone())),
        Item::Tool(_) | Item::Message(_) | Item::Other(_) => None,
    });
    let answer = &turn.assistant.content;
    let answer = (!answer.is_empty()).then(|| PieceBody::Text(answer.clone()));
    thoughts.chain(answer).collect()
}
