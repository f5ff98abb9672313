//! Operations whose cost must not depend on how long the session is.

use std::path::Path;

use membrane::core::ids::SessionId;
use membrane::{Chat, ForkOptions, WriteOptions};

use crate::measure::Samples;
use crate::report::Report;
use crate::{Failure, keep};

const LENGTHS: [usize; 3] = [10, 1000, 10_000];
const REPEATS: usize = 400;

/// How much dearer the dearest length may be.
const AIM: f64 = 1.2;

#[derive(Default)]
struct Times {
    append: Samples,
    fork: Samples,
    rewind: Samples,
    checkpoint: Samples,
}

/// Measures append, fork, rewind and checkpoint on sessions of 10, 1,000 and 10,000 turns, in turn.
pub(crate) async fn measure(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    let chat = keep::open(&folder.join("constant.db")).await?;
    let mut ids = Vec::new();
    for length in LENGTHS {
        let id = keep::create(&chat, None).await?;
        keep::fill(&chat, &id, length).await?;
        ids.push(id);
    }
    let mut times: [Times; 3] = Default::default();
    for _ in 0..REPEATS {
        for (id, times) in ids.iter().zip(&mut times) {
            once(&chat, id, times).await?;
        }
    }
    for (name, pick) in [
        ("append", (|times| &times.append) as fn(&Times) -> &Samples),
        ("fork", |times| &times.fork),
        ("rewind", |times| &times.rewind),
        ("checkpoint", |times| &times.checkpoint),
    ] {
        let medians: Vec<f64> = times.iter().map(|times| pick(times).p50_ms()).collect();
        report.note(format!(
            "{name} on 10 / 1,000 / 10,000 turns: p50 {}",
            medians.iter().map(|ms| format!("{ms:.3} ms")).collect::<Vec<_>>().join(" / ")
        ));
        let dearest = medians.iter().copied().fold(f64::MIN, f64::max);
        let cheapest = medians.iter().copied().fold(f64::MAX, f64::min);
        report.at_most(&format!("{name}, dearest length over cheapest"), dearest / cheapest, AIM);
    }
    Ok(())
}

/// Every operation once. What is made is taken away again outside the measurement, so that the sessions
/// stay as they are: the turn that an append adds is the one that the rewind takes off.
async fn once(chat: &Chat, id: &SessionId, times: &mut Times) -> Result<(), Failure> {
    times.append.time(keep::append(chat, id)).await?;
    let fork = times.fork.time(chat.fork(id, ForkOptions::default())).await?;
    chat.delete_session(&fork.id).await?;
    let checkpoint = times.checkpoint.time(chat.checkpoint(id, None, None)).await?;
    chat.delete_checkpoint(id, &checkpoint.id).await?;
    times.rewind.time(chat.rewind(id, 1, WriteOptions::default())).await?;
    Ok(())
}
