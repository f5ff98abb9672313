//! Asking two servers the same, round by round in turn, and what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::child::Child;
use super::client::{Answer, Client};
use crate::Failure;
use crate::measure::{Samples, median, per_second};

/// Rounds that count; one goes before them.
const ROUNDS: usize = 5;

/// How far apart the lengths of the two servers' answers may be: they are to do the same work.
const MAX_DIFFERENCE: f64 = 0.02;

/// Whether an answer is what it should be.
pub(crate) type IsGood = fn(&Answer<'_>) -> bool;

/// What is asked of one server: a request per connection, again and again.
pub(crate) struct Load<'a> {
    server: &'a Child,
    connections: Vec<(Client, Arc<[u8]>)>,
}

impl<'a> Load<'a> {
    /// Opens a connection per request.
    pub(crate) async fn connect(server: &'a Child, requests: Vec<String>) -> Result<Self, Failure> {
        let mut connections = Vec::new();
        for request in requests {
            connections.push((Client::connect(server.addr()).await?, request.into_bytes().into()));
        }
        Ok(Self { server, connections })
    }

    /// Every connection asks `n_each` times.
    async fn round(&mut self, n_each: usize, is_good: IsGood) -> Result<Round, Failure> {
        let mut tasks = JoinSet::new();
        let cpu = self.server.cpu()?;
        let start = Instant::now();
        for (mut client, request) in self.connections.drain(..) {
            tasks.spawn(async move {
                let asked = ask(&mut client, &request, n_each, is_good).await?;
                Ok::<_, Failure>((client, request, asked))
            });
        }
        let mut all = Asked::default();
        while let Some(done) = tasks.join_next().await {
            let (client, request, asked) = done??;
            self.connections.push((client, request));
            all.add(asked);
        }
        let elapsed = start.elapsed();
        Ok(Round { asked: all, elapsed, cpu: self.server.cpu()?.saturating_sub(cpu) })
    }
}

/// What came of some requests.
#[derive(Default)]
struct Asked {
    times: Samples,
    n_requests: usize,
    n_bytes: usize,
    n_chunks: usize,
}

impl Asked {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.n_requests += other.n_requests;
        self.n_bytes += other.n_bytes;
        self.n_chunks += other.n_chunks;
    }
}

async fn ask(client: &mut Client, request: &[u8], n_times: usize, is_good: IsGood) -> Result<Asked, Failure> {
    let mut asked = Asked::default();
    for _ in 0..n_times {
        let answer = asked.times.time(client.ask(request)).await?;
        if !is_good(&answer) {
            let body = String::from_utf8_lossy(answer.body);
            return Err(format!("an answer with status {}: {body:.1000}", answer.status).into());
        }
        asked.n_requests += 1;
        asked.n_bytes += answer.body.len();
        asked.n_chunks += answer.n_chunks;
    }
    Ok(asked)
}

struct Round {
    asked: Asked,
    elapsed: Duration,
    /// What the server used.
    cpu: Duration,
}

/// One server's rounds.
#[derive(Default)]
pub(crate) struct Tally {
    rates: Vec<f64>,
    asked: Asked,
    cpu: Duration,
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
impl Tally {
    fn add(&mut self, round: Round) {
        self.rates.push(per_second(round.asked.n_requests, round.elapsed));
        self.asked.add(round.asked);
        self.cpu += round.cpu;
    }

    /// Requests per second: the median of the rounds.
    pub(crate) fn rate(&self) -> f64 {
        median(self.rates.clone())
    }

    /// Bytes of bodies per second, in MB.
    pub(crate) fn mb_per_second(&self) -> f64 {
        self.rate() * self.bytes_each() / 1e6
    }

    /// How long each request took, to its last byte.
    pub(crate) fn times(&self) -> &Samples {
        &self.asked.times
    }

    /// Bytes of an answer's body, on average.
    pub(crate) fn bytes_each(&self) -> f64 {
        self.asked.n_bytes as f64 / self.asked.n_requests as f64
    }

    /// Chunks of an answer, on average.
    pub(crate) fn chunks_each(&self) -> f64 {
        self.asked.n_chunks as f64 / self.asked.n_requests as f64
    }

    /// Microseconds that the server was busy for a request. Of all rounds together: a single one is short for the
    /// hundredths of a second that are counted.
    pub(crate) fn cpu_us_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.asked.n_requests as f64
    }
}

/// Asks both in turn; gives the floor's tally and Membrane's.
pub(crate) async fn compare(
    mut floor: Load<'_>,
    mut membrane: Load<'_>,
    n_each: usize,
    is_good: IsGood,
) -> Result<(Tally, Tally), Failure> {
    let (mut floor_tally, mut tally) = (Tally::default(), Tally::default());
    for round in 0..=ROUNDS {
        let floor_round = floor.round(n_each, is_good).await?;
        let our_round = membrane.round(n_each, is_good).await?;
        // The first round grows files and buffers; it is not counted.
        if round > 0 {
            floor_tally.add(floor_round);
            tally.add(our_round);
        }
    }
    let (floor_bytes, bytes) = (floor_tally.bytes_each(), tally.bytes_each());
    if (floor_bytes - bytes).abs() > MAX_DIFFERENCE * bytes {
        let why = format!("the floor answers with {floor_bytes:.0} bytes, membrane with {bytes:.0}");
        return Err(why.into());
    }
    Ok((floor_tally, tally))
}

/// The requests so far that each connection made, for who wants to count what was kept.
pub(crate) const fn n_asked_each(n_each: usize) -> usize {
    (ROUNDS + 1) * n_each
}
