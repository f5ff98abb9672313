//! What an append costs on a session of 10 turns, of 1,000 and of 10,000.

use super::server::Server;
use crate::measure::Samples;
use crate::report::Report;
use crate::{Failure, keep};

const LENGTHS: [usize; 3] = [10, 1000, 10_000];
const REPEATS: usize = 300;

/// Measures the lengths in turn.
pub(crate) async fn measure(server: &Server, report: &mut Report) -> Result<(), Failure> {
    let keep = server.keep().await?;
    let mut sessions = Vec::new();
    for length in LENGTHS {
        let id = keep::create(&keep.chat, None).await?;
        keep::fill(&keep.chat, &id, length).await?;
        sessions.push((id, Samples::default()));
    }
    for _ in 0..REPEATS {
        for (id, samples) in &mut sessions {
            samples.time(keep::append(&keep.chat, id)).await?;
        }
    }
    for (length, (_, samples)) in LENGTHS.iter().zip(&sessions) {
        report.note(format!("postgres, append to {length} turns: {samples}"));
    }
    if let [(_, short), .., (_, long)] = sessions.as_slice() {
        report.at_most("postgres, append to 10,000 turns over 10", long.p50_ms() / short.p50_ms(), 1.2);
    }
    keep.close().await
}
