//! What `/metrics` tells, in Prometheus' text format.
//!
//! Counters and histograms are kept where things happen, through the `metrics` facade; gauges are read when
//! somebody asks, from numbers that the store keeps anyway. No scrape scans anything.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use membrane::{ChatError, ConnectionGauges, RecoveryGauges, Role, StoreGauges};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::app::App;

/// How long requests took, to the first byte of the answer.
pub const REQUEST_DURATION_SECONDS: &str = "membrane_http_request_duration_seconds";

/// Errors that were answered or told in a stream, by code.
pub const ERRORS: &str = "membrane_errors_total";

/// From a change to its event's delivery to a feed.
pub const EVENT_DELIVERY_SECONDS: &str = "membrane_event_delivery_seconds";

const SESSIONS: &str = "membrane_sessions";
const TURNS: &str = "membrane_turns";
const STORAGE_BYTES: &str = "membrane_storage_bytes";
const QUEUE_DEPTH: &str = "membrane_writer_queue_depth";
const QUEUE_CAPACITY: &str = "membrane_writer_queue_capacity";
const STREAMS: &str = "membrane_streams_active";
const RUNS: &str = "membrane_runs_active";
const LEASES: &str = "membrane_leases_held";
const LEASES_LEFT: &str = "membrane_leases_expired";
const RECOVERED: &str = "membrane_runs_recovered_total";
const LEADER: &str = "membrane_leader";
const EVENT_LAG: &str = "membrane_event_lag";
const CONNECTION_LIMIT: &str = "membrane_database_connection_limit";
const CONNECTIONS: &str = "membrane_database_connections";
const CONNECTIONS_IN_USE: &str = "membrane_database_connections_in_use";
const CONNECTION_WAITERS: &str = "membrane_database_connection_waiters";

/// Seconds: from a tenth of a millisecond to ten seconds.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Changes in one commit.
const CHANGES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Where metrics are kept, if anywhere.
#[derive(Debug, Clone, Default)]
pub struct Telemetry(Option<PrometheusHandle>);

impl Telemetry {
    /// Keeps the metrics of this process from now on. To be called once, before anything else is made.
    ///
    /// # Errors
    /// [`BuildError`] when something else keeps them already.
    pub fn install() -> Result<Self, BuildError> {
        let handle = builder()?.install_recorder()?;
        describe();
        Ok(Self(Some(handle)))
    }

    /// Tidies up what was measured since the last time; to be called every few seconds.
    pub fn upkeep(&self) {
        if let Some(handle) = &self.0 {
            handle.run_upkeep();
        }
    }

    /// All metrics as text; empty if none are kept.
    pub(crate) fn render(&self) -> String {
        self.0.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_batch_size".to_owned()), CHANGES)
}

fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(
        REQUEST_DURATION_SECONDS,
        Unit::Seconds,
        "Time from a request's head to its answer's, by route, method and status."
    );
    describe_counter!(ERRORS, "Errors answered or told in a stream, by code.");
    describe_gauge!(SESSIONS, "Sessions in the store.");
    describe_gauge!(TURNS, "Finished turns in the store; one that several forks hold counts once.");
    describe_gauge!(STORAGE_BYTES, Unit::Bytes, "Bytes on disk, with the write-ahead log.");
    describe_gauge!(QUEUE_DEPTH, "Changes that wait for the writer.");
    describe_gauge!(QUEUE_CAPACITY, "How many changes may wait for the writer.");
    describe_gauge!(CONNECTION_LIMIT, "How many connections to the database server there may be.");
    describe_gauge!(CONNECTIONS, "Open connections to the database server.");
    describe_gauge!(CONNECTIONS_IN_USE, "Connections to the database server that are at work.");
    describe_gauge!(CONNECTION_WAITERS, "Calls that wait for a connection to the database server.");
    describe_gauge!(STREAMS, "Open event streams.");
    describe_gauge!(RUNS, "Turns under way in this process.");
    describe_gauge!(LEASES, "Leases that this process holds: of turns under way, and of what it leads.");
    describe_gauge!(
        LEASES_LEFT,
        "Turns of dead processes, found at this process's last look, that could not be closed."
    );
    describe_counter!(RECOVERED, "Turns of dead processes that this process has closed.");
    describe_gauge!(EVENT_LAG, "Events that the slowest feed of this process has not been given.");
    describe_histogram!(
        EVENT_DELIVERY_SECONDS,
        Unit::Seconds,
        "From a change, by the clock of whoever made it, to its event's delivery to a feed."
    );
    describe_gauge!(LEADER, "Whether this process does what one does for all on the same database, by role.");
}

/// Brings the gauges up to date.
pub(crate) async fn refresh(app: &App) -> Result<(), ChatError> {
    let StoreGauges { sessions, turns, bytes, queued, queue_capacity, connections } =
        app.chat.gauges().await?;
    set(SESSIONS, sessions);
    set(TURNS, turns);
    set(STORAGE_BYTES, bytes);
    set(QUEUE_DEPTH, queued);
    set(QUEUE_CAPACITY, queue_capacity);
    if let Some(ConnectionGauges { limit, open, in_use, waiting }) = connections {
        set(CONNECTION_LIMIT, limit);
        set(CONNECTIONS, open);
        set(CONNECTIONS_IN_USE, in_use);
        set(CONNECTION_WAITERS, waiting);
    }
    set(STREAMS, u64::try_from(app.n_streams()).unwrap_or(u64::MAX));
    set(RUNS, u64::try_from(app.chat.n_open_runs()).unwrap_or(u64::MAX));
    let (role, RecoveryGauges { closed, left }) = (Role::Sweeper, app.chat.recovery_gauges());
    let does_lead = app.chat.leads(role);
    metrics::gauge!(LEADER, "role" => role.as_str()).set(f64::from(u8::from(does_lead)));
    set(LEASES, u64::try_from(app.chat.n_open_runs()).unwrap_or(u64::MAX).saturating_add(does_lead.into()));
    set(LEASES_LEFT, left);
    metrics::counter!(RECOVERED).absolute(closed);
    set(EVENT_LAG, app.feeds.lag(app.chat.newest_event().await?));
    Ok(())
}

/// An event of a change that is so old was delivered to a feed.
pub(crate) fn note_delivery(age: Duration) {
    metrics::histogram!(EVENT_DELIVERY_SECONDS).record(age);
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; counts stay far below 2^52")]
fn set(name: &'static str, value: u64) {
    metrics::gauge!(name).set(value as f64);
}

/// Any word can be a method; only known ones become labels, or a client could make as many as it likes.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "any",
    }
}

/// Times every request.
pub(crate) async fn time_request(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = if route == "unmatched" { "any" } else { method_label(&method) };
    let status = response.status().as_str().to_owned();
    let duration_ms = start.elapsed().as_secs_f64() * 1000.0;
    tracing::debug!(http.method = %method, http.route = %route, http.status = %status, duration_ms, "request");
    metrics::histogram!(REQUEST_DURATION_SECONDS, "route" => route, "method" => method, "status" => status)
        .record(start.elapsed());
    response
}
