//! Appends: one writer, and 64 at once, each beside its floor.

use std::path::Path;
use std::time::Instant;

use membrane::Chat;
use membrane::core::ids::SessionId;
use membrane_sqlite::SqliteOptions;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::measure::{Samples, median, now_text, per_second, reply_text, user_text};
use crate::report::Report;
use crate::{Failure, floor, keep};

const ROUNDS: usize = 7;
const ONE_WRITER_TURNS: usize = 1500;
const N_WRITERS: usize = 64;
const TURNS_EACH: usize = 400;

/// A one-writer floor below this share of the disk's sync rate means that something else was running.
const MIN_FLOOR_SHARE: f64 = 0.7;

/// Measures both, rounds in turn, and reports the medians.
pub(crate) async fn measure(folder: &Path, syncs: f64, report: &mut Report) -> Result<(), Failure> {
    one_writer(folder, syncs, report).await?;
    let pages = SqliteOptions::at("").checkpoint_pages;
    let rates = many_writers(folder, "many", pages, report).await?;
    report.at_least("64 appenders, membrane's turns/s over the group-commit floor's", rates, 0.8);
    Ok(())
}

/// Tries thresholds of the write-ahead log: throughput and p99 of 64 appenders, and of one.
pub(crate) async fn measure_thresholds(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    for pages in [500, 1000, 2000, 4000, 8000, 16_000] {
        report.note(format!("write-ahead log moved at {pages} pages:"));
        many_writers(folder, &format!("threshold-{pages}"), pages, report).await?;
    }
    Ok(())
}

async fn one_writer(folder: &Path, syncs: f64, report: &mut Report) -> Result<(), Failure> {
    let chat = keep::open(&folder.join("one.db")).await?;
    let id = keep::create(&chat, None).await?;
    let conn = floor::open(&folder.join("one-floor.db"))?;
    floor::create(&conn, "session-floor", None, &now_text())?;
    let (mut floor_rates, mut rates) = (Vec::new(), Vec::new());
    let (mut floor_times, mut times) = (Samples::default(), Samples::default());
    let (user, reply) = (user_text(), reply_text());
    let mut number = 0;
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let mut samples = Samples::default();
        for _ in 0..ONE_WRITER_TURNS {
            samples.time_blocking(|| floor::append(&conn, "session-floor", number, &user, &reply))?;
            number += 1;
        }
        let floor_rate = per_second(ONE_WRITER_TURNS, start.elapsed());
        let start = Instant::now();
        let mut ours = Samples::default();
        for _ in 0..ONE_WRITER_TURNS {
            ours.time(keep::append(&chat, &id)).await?;
        }
        // The first round grows the files; it is not counted.
        if round > 0 {
            floor_rates.push(floor_rate);
            rates.push(per_second(ONE_WRITER_TURNS, start.elapsed()));
            floor_times.extend(samples);
            times.extend(ours);
        }
    }
    let (floor_rate, rate) = (median(floor_rates), median(rates));
    report.note(format!("one writer, floor: {floor_rate:.0} turns/s, {floor_times}"));
    report.note(format!("one writer, membrane: {rate:.0} turns/s, {times}"));
    if floor_rate < MIN_FLOOR_SHARE * syncs {
        report.invalidate(&format!(
            "the one-writer floor reached {floor_rate:.0}/s, less than {MIN_FLOOR_SHARE} of {syncs:.0} syncs/s; \
             let the machine come to rest and repeat"
        ));
    }
    report.at_least("one writer, membrane's turns/s over the floor's", rate / floor_rate, 0.8);
    Ok(())
}

/// Runs both in turn and gives the ratio of turns per second.
async fn many_writers(
    folder: &Path,
    name: &str,
    checkpoint_pages: u32,
    report: &mut Report,
) -> Result<f64, Failure> {
    let options = SqliteOptions { checkpoint_pages, ..SqliteOptions::at(folder.join(format!("{name}.db"))) };
    let chat = keep::open_with(options).await?;
    let floor_path = folder.join(format!("{name}-floor.db"));
    let appends = floor::group_commit(&floor_path, checkpoint_pages)?;
    let conn = floor::open(&floor_path)?;
    let mut ids = Vec::new();
    for _ in 0..N_WRITERS {
        let id = keep::create(&chat, None).await?;
        floor::create(&conn, id.as_str(), None, &now_text())?;
        ids.push(id);
    }
    drop(conn);
    let (mut floor_rates, mut rates) = (Vec::new(), Vec::new());
    let (mut floor_times, mut times) = (Samples::default(), Samples::default());
    for round in 0..=ROUNDS {
        let (floor_rate, floor_round) = floor_round(&appends, &ids, round).await?;
        let (rate, our_round) = membrane_round(&chat, &ids).await?;
        if round > 0 {
            floor_rates.push(floor_rate);
            rates.push(rate);
            floor_times.extend(floor_round);
            times.extend(our_round);
        }
    }
    let (floor_rate, rate) = (median(floor_rates), median(rates));
    report.note(format!("{N_WRITERS} appenders, floor: {floor_rate:.0} turns/s, {floor_times}"));
    report.note(format!("{N_WRITERS} appenders, membrane: {rate:.0} turns/s, {times}"));
    Ok(rate / floor_rate)
}

async fn floor_round(
    appends: &mpsc::Sender<floor::Waiting<floor::Append>>,
    ids: &[SessionId],
    round: usize,
) -> Result<(f64, Samples), Failure> {
    let first = i64::try_from(round * TURNS_EACH)?;
    let last = first + i64::try_from(TURNS_EACH)?;
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for id in ids {
        let (appends, id) = (appends.clone(), id.to_string());
        writers.spawn(async move {
            let mut samples = Samples::default();
            for number in first..last {
                let (done, is_done) = oneshot::channel();
                let write = floor::Append {
                    id: id.clone(),
                    number,
                    user: user_text(),
                    reply: reply_text(),
                    now: now_text(),
                };
                let append = floor::Waiting { write, done };
                let wait = async { appends.send(append).await.is_ok() && is_done.await.is_ok() };
                if !samples.time(wait).await {
                    return Err(Failure::from("the floor could not append"));
                }
            }
            Ok(samples)
        });
    }
    gather(writers, ids.len() * TURNS_EACH, start).await
}

async fn membrane_round(chat: &Chat, ids: &[SessionId]) -> Result<(f64, Samples), Failure> {
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for id in ids {
        let (chat, id) = (chat.clone(), id.clone());
        writers.spawn(async move {
            let mut samples = Samples::default();
            for _ in 0..TURNS_EACH {
                samples.time(keep::append(&chat, &id)).await?;
            }
            Ok(samples)
        });
    }
    gather(writers, ids.len() * TURNS_EACH, start).await
}

async fn gather(
    mut writers: JoinSet<Result<Samples, Failure>>,
    n_turns: usize,
    start: Instant,
) -> Result<(f64, Samples), Failure> {
    let mut samples = Samples::default();
    while let Some(done) = writers.join_next().await {
        samples.extend(done??);
    }
    Ok((per_second(n_turns, start.elapsed()), samples))
}
