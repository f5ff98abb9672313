//! A model's answer through Membrane and straight from the model: how much later each piece is there, how much memory a
//! thousand answers at once take, and how many bytes a long one costs.
//!
//! [`emitter`] is the model, [`listener`] whoever asks it, both in this process: a moment means the same to both.

mod emitter;
mod listener;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use emitter::Speech;
use futures_util::future::try_join_all;
use listener::{Heard, ask};

use crate::http::child::Child;
use crate::measure::Samples;
use crate::report::Report;
use crate::{Failure, keep};

const N_STREAMS: usize = 64;
const N_ROUNDS: usize = 3;
const MANY_STREAMS: usize = 1000;

/// As fast as a good model: 50 pieces a second.
const TALK: Speech = Speech { pieces: 150, pause: Duration::from_millis(20), piece_bytes: 24 };
const SLOW_TALK: Speech = Speech { pieces: 150, pause: Duration::from_millis(100), piece_bytes: 24 };
/// 1 MiB in a minute.
const LONG_TALK: Speech = Speech { pieces: 3000, pause: Duration::from_millis(20), piece_bytes: 350 };

/// Measures both ways, rounds in turn.
pub(crate) async fn measure(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    added_time(folder, report).await?;
    many_streams(folder, report).await?;
    long_answer(folder, report).await
}

/// A server on a fresh file, with sessions.
async fn server(path: &Path, model: SocketAddr, n_sessions: usize) -> Result<(Child, Vec<String>), Failure> {
    let chat = keep::open(path).await?;
    let mut ids = Vec::new();
    for _ in 0..n_sessions {
        ids.push(keep::create(&chat, None).await?.to_string());
    }
    chat.close().await?;
    Ok((Child::start_of_model(path, model)?, ids))
}

async fn ask_membrane(server: SocketAddr, id: &str) -> Result<Heard, Failure> {
    ask(server, &format!("/api/chat/{id}/send?stream=delta"), r#"{"message":"go on"}"#).await
}

async fn ask_model(model: SocketAddr) -> Result<Heard, Failure> {
    let body = r#"{"model":"bench","stream":true,"messages":[{"role":"user","content":"go on"}]}"#;
    ask(model, "/v1/chat/completions", body).await
}

#[derive(Default)]
struct Tally {
    first: Samples,
    pieces: Samples,
}

impl Tally {
    fn add(&mut self, all: Vec<Heard>) -> Result<(), Failure> {
        for heard in all {
            if heard.pieces.len() != TALK.pieces {
                return Err(format!("{} of {} pieces came", heard.pieces.len(), TALK.pieces).into());
            }
            self.first.push(Duration::from_nanos(heard.first));
            for nanos in heard.pieces {
                self.pieces.push(Duration::from_nanos(nanos));
            }
        }
        Ok(())
    }
}

async fn added_time(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    let model = emitter::start(TALK).await?;
    let (child, ids) = server(&folder.join("models.db"), model, N_STREAMS).await?;
    let (mut floor, mut ours) = (Tally::default(), Tally::default());
    for _ in 0..N_ROUNDS {
        floor.add(try_join_all(ids.iter().map(|_| ask_model(model))).await?)?;
        ours.add(try_join_all(ids.iter().map(|id| ask_membrane(child.addr(), id))).await?)?;
    }
    child.stop()?;
    for (what, floor, ours, aim) in
        [("first piece", &floor.first, &ours.first, 2.0), ("each piece", &floor.pieces, &ours.pieces, 0.2)]
    {
        report.note(format!(
            "models, {what} at {N_STREAMS} streams: straight {floor}; through membrane {ours}"
        ));
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let added = ours.percentile_ms(share) - floor.percentile_ms(share);
            report.at_most(
                &format!("models, {what}, {name}: ms that membrane adds, over {aim} ms"),
                added / aim,
                1.0,
            );
        }
    }
    Ok(())
}

async fn many_streams(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    let model = emitter::start(SLOW_TALK).await?;
    let (child, ids) = server(&folder.join("many.db"), model, MANY_STREAMS).await?;
    let before = child.peak_mb()?;
    let all = try_join_all(ids.iter().map(|id| ask_membrane(child.addr(), id))).await?;
    let pieces: usize = all.iter().map(|heard| heard.pieces.len()).sum();
    let mut late = Samples::default();
    for nanos in all.iter().flat_map(|heard| &heard.pieces) {
        late.push(Duration::from_nanos(*nanos));
    }
    report.note(format!(
        "models, {MANY_STREAMS} streams at once: {pieces} of {} pieces, each {late}; peak memory {:.0} MB ({before:.0} MB before)",
        MANY_STREAMS * SLOW_TALK.pieces,
        child.peak_mb()?
    ));
    if pieces != MANY_STREAMS * SLOW_TALK.pieces {
        report.invalidate("pieces are missing");
    }
    child.stop()
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a benchmark")]
async fn long_answer(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    let model = emitter::start(LONG_TALK).await?;
    let (child, ids) = server(&folder.join("long.db"), model, 1).await?;
    let id = ids.first().ok_or("a session")?;
    let before = child.written_bytes()?;
    let heard = ask_membrane(child.addr(), id).await?;
    let written = child.written_bytes()? - before;
    let answer = LONG_TALK.pieces * LONG_TALK.piece_bytes;
    let times = |bytes: f64| bytes / answer as f64;
    report.note(format!(
        "models, an answer of {answer} bytes in a minute: {} bytes of events ({:.1} times), {written} bytes written to \
         files ({:.1} times), peak memory {:.0} MB",
        heard.bytes,
        times(heard.bytes as f64),
        times(written as f64),
        child.peak_mb()?
    ));
    child.stop()
}
