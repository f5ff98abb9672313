//! A message and its answer over HTTP, at 64 connections and at one, beside a floor that commits as often.

use std::path::Path;

use crate::http::child::{Child, Kind};
use crate::http::rounds::{Load, Tally, compare, n_asked_each};
use crate::measure::{now_text, user_text};
use crate::report::Report;
use crate::{Failure, floor, http, keep};

const N_CONNECTIONS: usize = 64;
const SENDS_EACH: usize = 120;
const SENDS_ALONE: usize = 800;

/// Measures both servers, rounds in turn.
pub(crate) async fn measure(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    let (floor_path, path) = (folder.join("send-floor.db"), folder.join("send.db"));
    let conn = http::floor::create(&floor_path)?;
    let chat = keep::open(&path).await?;
    let mut ids = Vec::new();
    for _ in 0..=N_CONNECTIONS {
        let id = keep::create(&chat, None).await?.to_string();
        floor::create(&conn, &id, None, &now_text())?;
        ids.push(id);
    }
    drop(conn);
    chat.close().await?;
    let (floor, membrane) = (Child::start(Kind::Floor, &floor_path)?, Child::start(Kind::Membrane, &path)?);
    let alone = ids.split_off(N_CONNECTIONS);

    let (floor_tally, tally) = send(&floor, &membrane, &ids, SENDS_EACH).await?;
    note(report, "64 connections", &floor_tally, &tally);
    let ratio = tally.rate() / floor_tally.rate();
    let (floor_alone, ours_alone) = send(&floor, &membrane, &alone, SENDS_ALONE).await?;
    note(report, "1 connection", &floor_alone, &ours_alone);
    report.note(format!(
        "send, peak memory: floor {:.0} MB, membrane {:.0} MB",
        floor.peak_mb()?,
        membrane.peak_mb()?
    ));
    report.at_least("send at 64 connections, membrane's requests/s over the floor's", ratio, 0.7);
    let ratio = ours_alone.rate() / floor_alone.rate();
    report.note(format!("send at 1 connection, membrane's requests/s over the floor's: ratio {ratio:.2}"));

    floor.stop()?;
    membrane.stop()?;
    expect_turns(&floor_path, &path).await
}

async fn send(
    floor: &Child,
    membrane: &Child,
    ids: &[String],
    n_each: usize,
) -> Result<(Tally, Tally), Failure> {
    let body = serde_json::json!({"message": user_text()}).to_string();
    let requests = |server: &Child| {
        let request = |id| {
            format!(
                "POST /api/chat/{id}/send HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                server.addr(),
                body.len()
            )
        };
        ids.iter().map(request).collect()
    };
    let floor_load = Load::connect(floor, requests(floor)).await?;
    let load = Load::connect(membrane, requests(membrane)).await?;
    compare(floor_load, load, n_each, |answer| {
        let is_done = |body: &str| body.contains("data: {\"type\":\"done\"");
        answer.status == 200 && std::str::from_utf8(answer.body).is_ok_and(is_done)
    })
    .await
}

fn note(report: &mut Report, how: &str, floor: &Tally, membrane: &Tally) {
    for (name, tally) in [("floor", floor), ("membrane", membrane)] {
        report.note(format!(
            "send at {how}, {name}: {:.0} requests/s, {}, CPU {:.0} us a turn, {:.0} bytes in {:.1} chunks",
            tally.rate(),
            tally.times(),
            tally.cpu_us_each(),
            tally.bytes_each(),
            tally.chunks_each()
        ));
    }
}

/// Every message that was answered is kept by both.
async fn expect_turns(floor_path: &Path, path: &Path) -> Result<(), Failure> {
    let expected = N_CONNECTIONS * n_asked_each(SENDS_EACH) + n_asked_each(SENDS_ALONE);
    let floor_turns = http::floor::n_turns(&floor::open(floor_path)?)?;
    let chat = keep::open(path).await?;
    let stats = chat.stats().await?;
    chat.close().await?;
    let is_kept = usize::try_from(floor_turns)? == expected
        && usize::try_from(stats.turns_stored)? == expected
        && stats.runs == 0;
    if is_kept {
        Ok(())
    } else {
        Err(format!("{expected} messages were answered; the floor keeps {floor_turns}, membrane {stats:?}")
            .into())
    }
}
