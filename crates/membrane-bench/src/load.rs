//! Loading a whole session: a plain one beside its floor, and one that is a chain of 100 forks.

use std::path::Path;

use membrane::{Chat, ForkOptions};

use crate::measure::{Samples, now_text, reply_text, user_text};
use crate::report::Report;
use crate::{Failure, floor, keep};

const N_TURNS: usize = 1000;
const N_FORKS: usize = 100;
const REPEATS: usize = 300;

/// Measures both, in turn.
pub(crate) async fn measure(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    let chat = keep::open(&folder.join("load.db")).await?;
    let plain = keep::create(&chat, None).await?;
    keep::fill(&chat, &plain, N_TURNS).await?;
    let chained = chain(&chat).await?;
    let conn = floor::open(&folder.join("load-floor.db"))?;
    floor::create(&conn, "session-floor", None, &now_text())?;
    let (user, reply) = (user_text(), reply_text());
    for number in 0..i64::try_from(N_TURNS)? {
        floor::append(&conn, "session-floor", number, &user, &reply)?;
    }
    let (mut floor_times, mut times, mut chain_times) = <(Samples, Samples, Samples)>::default();
    for _ in 0..REPEATS {
        let turns = floor_times.time_blocking(|| floor::load(&conn, "session-floor"))?;
        expect_turns(turns.len())?;
        let session = times.time(chat.load_turns(&plain, 0..u64::MAX)).await?;
        expect_turns(session.map_or(0, |thread| thread.turns.len()))?;
        let session = chain_times.time(chat.load_turns(&chained, 0..u64::MAX)).await?;
        expect_turns(session.map_or(0, |thread| thread.turns.len()))?;
    }
    report.note(format!("load of {N_TURNS} turns, floor: {floor_times}"));
    report.note(format!("load of {N_TURNS} turns, membrane: {times}"));
    report.note(format!("load of {N_TURNS} turns over {N_FORKS} forks of forks: {chain_times}"));
    report.at_most("load, membrane's p50 over the floor's", times.p50_ms() / floor_times.p50_ms(), 1.3);
    report.at_most("load, chain of forks over plain", chain_times.p50_ms() / times.p50_ms(), 2.0);
    Ok(())
}

/// A session of the same length that is a fork of a fork of a fork, each with its share of the turns.
async fn chain(chat: &Chat) -> Result<membrane::core::ids::SessionId, Failure> {
    let share = N_TURNS / N_FORKS;
    let mut id = keep::create(chat, None).await?;
    keep::fill(chat, &id, share).await?;
    for _ in 1..N_FORKS {
        id = chat.fork(&id, ForkOptions::default()).await?.id;
        keep::fill(chat, &id, share).await?;
    }
    Ok(id)
}

fn expect_turns(found: usize) -> Result<(), Failure> {
    if found == N_TURNS { Ok(()) } else { Err(format!("loaded {found} turns of {N_TURNS}").into()) }
}
