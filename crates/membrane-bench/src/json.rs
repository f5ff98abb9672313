//! A session of 100 turns as JSON over HTTP, at 16 connections, beside a floor that answers with the same keys.

use std::path::Path;

use crate::http::child::{Child, Kind};
use crate::http::rounds::{Load, compare};
use crate::measure::{now_text, reply_text, user_text};
use crate::report::Report;
use crate::{Failure, floor, http, keep};

const N_CONNECTIONS: usize = 16;
const GETS_EACH: usize = 200;
const N_TURNS: usize = 100;

/// Measures both servers, rounds in turn.
pub(crate) async fn measure(folder: &Path, report: &mut Report) -> Result<(), Failure> {
    let (floor_path, path) = (folder.join("json-floor.db"), folder.join("json.db"));
    let conn = http::floor::create(&floor_path)?;
    let chat = keep::open(&path).await?;
    let id = keep::create(&chat, None).await?;
    keep::fill(&chat, &id, N_TURNS).await?;
    floor::create(&conn, id.as_str(), None, &now_text())?;
    let (user, reply) = (user_text(), reply_text());
    for number in 0..i64::try_from(N_TURNS)? {
        floor::append(&conn, id.as_str(), number, &user, &reply)?;
    }
    drop(conn);
    chat.close().await?;
    let (floor, membrane) = (Child::start(Kind::Floor, &floor_path)?, Child::start(Kind::Membrane, &path)?);

    let requests = |server: &Child| {
        let request = format!("GET /api/chat/session/{id} HTTP/1.1\r\nhost: {}\r\n\r\n", server.addr());
        vec![request; N_CONNECTIONS]
    };
    let floor_load = Load::connect(&floor, requests(&floor)).await?;
    let load = Load::connect(&membrane, requests(&membrane)).await?;
    let (floor_tally, tally) =
        compare(floor_load, load, GETS_EACH, |answer| answer.status == 200 && answer.body.ends_with(b"}]}"))
            .await?;
    for (name, tally, server) in [("floor", &floor_tally, &floor), ("membrane", &tally, &membrane)] {
        report.note(format!(
            "json of {N_TURNS} turns at {N_CONNECTIONS} connections, {name}: {:.0} requests/s, {:.0} MB/s, {}, \
             CPU {:.0} us a request, {:.0} bytes, peak memory {:.0} MB",
            tally.rate(),
            tally.mb_per_second(),
            tally.times(),
            tally.cpu_us_each(),
            tally.bytes_each(),
            server.peak_mb()?
        ));
    }
    let ratio = tally.rate() / floor_tally.rate();
    report.at_least("json, membrane's requests/s over the floor's", ratio, 0.7);
    floor.stop()?;
    membrane.stop()
}
