//! What a server does beside serving: closes turns of servers that died, tidies measurements up, and, if it is the one of
//! all servers on the keep that leads, forgets what has had its time.
//!
//! Closing turns is done by each, at once and safely: a leader that has just died must not be waited for.

use std::time::Duration;

use membrane::{Chat, Role};
use membrane_http::telemetry::Telemetry;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often measurements are tidied up.
const UPKEEP: Duration = Duration::from_secs(5);

/// How often what has had its time is forgotten.
const SWEEP: Duration = Duration::from_secs(600);

/// How often a server looks around.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounds {
    /// For turns of servers that died.
    pub(super) recover: Duration,
    /// For the lead: whether it is free, or that it still has it.
    pub(super) renew: Duration,
}

/// Does all of it until it is dropped.
pub(super) async fn keep_house(chat: Chat, telemetry: Telemetry, rounds: Rounds) {
    let leads = watch::Sender::new(false);
    tokio::join!(
        recover_again(&chat, rounds.recover),
        lead(&chat, rounds.renew, &leads),
        sweep_while_leading(&chat, leads.subscribe()),
        async {
            let mut timer = timer(UPKEEP);
            loop {
                timer.tick().await;
                telemetry.upkeep();
            }
        },
    );
}

fn timer(every: Duration) -> Interval {
    let mut timer = interval(every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

async fn recover_again(chat: &Chat, every: Duration) {
    let mut timer = timer(every);
    loop {
        timer.tick().await;
        recover(chat).await;
    }
}

/// Closes what dead servers left. A disk that is full, for one, is no reason not to serve what can be served.
pub(super) async fn recover(chat: &Chat) {
    match chat.recover_runs().await {
        Ok(0) => {}
        Ok(runs) => {
            tracing::info!(runs, "turns of a server that had stopped were closed with what had arrived");
        }
        Err(error) => tracing::warn!(%error, "turns of a server that had stopped could not be closed"),
    }
}

/// Leads whenever no other server does, and tells whether this one does.
async fn lead(chat: &Chat, renew_every: Duration, leads: &watch::Sender<bool>) {
    let mut timer = timer(renew_every);
    loop {
        timer.tick().await;
        let does_lead = match chat.take_lead(Role::Sweeper).await {
            Ok(does_lead) => does_lead,
            Err(error) => {
                tracing::warn!(%error, "it could not be asked which server sweeps");
                chat.leads(Role::Sweeper)
            }
        };
        if leads.send_if_modified(|led| std::mem::replace(led, does_lead) != does_lead) {
            let role = Role::Sweeper;
            if does_lead {
                tracing::debug!(%role, "this server leads");
            } else {
                tracing::debug!(%role, "this server leads no more");
            }
        }
    }
}

/// Forgets what has had its time, now and then; what is under way stops when this server leads no more.
async fn sweep_while_leading(chat: &Chat, mut leads: watch::Receiver<bool>) {
    let mut lost = leads.clone();
    // The sender lives as long as this.
    while leads.wait_for(|leads| *leads).await.is_ok() {
        tokio::select! {
            () = sweep_again(chat) => {}
            _ = lost.wait_for(|leads| !*leads) => {}
        }
    }
}

async fn sweep_again(chat: &Chat) {
    let mut timer = timer(SWEEP);
    loop {
        timer.tick().await;
        if let Err(error) = chat.sweep().await {
            tracing::warn!(%error, "old idempotency keys and events could not be forgotten");
        }
    }
}
