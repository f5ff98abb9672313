//! Driving one run: hear the answer, keep the turn or what the model called, tell how it ended.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use membrane_core::run::{Pause, Piece, PieceBody, RunEnd};
use membrane_core::turn::Turn;
use membrane_store::{Change, Receipt, Requirement, StoreError, Write};
use tokio::time::{Instant, sleep};

use super::calls;
use super::listen::{Called, Ending, Gone, Listener};
use super::live::{FinishedTurn, LiveRun, RunOutcome};
use super::log::{self, RunLog};
use super::prompt::NoPrompt;
use crate::chat::Chat;

/// How long readers wait for a store that does not take the turn before they are told.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pauses between two offers to such a store.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Drives the run to its end, whatever that is, or until it waits for tools.
pub(super) async fn drive(chat: Chat, live: Arc<LiveRun>) {
    let guard = Ended { chat: &chat, live: &live };
    let mut log = RunLog::new(&chat, &live);
    let outcome = match hear(&chat, &live, &mut log).await {
        Ok(Ending::Turn(end)) => finish(&chat, &live, &mut log, end).await,
        Ok(Ending::Calls(called, pause)) => wait_for_tools(&chat, &live, &mut log, &called, pause).await,
        Err(gone) => lost(&chat, &live, gone).await,
    };
    live.end(outcome);
    drop(guard);
}

/// Hears the answer. A responder that panics has ended it.
async fn hear(chat: &Chat, live: &LiveRun, log: &mut RunLog) -> Result<Ending, Gone> {
    let prompt = match ask_for_prompt(chat, live, log).await? {
        Ok(prompt) => prompt,
        Err(end) => return Ok(end.into()),
    };
    // What the panic may have left half done is dropped with the listener; the log takes in whole pieces.
    let hearing = AssertUnwindSafe(async {
        let tools = prompt.tools.clone();
        let reply = chat.responder().respond(prompt);
        Listener::new(chat, live, tools, reply).listen(log).await
    });
    hearing.catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(run.id = %live.run().id, "the responder panicked");
        let message = "the way to the model broke down; what had arrived is kept, send again";
        Ok(RunEnd::interrupted("internal", message).into())
    })
}

