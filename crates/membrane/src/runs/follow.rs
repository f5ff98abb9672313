//! Following a run that another process drives: its log is copied into a list like that of our own runs, once for all
//! readers here, as long as there are any.

use std::sync::{Arc, Weak};
use std::time::Duration;

use membrane_core::run::{PieceBody, Run, RunPhase};
use membrane_store::StoreError;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::live::{FinishedTurn, LiveRun, RunOutcome};
use super::log::is_final;
use crate::chat::Chat;
use crate::error::ChatError;

/// How often the log is read. Its owner writes every 200 ms.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// For how long a log may stand still before its owner is asked for, and closed if it is dead: who listens need not wait
/// for the next round.
const STANDSTILL: Duration = Duration::from_secs(1);

/// For how long a store that does not answer is asked.
const PATIENCE: Duration = Duration::from_secs(60);

impl Chat {
    /// A run as its log tells it, which is copied on as long as somebody holds what is given.
    pub(super) async fn follow(&self, run: Run, turn_number: u64) -> Result<Arc<LiveRun>, ChatError> {
        let (live, is_new) = self.runs().follow(&run, turn_number);
        if !is_new {
            return Ok(live);
        }
        // In a task of its own from the start: others may listen already when whoever came first is gone.
        let (done, first_look) = oneshot::channel();
        let copy = Copy { chat: self.clone(), run };
        tokio::spawn(copy.begin(Arc::clone(&live), done));
        match first_look.await {
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(())) | Err(_) => Ok(live),
        }
    }
}

struct Copy {
    chat: Chat,
    run: Run,
}

impl Copy {
    async fn begin(self, live: Arc<LiveRun>, done: oneshot::Sender<Result<(), StoreError>>) {
        let first = self.step(&live).await;
        let is_all = matches!(first, Ok(true));
        let weak = Arc::downgrade(&live);
        drop(live);
        // Nobody may wait for it any more.
        let _ = done.send(first.map(|_| ()));
        if !is_all {
            self.go_on(weak).await;
        }
    }

    async fn go_on(self, live: Weak<LiveRun>) {
        let mut refused_since = None;
        let (mut n_pieces, mut unchanged_since) = (0, Instant::now());
        loop {
            sleep(LOOK_EVERY).await;
            // Nobody listens any more.
            let Some(live) = live.upgrade() else { return };
            if live.n_pieces() != n_pieces {
                (n_pieces, unchanged_since) = (live.n_pieces(), Instant::now());
            }
            let stands_still = unchanged_since.elapsed() >= STANDSTILL;
            if stands_still {
                unchanged_since = Instant::now();
            }
            match self.look(&live, stands_still).await {
                Ok(true) => return,
                Ok(false) => refused_since = None,
                Err(error) => {
                    let since = *refused_since.get_or_insert_with(Instant::now);
                    let is_final = !matches!(&error, ChatError::Store(error) if !is_final(error));
                    if is_final || since.elapsed() >= PATIENCE {
                        tracing::warn!(%error, run.id = %self.run.id, "a run could not be followed");
                        let message = "the store does not answer; attach again to go on".to_owned();
                        live.end(RunOutcome::Lost { code: "unavailable", message });
                        return;
                    }
                }
            }
        }
    }

    /// Copies what is new, and closes the run first if it stands still because its owner is dead; whether that was all.
    async fn look(&self, live: &LiveRun, stands_still: bool) -> Result<bool, ChatError> {
        if stands_still {
            self.chat.recover_session(&self.run.session).await?;
        }
        Ok(self.step(live).await?)
    }

    /// Copies what is new; whether that was all.
    async fn step(&self, live: &LiveRun) -> Result<bool, StoreError> {
        let store = self.chat.store();
        // Before the pieces: what a run in this phase has is all there when it is read after it.
        let phase = store.find_run(&self.run.session).await?.filter(|run| run.id == self.run.id);
        let from = u64::try_from(live.n_pieces()).unwrap_or(u64::MAX);
        for piece in store.list_pieces(&self.run.id, from).await? {
            live.push(piece.body);
        }
        match phase.map(|run| run.phase) {
            Some(RunPhase::Running) => Ok(false),
            Some(RunPhase::AwaitingTool) => {
                let open = live.open_calls(live.n_pieces());
                // It has gone on since its phase was read.
                if open.is_empty() {
                    return Ok(false);
                }
                live.end(RunOutcome::Waiting(open));
                Ok(true)
            }
            None => {
                let outcome = self.outcome(live).await?;
                live.end(outcome);
                Ok(true)
            }
        }
    }

    /// What became of the run, which is gone; what had not been copied of its answer comes from the turn.
    async fn outcome(&self, live: &LiveRun) -> Result<RunOutcome, StoreError> {
        let (chat, run) = (&self.chat, &self.run);
        let ended = chat.store().find_ended_run(&run.session).await?;
        let ended = ended.filter(|ended| ended.turn_id == run.turn_id);
        let number = ended.as_ref().map_or_else(|| live.turn_number(), |ended| ended.turn_number);
        let range = number..number.saturating_add(1);
        let Some(thread) = chat.store().load_thread(&run.session, range).await? else {
            let message = "the session was deleted while its turn was under way".to_owned();
            return Ok(RunOutcome::Lost { code: "not_found", message });
        };
        let Some(kept) = thread.turns.into_iter().find(|kept| kept.turn.id == run.turn_id) else {
            let message = "the turn was taken off its session; load the session to see it".to_owned();
            return Ok(RunOutcome::Lost { code: "not_found", message });
        };
        let finished = FinishedTurn::kept(&thread.session, kept);
        if let Some(pieces) = ended.and_then(|ended| ended.shape.cut(&finished.turn)) {
            for body in pieces.into_iter().skip(live.n_pieces()) {
                live.push(body);
            }
        } else {
            let so_far = live.text();
            let rest = finished.turn.assistant.content.strip_prefix(so_far.as_str());
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                live.push(PieceBody::Text(rest.to_owned()));
            }
        }
        Ok(RunOutcome::Finished(Box::new(finished)))
    }
}
