//! `serve`: the keep over HTTP, until it is told to stop.

use std::io;
use std::time::Duration;

use membrane::{Chat, RunSettings};
use membrane_http::telemetry::Telemetry;
use membrane_http::{App, HttpSettings, Server, ServerSettings, router};
use serde_json::json;
use tokio::net::TcpListener;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::housekeeping::{self, Rounds};
use super::upgraded;
use crate::args::Serve;
use crate::config::{LogLevel, Settings};
use crate::failure::Failure;
use crate::output::Output;
use crate::signals::{self, Heard};
use crate::wiring::{self, Opened, UpgradeOptions};
use crate::zone;

pub(crate) async fn serve(settings: &Settings, args: &Serve, output: &mut Output) -> Result<(), Failure> {
    let zone = zone::naive(args.naive_timezone.as_deref())?;
    log_to_stderr(settings.log.level);
    let telemetry = Telemetry::install().map_err(|error| Failure::failed("failed", error.to_string()))?;
    wiring::describe_metrics();
    let signals = signals::listen()?;
    let responder = wiring::responder(settings)?;
    let addr = settings.server.addr;
    let listener = TcpListener::bind(addr).await.map_err(|error| {
        let why = Failure::io(&format!("listen on {addr}"), &error);
        why.after("name another address with --addr, or stop what listens there")
    })?;
    let old_files = UpgradeOptions { naive_zone: zone, force: false };
    let Opened { store, upgrade } = wiring::open_to_serve(settings, old_files).await?;
    if let Some(upgrade) = upgrade {
        upgraded::note(&upgrade, output)?;
    }
    let chat = Chat::builder(store)
        .limits(settings.limits)
        .responder(responder)
        .project_models(wiring::project_models(settings))
        .runs(run_settings(settings))
        .build();
    housekeeping::recover(&chat).await;
    let addr = listener.local_addr().map_err(|error| Failure::io("listen", &error))?;
    announce(addr, settings, output)?;
    let rounds = Rounds { recover: settings.runs.recover, renew: settings.runs.renew };
    let upkeep = tokio::spawn(housekeeping::keep_house(chat.clone(), telemetry.clone(), rounds));
    let app = App::new(chat.clone(), http_settings(settings), telemetry);
    let server = Server::new(router(app), server_settings(settings));
    let drain = drain(chat.clone(), settings.server.drain, signals.clone());
    server.serve(listener, signals.at_least(1), drain).await;
    upkeep.abort();
    chat.close().await?;
    tracing::info!("stopped");
    Ok(())
}

/// Once a signal has come, waits for the turns under way; a second one interrupts them.
async fn drain(chat: Chat, patience: Duration, signals: Heard) {
    signals.clone().at_least(1).await;
    tokio::select! {
        () = chat.drain(patience) => {}
        () = signals.at_least(2) => chat.drain(Duration::ZERO).await,
    }
}

fn announce(addr: std::net::SocketAddr, settings: &Settings, output: &mut Output) -> Result<(), Failure> {
    let url = format!("http://{addr}");
    let database = settings.database.shown();
    if output.is_json() {
        // In one line, which whoever starts the server can wait for: the output does not end before the server.
        output.line(&json!({"listening": url, "database": database}).to_string())?;
    } else {
        output.line(&format!("listening on {url}, keeping sessions in {database}; see {url}/docs"))?;
    }
    output.flush()
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // It logs what models say, and warns of what is no trouble; what went wrong is told by ourselves.
    let filter = Targets::new().with_default(level).with_target("genai", LevelFilter::OFF);
    let ansi = io::IsTerminal::is_terminal(&io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(io::stderr);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

fn run_settings(settings: &Settings) -> RunSettings {
    RunSettings {
        lease_for: settings.runs.lease,
        renew_every: settings.runs.renew,
        flush_every: settings.runs.flush,
        keep_ended_for: settings.runs.keep_ended,
        context_tokens: settings.model.context_size,
        ..RunSettings::default()
    }
}

fn http_settings(settings: &Settings) -> HttpSettings {
    HttpSettings {
        max_body_bytes: settings.server.max_body_bytes,
        body_timeout: settings.server.body_timeout,
        max_streams: settings.server.max_streams,
        heartbeat: settings.server.heartbeat,
        origins: settings.server.cors_origins.clone(),
    }
}

fn server_settings(settings: &Settings) -> ServerSettings {
    ServerSettings {
        max_connections: settings.server.max_connections,
        header_timeout: settings.server.header_timeout,
        write_timeout: settings.server.write_timeout,
        drain: settings.server.drain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_settings;

    #[test]
    fn what_is_not_set_is_as_the_parts_have_it() {
        let settings = default_settings();
        assert_eq!(run_settings(&settings), RunSettings::default());
        assert_eq!(http_settings(&settings), HttpSettings::default());
        assert_eq!(server_settings(&settings), ServerSettings::default());
        let echo = wiring::responder(&settings).unwrap();
        assert_eq!(echo.model(), membrane::Responder::model(&membrane::responder::Echo::default()));
    }
}
