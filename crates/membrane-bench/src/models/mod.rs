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
use tokio::time::sleep;

use crate::http::child::Child;
use crate::measure::Samples;
use crate::report::Report;
use crate::{Failure, keep};

const N_STREAMS: usize = 64;
const N_ROUNDS: usize = 2;
/// Answers that each client hears one after the other. While the first and the last are heard, not all streams are open.
const N_ANSWERS: usize = 5;
/// How often all streams begin in the same instant.
const N_BURSTS: usize = 3;
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

/// How long first pieces and all took.
#[derive(Default)]
struct Tally {
    first: Samples,
    pieces: Samples,
}

impl Tally {
    fn extend(&mut self, more: Self) {
        self.first.extend(more.first);
        self.pieces.extend(more.pieces);
    }

    fn add(&mut self, all: impl IntoIterator<Item = Heard>) -> Result<(), Failure> {
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

/// Clients that each hear one answer after the other, and began one after the other: at any moment so many streams are open,
/// and their pieces come when they come.
async fn steady<F: Future<Output = Result<Heard, Failure>>>(
    ask: impl Fn(usize) -> F,
) -> Result<Tally, Failure> {
    let length = TALK.pause * u32::try_from(TALK.pieces)?;
    let clients = (0..N_STREAMS).map(async |client| {
        sleep(length.mul_f64(share(client, N_STREAMS))).await;
        let mut heard = Vec::new();
        for _ in 0..N_ANSWERS {
            heard.push(ask(client).await?);
        }
        Ok::<_, Failure>(heard)
    });
    let mut tally = Tally::default();
    for heard in try_join_all(clients).await? {
        tally.add(heard.into_iter().skip(1).take(N_ANSWERS - 2))?;
    }
    Ok(tally)
}

#[expect(clippy::cast_precision_loss, reason = "of a few")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

async fn added_time(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    let model = emitter::start(TALK).await?;
    let (child, ids) = server(&folder.join("models.db"), model, N_STREAMS).await?;
    let id = |client: usize| ids.get(client).map_or("", String::as_str);
    let (mut floor, mut relayed, mut ours) = (Tally::default(), Tally::default(), Tally::default());
    for _ in 0..N_ROUNDS {
        floor.extend(steady(|_| ask_model(model)).await?);
        let relay = Child::start_relay(model)?;
        relayed.extend(steady(|_| ask_model(relay.addr())).await?);
        relay.stop()?;
        ours.extend(steady(|client| ask_membrane(child.addr(), id(client))).await?);
    }
    for (what, floor, relayed, ours, aim) in [
        ("first piece", &floor.first, &relayed.first, &ours.first, 2.0),
        ("each piece", &floor.pieces, &relayed.pieces, &ours.pieces, 0.2),
    ] {
        report.note(format!(
            "models, {what} at {N_STREAMS} streams: straight {floor}; through a relay that does nothing {relayed}; \
             through membrane {ours}"
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
    let (mut floor, mut ours) = (Tally::default(), Tally::default());
    for _ in 0..N_BURSTS {
        floor.add(try_join_all(ids.iter().map(|_| ask_model(model))).await?)?;
        ours.add(try_join_all(ids.iter().map(|id| ask_membrane(child.addr(), id))).await?)?;
    }
    for (what, floor, ours) in
        [("first piece", &floor.first, &ours.first), ("each piece", &floor.pieces, &ours.pieces)]
    {
        report.note(format!(
            "models, {what}, when all {N_STREAMS} begin in the same instant and every piece comes at the same time: \
             straight {floor}; through membrane {ours}"
        ));
    }
    child.stop()
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
