//! Events: how soon a reader at one instance is told of what another has committed, and what it costs those who append.
//!
//! Three ways in turn: nobody reads; somebody reads at an instance that is woken by the database; and at one behind a
//! pooler without a way past it, which can only look again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use membrane::{Chat, SessionId, Told};
use membrane_postgres::{Pooler, PostgresOptions, PostgresStore};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::append::{BATCH, membrane_round, sessions};
use super::server::Server;
use crate::measure::{Samples, median};
use crate::report::Report;
use crate::{Failure, keep};

const ROUNDS: usize = 5;

/// How many turns all writers of a round write together; a lone one writes a quarter of it.
const TURNS_A_ROUND: usize = 6400;

/// How many events are waited for one by one.
const PINGS: u32 = 100;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    None,
    Woken,
    Looking,
}

impl Reader {
    const ALL: [Self; 3] = [Self::None, Self::Woken, Self::Looking];

    fn name(self) -> &'static str {
        match self {
            Self::None => "nobody reads",
            Self::Woken => "one reads, woken",
            Self::Looking => "one reads, looking",
        }
    }
}

/// A reader at an instance of its own.
struct Following {
    chat: Chat,
    task: JoinHandle<Result<(), Failure>>,
    /// The version of the last session that it was told of, and when.
    told: mpsc::UnboundedReceiver<(SessionId, u64, Instant)>,
}

impl Following {
    async fn start(url: &str, reader: Reader) -> Result<Option<Self>, Failure> {
        let pooler = match reader {
            Reader::None => return Ok(None),
            Reader::Woken => Pooler::None,
            Reader::Looking => Pooler::Transaction,
        };
        let store = PostgresStore::open(PostgresOptions { pooler, ..PostgresOptions::at(url) }).await?;
        let chat = Chat::create(Arc::new(store));
        let mut follower = chat.follow_events(None).await?;
        let (tell, told) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(news) = follower.next().await? {
                if let Told::Event(event) = news
                    && tell.send((event.session, event.version, Instant::now())).is_err()
                {
                    break;
                }
            }
            Ok(())
        });
        Ok(Some(Self { chat, task, told }))
    }

    async fn stop(self) -> Result<(), Failure> {
        self.chat.close().await?;
        self.task.await?
    }
}

/// Measures both.
pub(crate) async fn measure(report: &mut Report) -> Result<(), Failure> {
    let server = Server::start()?;
    report.note(format!("PostgreSQL {}", server.version().await?));
    for reader in [Reader::Woken, Reader::Looking] {
        delay(&server, reader, report).await?;
    }
    for n_writers in [1, 8, BATCH] {
        cost(&server, n_writers, report).await?;
    }
    Ok(())
}

/// From the answer of an append at one instance to its event at another.
async fn delay(server: &Server, reader: Reader, report: &mut Report) -> Result<(), Failure> {
    let keep = server.keep().await?;
    let id = keep::create(&keep.chat, None).await?;
    let Some(mut following) = Following::start(&keep.url, reader).await? else { return Ok(()) };
    let mut samples = Samples::default();
    for number in 0..=PINGS {
        // Not in step with anybody who looks again and again.
        tokio::time::sleep(Duration::from_millis(u64::from(number * 37 % 251))).await;
        keep::append(&keep.chat, &id).await?;
        let answered = Instant::now();
        let told_at = loop {
            let told = following.told.recv().await.ok_or("the reader has ended")?;
            if told.0 == id && told.1 == u64::from(number) + 2 {
                break told.2;
            }
        };
        // The first one may come while the reader is only getting ready.
        if number > 0 {
            samples.push(told_at.saturating_duration_since(answered));
        }
    }
    report.note(format!(
        "postgres events, from an answer to the other instance's reader, {}: {samples}",
        reader.name()
    ));
    following.stop().await?;
    keep.close().await
}

/// What appends cost while somebody reads at another instance.
async fn cost(server: &Server, n_writers: usize, report: &mut Report) -> Result<(), Failure> {
    let turns_each = TURNS_A_ROUND / n_writers / if n_writers == 1 { 4 } else { 1 };
    let keep = server.keep().await?;
    let ids = sessions(&keep.chat, n_writers).await?;
    let mut rates = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        for (reader, rates) in Reader::ALL.into_iter().zip(&mut rates) {
            let following = Following::start(&keep.url, reader).await?;
            let (rate, _) = membrane_round(&keep.chat, &ids, turns_each).await?;
            if let Some(following) = following {
                following.stop().await?;
            }
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    let [alone, woken, looking] = rates.map(median);
    for (reader, rate) in Reader::ALL.into_iter().zip([alone, woken, looking]) {
        report.note(format!("postgres events, {n_writers} writers, {}: {rate:.0} turns/s", reader.name()));
    }
    let what = format!(
        "postgres events, {n_writers} writers, turns/s with a woken reader over those with a looking one"
    );
    report.at_least(&what, woken / looking, 0.95);
    keep.close().await
}
