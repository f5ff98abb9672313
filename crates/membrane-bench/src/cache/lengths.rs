//! The most that a level can gain, by the length of a thread: one client reads the same one again and again, and each
//! level has all of it.

use std::sync::Arc;

use membrane::{Chat, Store};

use super::levels::{Level, Room};
use crate::measure::Samples;
use crate::report::Report;
use crate::{Failure, keep};

const LENGTHS: [usize; 7] = [4, 10, 32, 64, 100, 320, 1000];
const LEVELS: [Level; 3] = [Level::None, Level::Memory, Level::Redis];

/// About how many turns are read of each length through each level.
const N_TURNS: usize = 30_000;
const MAX_REPEATS: usize = 200;

/// Until all levels have it.
const N_FIRST: usize = 5;

/// All is kept, however short.
const ROOM: Room = Room { memory_bytes: 64 << 20, redis_bytes: 256 << 20, min_turns: 0 };

/// Measures the levels in turn.
pub(super) async fn measure(
    database: &str,
    store: &Arc<dyn Store>,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut levels = Vec::new();
    for level in LEVELS {
        levels.push(level.stage(store, ROOM).await?);
    }
    let writer = Chat::create(Arc::clone(store));
    for length in LENGTHS {
        let id = keep::create(&writer, None).await?;
        keep::fill(&writer, &id, length).await?;
        let mut times = LEVELS.map(|_| Samples::default());
        for number in 0..N_FIRST + (N_TURNS / length).min(MAX_REPEATS) {
            for (staged, times) in levels.iter().zip(&mut times) {
                let mut time = Samples::default();
                let thread = time.time(staged.chat.load_turns(&id, 0..u64::MAX)).await?;
                let found = thread.map_or(0, |thread| thread.turns.len());
                if found != length {
                    return Err(format!("{} gave {found} turns of {length}", staged.level.name()).into());
                }
                if number >= N_FIRST {
                    times.extend(time);
                }
            }
        }
        let [none, memory, redis] = times.map(|times| times.p50_ms());
        report.note(format!(
            "cache, {database}, the same {length} turns again, p50 ms: none {none:.3}, memory {memory:.3} ({}), redis \
             {redis:.3} ({})",
            gain(none / memory),
            gain(none / redis)
        ));
        writer.delete_session(&id).await?;
    }
    Ok(())
}

/// By how much more is read in the same time.
pub(super) fn gain(ratio: f64) -> String {
    format!("{:+.0} %", (ratio - 1.0) * 100.0)
}
