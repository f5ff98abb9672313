//! Five clients read a hundred sessions, some much more often than others, and now and then append to one or delete one.
//!
//! Levels have room for a part of it all, so that they hit and miss. They take turns, round by round, at the same sessions:
//! what is written through one is a change that another server made for the others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use membrane::{Chat, ChatError, SessionId, Store};
use tokio::task::JoinSet;

use super::counts::{Counts, Seen};
use super::lengths::gain;
use super::levels::{Level, Room, Staged};
use super::plan::{LENGTHS, N_SESSIONS, Step, length_of, steps};
use crate::measure::{Samples, median, per_second};
use crate::report::Report;
use crate::{Failure, keep};

const LEVELS: [Level; 5] = [Level::None, Level::Memory, Level::MemoryAtOnce, Level::Redis, Level::Both];

const N_CLIENTS: usize = 5;
const ROUNDS: usize = 5;

/// How many steps each client does in a round.
const N_STEPS: usize = 200;

/// The sessions are about 60 MB: a quarter of them, and half.
const ROOM: Room = Room { memory_bytes: 16 << 20, redis_bytes: 32 << 20, min_turns: 32 };

/// The sessions by rank.
type Ranks = Arc<Mutex<Vec<SessionId>>>;

/// What one level did in the rounds that count.
#[derive(Debug, Default)]
struct Measured {
    rates: Vec<f64>,
    /// By length.
    times: [Samples; LENGTHS.len()],
    seen: Seen,
}

/// Measures the levels in turn.
pub(super) async fn measure(
    database: &str,
    store: &Arc<dyn Store>,
    counts: &Counts,
    report: &mut Report,
) -> Result<(), Failure> {
    let writer = Chat::create(Arc::clone(store));
    let mut ids = Vec::new();
    for rank in 0..N_SESSIONS {
        ids.push(new_session(&writer, rank).await?);
    }
    let ranks: Ranks = Arc::new(Mutex::new(ids));
    let mut levels = Vec::new();
    for level in LEVELS {
        levels.push((level.stage(store, ROOM).await?, Measured::default()));
    }
    for round in 0..=ROUNDS {
        for (staged, measured) in &mut levels {
            let before = counts.seen();
            let (rate, times) = one_round(staged, &writer, &ranks, round).await?;
            // The first round fills the levels; it is not counted.
            if round > 0 {
                measured.rates.push(rate);
                measured.seen.add(before, counts.seen());
                for (all, times) in measured.times.iter_mut().zip(times) {
                    all.extend(times);
                }
            }
        }
    }
    let levels: Vec<_> = levels.into_iter().map(|(staged, measured)| (staged.level, measured)).collect();
    print(database, &levels, report);
    Ok(())
}

/// Reads a second, with the writes between them, and how long reads of each length took.
async fn one_round(
    staged: &Staged,
    writer: &Chat,
    ranks: &Ranks,
    round: usize,
) -> Result<(f64, [Samples; LENGTHS.len()]), Failure> {
    let mut clients = Vec::new();
    for client in 0..N_CLIENTS {
        let mut jobs = Vec::new();
        for step in steps(round, client, N_STEPS) {
            // Made beforehand: only what is read and deleted is looked at.
            let new = match step {
                Step::Replace(rank) => Some(new_session(writer, rank).await?),
                _ => None,
            };
            jobs.push((step, new));
        }
        clients.push(jobs);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for jobs in clients {
        tasks.spawn(work(staged.chat.clone(), Arc::clone(ranks), jobs));
    }
    let (mut times, mut n_reads) = (<[Samples; LENGTHS.len()]>::default(), 0);
    while let Some(done) = tasks.join_next().await {
        let (theirs, n) = done??;
        n_reads += n;
        for (all, times) in times.iter_mut().zip(theirs) {
            all.extend(times);
        }
    }
    Ok((per_second(n_reads, start.elapsed()), times))
}

/// One client.
async fn work(
    chat: Chat,
    ranks: Ranks,
    jobs: Vec<(Step, Option<SessionId>)>,
) -> Result<([Samples; LENGTHS.len()], usize), Failure> {
    let (mut times, mut n_reads) = (<[Samples; LENGTHS.len()]>::default(), 0);
    for job in jobs {
        match job {
            (Step::Read(rank), _) => {
                let id = id_of(&ranks, rank);
                let thread = times[rank % LENGTHS.len()].time(chat.load_turns(&id, 0..u64::MAX)).await?;
                let found = thread.map(|thread| thread.turns.len());
                // One that has just lost its rank may be gone.
                if found.is_none_or(|found| found < length_of(rank)) && id_of(&ranks, rank) == id {
                    return Err(format!("read {found:?} turns of {}", length_of(rank)).into());
                }
                n_reads += 1;
            }
            (Step::Append(rank), _) => {
                let id = id_of(&ranks, rank);
                if let Err(error) = keep::append(&chat, &id).await {
                    let is_gone = matches!(error.downcast_ref(), Some(ChatError::NotFound { .. }));
                    if !is_gone || id_of(&ranks, rank) == id {
                        return Err(error);
                    }
                }
            }
            (Step::Replace(rank), Some(new)) => {
                let old = std::mem::replace(&mut lock(&ranks)[rank], new);
                chat.delete_session(&old).await?;
            }
            (Step::Replace(rank), None) => return Err(format!("nothing to put at rank {rank}").into()),
        }
    }
    Ok((times, n_reads))
}

fn print(database: &str, levels: &[(Level, Measured)], report: &mut Report) {
    let mut none = None;
    for (level, measured) in levels {
        let rate = median(measured.rates.clone());
        let by_length = measured.times.each_ref().map(Samples::p50_ms);
        let (none_rate, none_by_length) = *none.get_or_insert((rate, by_length));
        let mut all = Samples::default();
        for times in &measured.times {
            all.extend(times.clone());
        }
        let rates = [("memory", measured.seen.memory), ("redis", measured.seen.shared)];
        let hits: String = rates
            .iter()
            .filter_map(|(name, pages)| Some(format!(", {name} hits {:.0} %", pages.hit_rate()? * 100.0)))
            .collect();
        report.note(format!(
            "cache, {database}, {}: {rate:.0} reads/s ({}), {all}{hits}",
            level.name(),
            gain(rate / none_rate)
        ));
        let lengths: Vec<String> = LENGTHS
            .iter()
            .zip(by_length.iter().zip(none_by_length))
            .map(|(length, (p50, none))| format!("{length} turns {p50:.3} ({})", gain(none / p50)))
            .collect();
        report.note(format!("cache, {database}, {}, p50 ms of {}", level.name(), lengths.join(", ")));
    }
}

async fn new_session(chat: &Chat, rank: usize) -> Result<SessionId, Failure> {
    let id = keep::create(chat, None).await?;
    keep::fill(chat, &id, length_of(rank)).await?;
    Ok(id)
}

fn id_of(ranks: &Ranks, rank: usize) -> SessionId {
    lock(ranks)[rank].clone()
}

/// Nothing is left half done under this lock.
fn lock(ranks: &Ranks) -> std::sync::MutexGuard<'_, Vec<SessionId>> {
    ranks.lock().unwrap_or_else(PoisonError::into_inner)
}
