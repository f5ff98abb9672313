//! Sending a message, listening again, cancelling, and what is under way on a session.

use std::sync::Arc;
use std::time::Duration;

use membrane_core::ids::{InstanceId, LeaseToken, RunId, SessionId, TurnId};
use membrane_core::run::{Lease, PieceBody, Run, RunEnd, RunPhase};
use membrane_core::session::Session;
use membrane_core::state::{Action, State};
use membrane_core::time::Timestamp;
use membrane_core::turn::{Item, KeptTurn, Message};
use membrane_store::{Change, Receipt, SessionStamp, StoreError, Thread, Write};
use tokio::sync::oneshot;

use super::drive::drive;
use super::live::{EventId, FinishedTurn, LiveRun, RunOutcome, RunReader, Stop};
use crate::chat::Chat;
use crate::error::ChatError;
use crate::options::{ClientKey, Scope};
use crate::sessions::odd_result;

/// How long a cancel waits for the turn to be kept before it answers all the same.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// A message to be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct SendOptions {
    /// What the user says; may be empty.
    pub message: Message,
    /// Makes the call happen once: the same key and body again listens to the same answer.
    pub key: Option<ClientKey>,
}

impl SendOptions {
    /// A plain message, without a key.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: Message::new(message), key: None }
    }
}

/// A message that was taken in, and the answer on its way.
#[derive(Debug)]
pub struct Sent {
    /// Reads the answer from its beginning. Dropping it stops nothing.
    pub reader: RunReader,
    /// Whether the message had been sent before under the same key.
    pub replayed: bool,
}

/// A turn under way, as its session shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingTurn {
    /// The number that the turn will have.
    pub turn_number: u64,
    /// What the user said.
    pub user_message: String,
    /// What has arrived of the answer.
    pub partial: String,
    /// When the message came in.
    pub started_at: Timestamp,
}

impl Chat {
    /// Sends a message and gives a reader of the answer. When this returns, the message is durable; the
    /// reader's last event comes when the turn is. Needs a tokio runtime, on which the turn goes on whether
    /// anybody reads or not.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Busy`]: a turn of the session is under way.
    /// - [`ChatError::TooLarge`]: the message is over its limit.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    /// - [`ChatError::AnswerGone`]: the key's turn was taken off the session since, and nothing holds it.
    /// - [`ChatError::Unavailable`]: the keep is about to be closed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves either nothing or a turn that goes on to its end.
    pub async fn send(&self, id: &SessionId, options: SendOptions) -> Result<Sent, ChatError> {
        self.limits().check_message(&options.message)?;
        let scope = Scope::new("send", Some(id), options.key)?;
        let (reply, answer) = oneshot::channel();
        let (chat, id, message) = (self.clone(), id.clone(), options.message);
        // A task of its own from the first write on: whoever called may be gone before the second.
        tokio::spawn(async move {
            match chat.begin_run(&id, message, scope.as_ref()).await {
                Ok(Begun::New(live)) => {
                    let reader = RunReader::new(Arc::clone(&live), None);
                    // A caller that went away has sent its message all the same.
                    let _ = reply.send(Ok(Sent { reader, replayed: false }));
                    drive(chat, live).await;
                }
                Ok(Begun::Before(live)) => {
                    let _ = reply.send(Ok(Sent { reader: RunReader::new(live, None), replayed: true }));
                }
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            }
        });
        answer.await.unwrap_or(Err(ChatError::Closed))
    }

    /// Listens to the turn that is under way on a session, or that has just ended, from its beginning or
    /// after an event that was seen. `None` when there is nothing more to hear.
    ///
    /// # Errors
    /// [`ChatError::NotFound`]: no such session.
    pub async fn attach(
        &self,
        id: &SessionId,
        after: Option<EventId>,
    ) -> Result<Option<RunReader>, ChatError> {
        self.get_session(id).await?;
        self.runs().forget_ended(self.run_settings().keep_ended_for);
        let reader = self.runs().find(id).map(|live| RunReader::new(live, after));
        Ok(reader.filter(|reader| !reader.is_at_end()))
    }

    /// Stops the turn that is under way on a session. It is kept with what had arrived.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Refused`]: nothing is under way.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    /// - [`ChatError::DrivenElsewhere`]: another process drives the turn.
    pub async fn cancel(&self, id: &SessionId, key: Option<ClientKey>) -> Result<(), ChatError> {
        let Some(scope) = Scope::new("cancel", Some(id), key)? else { return self.stop_turn(id).await };
        if self.find_receipt(&scope).await?.is_some() {
            return Ok(());
        }
        self.stop_turn(id).await?;
        let done = Change::at(self.now()).once(Some(scope.with("")));
        self.store().commit(done).await?;
        Ok(())
    }

    async fn stop_turn(&self, id: &SessionId) -> Result<(), ChatError> {
        let session = self.get_session(id).await?;
        if session.state == State::Processing
            && let Some(run) = self.store().find_run(id).await?
        {
            self.runs().has_begun(&run.turn_id).await;
        }
        // One whose turn is kept is over, though its task may still be putting its things away.
        if let Some(live) = self.runs().find_open(id).filter(|live| !live.is_kept()) {
            live.stop(Stop::Cancelled);
            let mut reader = RunReader::new(live, None);
            let ended = async { while reader.next().await.is_some() {} };
            // A store that is slow to take the turn does not make the cancel any less of one.
            let _ = tokio::time::timeout(CANCEL_PATIENCE, ended).await;
            return Ok(());
        }
        session.state.require(id, Action::Cancel)?;
        let end = RunEnd::interrupted("cancelled", "stopped by the user; what had arrived is kept");
        let Some(run) = self.store().find_run(id).await? else { return Ok(()) };
        let owner = run.lease.owner.clone();
        let is_dead = !self.store().list_dead_instances(std::slice::from_ref(&owner)).await?.is_empty();
        match self.close_run(&run, is_dead.then_some(owner), end).await {
            // It has ended in the meantime.
            Err(ChatError::Store(StoreError::LeaseLost { .. })) => Ok(()),
            Err(ChatError::Store(StoreError::LeaseHeld { .. })) => {
                Err(ChatError::DrivenElsewhere { session: id.clone() })
            }
            result => result,
        }
    }

