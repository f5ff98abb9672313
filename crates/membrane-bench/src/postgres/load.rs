//! Loading a whole session of 1,000 turns beside its floor.

use super::floor::Floor;
use super::server::Server;
use crate::measure::{Samples, reply_text, user_text};
use crate::report::Report;
use crate::{Failure, keep};

const N_TURNS: usize = 1000;
const REPEATS: usize = 200;

/// Measures both, in turn.
pub(crate) async fn measure(server: &Server, report: &mut Report) -> Result<(), Failure> {
    let keep = server.keep().await?;
    let id = keep::create(&keep.chat, None).await?;
    keep::fill(&keep.chat, &id, N_TURNS).await?;
    let floor = Floor::connect(&keep.url).await?;
    floor.create(&id).await?;
    for _ in 0..N_TURNS {
        floor.append(&id, &user_text(), &reply_text()).await?;
    }
    let (mut floor_times, mut times) = <(Samples, Samples)>::default();
    for _ in 0..REPEATS {
        expect_turns(floor_times.time(floor.load(&id)).await?.len())?;
        let thread = times.time(keep.chat.load_turns(&id, 0..u64::MAX)).await?;
        expect_turns(thread.map_or(0, |thread| thread.turns.len()))?;
    }
    report.note(format!("postgres, load of {N_TURNS} turns, floor: {floor_times}"));
    report.note(format!("postgres, load of {N_TURNS} turns, membrane: {times}"));
    let ratio = times.p50_ms() / floor_times.p50_ms();
    report.at_most("postgres, load, membrane's p50 over the floor's", ratio, 1.3);
    keep.close().await
}

fn expect_turns(found: usize) -> Result<(), Failure> {
    if found == N_TURNS { Ok(()) } else { Err(format!("loaded {found} turns of {N_TURNS}").into()) }
}