/// What the model is asked, or how the run ends without it being asked. A store that does not answer is asked again, while the
/// lease is kept as far as it lets one.
async fn ask_for_prompt(
    chat: &Chat,
    live: &LiveRun,
    log: &mut RunLog,
) -> Result<Result<membrane_responder::Prompt, RunEnd>, Gone> {
    let (start, mut pause) = (Instant::now(), MIN_PAUSE);
    loop {
        let error = match chat.prompt(live).await {
            Ok(prompt) => return Ok(Ok(prompt)),
            Err(NoPrompt::Odd(error)) => return Ok(Err(RunEnd::failed(error.code, error.message))),
            Err(NoPrompt::Store(error)) if log::is_final(&error) => return Err(Gone::Refused(error)),
            Err(NoPrompt::Store(error)) => error,
        };
        if start.elapsed() >= chat.run_settings().lease_for {
            tracing::warn!(%error, run.id = %live.run().id, "a conversation could not be read");
            let message = "the conversation could not be read, and the model was not asked; send again";
            return Ok(Err(RunEnd::failed("unavailable", message)));
        }
        tokio::select! {
            () = sleep(pause) => {}
            refusal = log.tend() => return Err(Gone::Refused(refusal)),
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Closes the run's entry however the task ends, a panic included, so that nobody waits for ever.
struct Ended<'a> {
    chat: &'a Chat,
    live: &'a Arc<LiveRun>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let message = "the turn could not be finished; what the user said is kept".to_owned();
        self.live.end(RunOutcome::Lost { code: "internal", message });
        self.chat.runs().close(self.live, self.chat.run_settings());
    }
}

/// Makes the turn and keeps it.
async fn finish(chat: &Chat, live: &LiveRun, log: &mut RunLog, end: RunEnd) -> RunOutcome {
    let pieces = live.pieces_from(0);
    let turn = live.run().finish(pieces.iter().map(|piece| &**piece), end, chat.now());
    drop(pieces);
    let shape = live.shape();
    let offer = |_: usize| {
        let finish = Write::FinishRun {
            run: live.run().id.clone(),
            turn: Box::new(turn.clone()),
            shape: shape.clone(),
        };
        vec![finish]
    };
    match offer_until_taken(chat, live, log, offer).await {
        Ok(receipt) => finished(live, &receipt, turn),
        Err(NotTaken::GivenUp(outcome)) => outcome,
        // The store may have taken an offer and failed to say so.
        Err(NotTaken::Refused(refusal)) => match find_kept(chat, live).await {
            Some(kept) if kept.turn == turn => RunOutcome::Finished(Box::new(kept)),
            _ => lost(chat, live, Gone::Refused(refusal)).await,
        },
    }
}

/// Keeps what the model called, with all that it said before, and lets the run wait. Readers are told once that is durable:
/// an answer may come the moment that they are.
async fn wait_for_tools(
    chat: &Chat,
    live: &LiveRun,
    log: &mut RunLog,
    called: &[Called],
    pause: Pause,
) -> RunOutcome {
    let mut news = calls::pieces(chat, live, called);
    news.push(PieceBody::Pause(pause));
    let first = live.n_pieces();
    let offer = |n_logged: usize| {
        let unlogged = live.pieces_from(n_logged).into_iter().map(|piece| Piece::clone(&piece));
        let numbers = u64::try_from(first).unwrap_or(u64::MAX)..;
        let calls = numbers.zip(&news).map(|(seq, body)| Piece { seq, body: body.clone() });
        let run = live.run().id.clone();
        vec![
            Write::AppendPieces { run: run.clone(), pieces: unlogged.chain(calls).collect() },
            Write::SuspendRun { run },
        ]
    };
    match offer_until_taken(chat, live, log, offer).await {
        Ok(_) => {}
        Err(NotTaken::GivenUp(outcome)) => return outcome,
        // The store may have taken an offer and failed to say so.
        Err(NotTaken::Refused(_)) if are_kept(chat, live, &news).await => {}
        Err(NotTaken::Refused(refusal)) => return lost(chat, live, Gone::Refused(refusal)).await,
    }
    for body in news {
        live.push(body);
    }
    RunOutcome::Waiting(live.open_calls(live.n_pieces()))
}

/// Whether the run's log goes on with these pieces.
async fn are_kept(chat: &Chat, live: &LiveRun, news: &[PieceBody]) -> bool {
    let first = u64::try_from(live.n_pieces()).unwrap_or(u64::MAX);
    let kept = chat.store().list_pieces(&live.run().id, first).await.unwrap_or_default();
    kept.len() >= news.len() && kept.iter().zip(news).all(|(kept, body)| kept.body == *body)
}

/// Why the store has not taken what was offered.
enum NotTaken {
    /// It could not for too long; this is what readers are told.
    GivenUp(RunOutcome),
    /// It refused for good.
    Refused(StoreError),
}

/// Offers a run's last writes to the store until it takes them. They are made anew each time, by how many pieces are in the
/// log.
async fn offer_until_taken(
    chat: &Chat,
    live: &LiveRun,
    log: &mut RunLog,
    writes: impl Fn(usize) -> Vec<Write>,
) -> Result<Receipt, NotTaken> {
    let run = live.run();
    let mut pause = MIN_PAUSE;
    let start = Instant::now();
    loop {
        log.settle().await.map_err(NotTaken::Refused)?;
        let lease = Requirement::Lease { run: run.id.clone(), token: run.lease.token };
        let change = Change { writes: writes(log.n_logged()), ..Change::at(chat.now()).require(lease) };
        let error = match chat.store().commit(change).await {
            Ok(receipt) => return Ok(receipt),
            Err(error) if log::is_final(&error) => return Err(NotTaken::Refused(error)),
            Err(error) => error,
        };
        let (code, why) = match error {
            StoreError::StorageFull => ("storage_full", "the storage is full"),
            _ => ("unavailable", "the store does not answer"),
        };
        let message = format!("{why}: what the user said is kept, and the answer will be once it can be");
        let refused = RunOutcome::Lost { code, message };
        if start.elapsed() >= chat.run_settings().offer_for {
            tracing::error!(%error, run.id = %run.id, "a turn could not be kept");
            return Err(NotTaken::GivenUp(refused));
        }
        if start.elapsed() >= PATIENCE {
            // Readers need not wait any longer; the turn is offered on.
            live.end(refused);
        }
        tracing::warn!(%error, run.id = %run.id, "a turn is offered to the store again");
        tokio::select! {
            () = sleep(pause) => {}
            // As far as the store can, it keeps the lease and takes the pieces.
            refusal = log.tend() => return Err(NotTaken::Refused(refusal)),
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// How a run ends that becomes no turn, as far as this process knows.
async fn lost(chat: &Chat, live: &LiveRun, gone: Gone) -> RunOutcome {
    let deleted = || ("not_found", "the session was deleted while its turn was under way".to_owned());
    let (code, message) = match gone {
        Gone::Deleted | Gone::Refused(StoreError::NotFound { .. }) => deleted(),
        // A run goes with its session, and then its lease does.
        Gone::Refused(StoreError::LeaseLost { .. }) => {
            // Whoever took this process for dead has closed the run with what was in its log.
            if let Some(kept) = find_kept(chat, live).await {
                return RunOutcome::Finished(Box::new(kept));
            }
            match chat.store().find_session(&live.run().session).await {
                Ok(None) => deleted(),
                _ => (
                    "lease_lost",
                    "another server has closed this turn; load the session to see it".to_owned(),
                ),
            }
        }
        Gone::Refused(StoreError::Closed) => {
            ("unavailable", "the server is stopping; what the user said is kept".to_owned())
        }
        Gone::Refused(other) => {
            tracing::error!(error = &other as &dyn std::error::Error, "a run's write was refused");
            ("internal", "the turn could not be kept; what the user said is".to_owned())
        }
    };
    RunOutcome::Lost { code, message }
}

/// The turn that the run became, if it is where it would be.
async fn find_kept(chat: &Chat, live: &LiveRun) -> Option<FinishedTurn> {
    let range = live.turn_number()..live.turn_number().saturating_add(1);
    let thread = chat.store().load_thread(&live.run().session, range).await.ok()??;
    let kept = thread.turns.into_iter().find(|kept| kept.turn.id == live.run().turn_id)?;
    Some(FinishedTurn::kept(&thread.session, kept))
}

fn finished(live: &LiveRun, receipt: &Receipt, turn: Turn) -> RunOutcome {
    let Some(stamp) = receipt.stamp(&live.run().session) else {
        let message = "the turn is kept; load the session to see it".to_owned();
        return RunOutcome::Lost { code: "internal", message };
    };
    let turn_count = stamp.cut.turn_count;
    RunOutcome::Finished(Box::new(FinishedTurn {
        turn,
        number: turn_count.saturating_sub(1),
        turn_count,
        standing: stamp.standing,
    }))
}