    /// What is under way on a session, if anything is.
    pub async fn find_pending(&self, session: &Session) -> Result<Option<PendingTurn>, ChatError> {
        if session.state == State::Idle {
            return Ok(None);
        }
        if let Some(live) = self.runs().find_open(&session.id) {
            return Ok(Some(PendingTurn {
                turn_number: live.turn_number(),
                user_message: live.run().user.content.clone(),
                partial: live.text(),
                started_at: live.run().started_at,
            }));
        }
        let Some(run) = self.store().find_run(&session.id).await? else { return Ok(None) };
        let pieces = self.store().list_pieces(&run.id, 0).await?;
        let text = pieces.into_iter().filter_map(|piece| match piece.body {
            PieceBody::Text(text) => Some(text),
            PieceBody::Reasoning(_) | PieceBody::Tool(_) => None,
        });
        Ok(Some(PendingTurn {
            turn_number: session.turn_count(),
            user_message: run.user.content,
            partial: text.collect(),
            started_at: run.started_at,
        }))
    }

    async fn begin_run(
        &self,
        id: &SessionId,
        message: Message,
        scope: Option<&Scope>,
    ) -> Result<Begun, ChatError> {
        let turn_id = TurnId::generate(self.ids());
        let beginning = self.runs().begin(&turn_id).ok_or_else(ChatError::stopping)?;
        let run = Run {
            id: RunId::generate(self.ids()),
            session: id.clone(),
            turn_id,
            user: message,
            model: self.responder().model(),
            phase: RunPhase::Running,
            lease: Lease { owner: self.instance().await?, token: LeaseToken::generate(self.ids()) },
            started_at: self.now(),
        };
        let begin = || {
            Change::at(run.started_at)
                .once(scope.map(|scope| scope.with(run.turn_id.as_str())))
                .write(Write::BeginRun { run: run.clone(), lease_for: self.run_settings().lease_for })
        };
        let receipt = match self.store().commit(begin()).await {
            Err(StoreError::Busy { .. }) if self.recover_session(id).await? => {
                self.store().commit(begin()).await?
            }
            result => result?,
        };
        let stamp = receipt.stamp(id).ok_or_else(|| odd_result(&receipt))?;
        if receipt.replayed {
            drop(beginning);
            return self.find_answer(stamp, &receipt).await.map(Begun::Before);
        }
        let live = Arc::new(LiveRun::new(run, stamp.cut.turn_count, stamp.version));
        beginning.open(&live);
        Ok(Begun::New(live))
    }

    /// The run that an earlier call with the same key began, or the turn that it became.
    async fn find_answer(
        &self,
        began_at: &SessionStamp,
        receipt: &Receipt,
    ) -> Result<Arc<LiveRun>, ChatError> {
        let (id, turn_number) = (&began_at.id, began_at.cut.turn_count);
        let turn_id = TurnId::from_stored(&receipt.result);
        self.runs().has_begun(&turn_id).await;
        let is_lost = |live: &LiveRun| matches!(live.outcome().as_deref(), Some(RunOutcome::Lost { .. }));
        if let Some(live) = self.runs().find(id)
            && live.run().turn_id == turn_id
            && !is_lost(&live)
        {
            return Ok(live);
        }
        // In this order: a run that is not there any more has become a turn, or never will.
        if self.find_run_of(id, &turn_id).await?.is_some()
            && !self.recover_session(id).await?
            && let Some(run) = self.find_run_of(id, &turn_id).await?
        {
            return Err(StoreError::Busy { session: id.clone(), since: run.started_at }.into());
        }
        let thread = self.store().load_thread(id, turn_number..turn_number.saturating_add(1)).await?;
        let Thread { session, turns } = thread.ok_or_else(|| ChatError::session_not_found(id))?;
        let kept = match turns.into_iter().find(|kept| kept.turn.id == turn_id) {
            None => self.find_left_turn(id, turn_number, &turn_id).await?,
            kept => kept,
        };
        let kept = kept.ok_or_else(|| ChatError::AnswerGone { session: id.clone() })?;
        Ok(Arc::new(ended_run(&session, kept, began_at.version)))
    }

    /// The run that is to become this turn, if it is open on the session.
    async fn find_run_of(&self, id: &SessionId, turn_id: &TurnId) -> Result<Option<Run>, ChatError> {
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

/// Whose run it is.
enum Begun {
    /// This call's.
    New(Arc<LiveRun>),
    /// That of an earlier call with the same key.
    Before(Arc<LiveRun>),
}

/// A turn that was read back, as if its run, which began when the session was at `version`, had just ended.
fn ended_run(session: &Session, kept: KeptTurn, version: u64) -> LiveRun {
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
    };
    let live = LiveRun::new(run, finished.number, version);
    for item in &turn.items {
        if let Item::Reasoning(text) = item {
            live.push(PieceBody::Reasoning(text.clone()));
        }
    }
    if !turn.assistant.content.is_empty() {
        live.push(PieceBody::Text(turn.assistant.content.clone()));
    }
    live.end(RunOutcome::Finished(Box::new(finished)));
    live
}
