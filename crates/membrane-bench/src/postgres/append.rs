//! Appends: 1, 8 and 32 writers beside as many connections with one statement each, and 256 beside one connection
//! that sends batches of 256.

use std::sync::Arc;
use std::time::Instant;

use membrane::Chat;
use membrane::core::ids::SessionId;
use tokio::task::JoinSet;

use super::floor::Floor;
use super::server::Server;
use crate::measure::{Samples, median, per_second, reply_text, user_text};
use crate::report::Report;
use crate::{Failure, keep};

const ROUNDS: usize = 7;

/// How many turns all writers of a round write together.
const TURNS_A_ROUND: usize = 6400;
pub(super) const BATCH: usize = 256;

/// Measures each number of writers, rounds in turn.
pub(crate) async fn measure(server: &Server, report: &mut Report) -> Result<(), Failure> {
    for n_writers in [1, 8, 32] {
        writers(server, n_writers, report).await?;
    }
    batches(server, report).await
}

async fn writers(server: &Server, n_writers: usize, report: &mut Report) -> Result<(), Failure> {
    let turns_each = TURNS_A_ROUND / n_writers / if n_writers == 1 { 4 } else { 1 };
    let keep = server.keep().await?;
    let ids = sessions(&keep.chat, n_writers).await?;
    let mut floors = Vec::new();
    for id in &ids {
        let floor = Floor::connect(&keep.url).await?;
        floor.create(id).await?;
        floors.push((Arc::new(floor), id.clone()));
    }
    let (mut floor_rates, mut rates) = (Vec::new(), Vec::new());
    let (mut floor_times, mut times) = (Samples::default(), Samples::default());
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for (floor, id) in &floors {
            let (floor, id) = (Arc::clone(floor), id.clone());
            tasks.spawn(async move {
                let mut samples = Samples::default();
                for _ in 0..turns_each {
                    samples.time(floor.append(&id, &user_text(), &reply_text())).await?;
                }
                Ok(samples)
            });
        }
        let (floor_rate, floor_round) = gather(tasks, n_writers * turns_each, start).await?;
        let (rate, our_round) = membrane_round(&keep.chat, &ids, turns_each).await?;
        // The first round fills caches and grows files; it is not counted.
        if round > 0 {
            floor_rates.push(floor_rate);
            rates.push(rate);
            floor_times.extend(floor_round);
            times.extend(our_round);
        }
    }
    let (floor_rate, rate) = (median(floor_rates), median(rates));
    report.note(format!("postgres, {n_writers} writers, floor: {floor_rate:.0} turns/s, {floor_times}"));
    report.note(format!("postgres, {n_writers} writers, membrane: {rate:.0} turns/s, {times}"));
    let what = format!("postgres, {n_writers} writers, membrane's turns/s over the one-statement floor's");
    report.at_least(&what, rate / floor_rate, 0.8);
    keep.close().await
}

async fn batches(server: &Server, report: &mut Report) -> Result<(), Failure> {
    let n_rounds_each = 2 * TURNS_A_ROUND / BATCH;
    let keep = server.keep().await?;
    let ids = sessions(&keep.chat, BATCH).await?;
    let floor = Floor::connect(&keep.url).await?;
    for id in &ids {
        floor.create(id).await?;
    }
    let names: Vec<&str> = ids.iter().map(SessionId::as_str).collect();
    let (users, replies) = (vec![user_text(); BATCH], vec![reply_text(); BATCH]);
    let (mut floor_rates, mut rates, mut times) = (Vec::new(), Vec::new(), Samples::default());
    for round in 0..=ROUNDS {
        let start = Instant::now();
        for _ in 0..n_rounds_each {
            floor.append_many(&names, &users, &replies).await?;
        }
        let floor_rate = per_second(BATCH * n_rounds_each, start.elapsed());
        let (rate, our_round) = membrane_round(&keep.chat, &ids, n_rounds_each).await?;
        if round > 0 {
            floor_rates.push(floor_rate);
            rates.push(rate);
            times.extend(our_round);
        }
    }
    let (floor_rate, rate) = (median(floor_rates), median(rates));
    report.note(format!("postgres, batches of {BATCH}, floor: {floor_rate:.0} turns/s"));
    report.note(format!("postgres, {BATCH} writers, membrane: {rate:.0} turns/s, {times}"));
    let what = format!("postgres, {BATCH} writers, membrane's turns/s over the batched floor's");
    report.at_least(&what, rate / floor_rate, 0.6);
    keep.close().await
}

/// So many new sessions.
pub(super) async fn sessions(chat: &Chat, count: usize) -> Result<Vec<SessionId>, Failure> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(keep::create(chat, None).await?);
    }
    Ok(ids)
}

/// Writers that write so many turns each, all at once.
pub(super) async fn membrane_round(
    chat: &Chat,
    ids: &[SessionId],
    turns_each: usize,
) -> Result<(f64, Samples), Failure> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for id in ids {
        let (chat, id) = (chat.clone(), id.clone());
        tasks.spawn(async move {
            let mut samples = Samples::default();
            for _ in 0..turns_each {
                samples.time(keep::append(&chat, &id)).await?;
            }
            Ok(samples)
        });
    }
    gather(tasks, ids.len() * turns_each, start).await
}

async fn gather(
    mut tasks: JoinSet<Result<Samples, Failure>>,
    n_turns: usize,
    start: Instant,
) -> Result<(f64, Samples), Failure> {
    let mut samples = Samples::default();
    while let Some(done) = tasks.join_next().await {
        samples.extend(done??);
    }
    Ok((per_second(n_turns, start.elapsed()), samples))
}
