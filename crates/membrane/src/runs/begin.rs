//! Opening runs: a task of its own from the first write on, for whoever called may be gone before the second.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{self, Either};
use membrane_core::ids::{LeaseToken, RunId, SessionId, TurnId};
use membrane_core::run::{Lease, Run, RunPhase};
use membrane_core::turn::Message;
use membrane_store::{Change, StoreError, Write};
use tokio::sync::oneshot;

use super::drive::drive;
use super::live::{Foreseen, LiveRun};
use super::reader::RunReader;
use crate::chat::Chat;
use crate::error::ChatError;
use crate::options::Scope;
use crate::sessions::odd_result;

/// A message that was taken in, and the answer on its way.
#[derive(Debug)]
pub struct Sent {
    /// The session that it is on.
    pub session: SessionId,
    /// Reads the answer. Dropping it stops nothing.
    pub reader: RunReader,
    /// Whether the message had been sent before under the same key.
    pub replayed: bool,
}

/// Whose run it is, and how many of its events whoever called knows already.
pub(super) enum Begun {
    /// This call's, which is to drive it.
    New(Arc<LiveRun>, usize),
    /// That of an earlier call with the same key, or one that is still to wait.
    Before(Arc<LiveRun>, usize),
}

impl Chat {
    /// Opens a run in a task of its own, and drives it there to its end. Gives a reader as soon as it is open.
    pub(super) async fn spawn_run<F>(
        &self,
        begin: impl FnOnce(Self) -> F + Send + 'static,
    ) -> Result<Sent, ChatError>
    where
        F: Future<Output = Result<Begun, ChatError>> + Send,
    {
        let (reply, answer) = oneshot::channel();
        let chat = self.clone();
        tokio::spawn(async move {
            let sent = |live: &Arc<LiveRun>, seen, replayed| Sent {
                session: live.run().session.clone(),
                reader: RunReader::after(Arc::clone(live), seen),
                replayed,
            };
            match begin(chat.clone()).await {
                Ok(Begun::New(live, seen)) => {
                    // A caller that went away has sent its message all the same.
                    let _ = reply.send(Ok(sent(&live, seen, false)));
                    drive(chat, live).await;
                }
                Ok(Begun::Before(live, seen)) => {
                    let _ = reply.send(Ok(sent(&live, seen, true)));
                }
                Err(error) => {
                    let _ = reply.send(Err(error));
                }
            }
        });
        answer.await.unwrap_or(Err(ChatError::Closed))
    }

    /// A run that is about to be opened.
    pub(super) async fn new_run(
        &self,
        session: SessionId,
        turn_id: TurnId,
        user: Message,
        model: Option<String>,
    ) -> Result<Run, ChatError> {
        Ok(Run {
            id: RunId::generate(self.ids()),
            session,
            turn_id,
            user,
            model,
            phase: RunPhase::Running,
            lease: self.new_lease().await?,
            started_at: self.now(),
            version: 0,
        })
    }

    pub(super) async fn new_lease(&self) -> Result<Lease, ChatError> {
        Ok(Lease { owner: self.instance().await?, token: LeaseToken::generate(self.ids()) })
    }

    /// Opens a run on a session, or finds the one that was opened under the same key.
    pub(super) async fn begin_run(
        &self,
        id: &SessionId,
        message: Message,
        scope: Option<&Scope>,
    ) -> Result<Begun, ChatError> {
        let turn_id = TurnId::generate(self.ids());
        let beginning = self.runs().begin(&turn_id).ok_or_else(ChatError::stopping)?;
        let session = self.session_to_read(id).await?;
        let model = match &session {
            Some(session) => self.model_on(session),
            None => self.responder().model(),
        };
        let run = self.new_run(id.clone(), turn_id, message, model).await?;
        let begin = || {
            Change::at(run.started_at)
                .once(scope.map(|scope| scope.with(run.turn_id.as_str())))
                .write(Write::BeginRun { run: run.clone(), lease_for: self.run_settings().lease_for })
        };
        // What the model is to read is read while the disk writes, and not waited for any longer.
        let foresee = pin!(async { self.foresee(session?).await });
        let (begun, mut foreseen) = match future::select(foresee, self.store().commit(begin())).await {
            Either::Left((foreseen, commit)) => (commit.await, foreseen),
            Either::Right((begun, _)) => (begun, None),
        };
        let receipt = match begun {
            Err(StoreError::Busy { .. }) if self.recover_session(id).await? => {
                foreseen = None;
                self.store().commit(begin()).await?
            }
            result => result?,
        };
        let stamp = receipt.stamp(id).ok_or_else(|| odd_result(&receipt))?;
        if receipt.replayed {
            drop(beginning);
            let turn_id = TurnId::from_stored(&receipt.result);
            let live = self.find_answer(id, &turn_id, stamp.cut.turn_count, stamp.version).await?;
            return Ok(Begun::Before(live, 0));
        }
        let run = Run { version: stamp.version, ..run };
        let live = Arc::new(LiveRun::driven(run, stamp.cut.turn_count, Vec::new()));
        // Nothing has come between that read and the run, which raises no version itself.
        let is_same = |Foreseen { session, .. }: &Foreseen| {
            (session.version, session.cut) == (stamp.version, stamp.cut)
        };
        if let Some(foreseen) = foreseen.filter(is_same) {
            live.foresee(foreseen);
        }
        beginning.open(&live);
        self.watch_stops();
        Ok(Begun::New(live, 0))
    }
}
