//! The server that ships, put together as `membrane serve` does it, with the settings that ship.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use membrane::responder::Echo;
use membrane::responder::provider::{Account, Provider, ProviderKind, ProviderOptions};
use membrane::{Chat, Responder};
use membrane_http::telemetry::Telemetry;
use membrane_http::{App, HttpSettings, Server, ServerSettings, router};
use membrane_sqlite::{SqliteOptions, SqliteStore};
use tokio::net::TcpListener;

use super::child::announce;
use crate::Failure;

/// How often measurements are tidied up, and runs of dead servers looked for.
const UPKEEP: Duration = Duration::from_secs(5);
const RECOVER: Duration = Duration::from_secs(10);

/// Serves a keep until `stop` is done.
pub(super) async fn serve(
    path: &Path,
    listener: TcpListener,
    model: Option<&String>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::stderr).init();
    let telemetry = Telemetry::install()?;
    membrane_sqlite::telemetry::describe();
    let store = SqliteStore::open(SqliteOptions::at(path)).await?;
    let responder: Arc<dyn Responder> = match model {
        None => Arc::new(Echo::default()),
        Some(address) => Arc::new(provider(address)?),
    };
    let chat = Chat::builder(Arc::new(store)).responder(responder).build();
    let upkeep = tokio::spawn(keep_house(chat.clone(), telemetry.clone()));
    let app = App::new(chat.clone(), HttpSettings::default(), telemetry);
    announce(&listener)?;
    let settings = ServerSettings::default();
    Server::new(router(app), settings).serve(listener, stop, chat.drain(settings.drain)).await;
    upkeep.abort();
    Ok(chat.close().await?)
}

/// A server that speaks OpenAI's API, here.
fn provider(address: &str) -> Result<Provider, Failure> {
    let account = Account { base_url: Some(format!("http://{address}/v1")), api_key: None };
    let options = ProviderOptions {
        accounts: [(ProviderKind::OpenAi, account)].into(),
        ..ProviderOptions::new(ProviderKind::OpenAi, "bench")
    };
    Ok(Provider::new(options)?)
}

async fn keep_house(chat: Chat, telemetry: Telemetry) {
    let (mut upkeep, mut recover) = (tokio::time::interval(UPKEEP), tokio::time::interval(RECOVER));
    loop {
        tokio::select! {
            _ = upkeep.tick() => telemetry.upkeep(),
            _ = recover.tick() => if let Err(error) = chat.recover_runs().await {
                tracing::warn!(%error, "runs of dead servers could not be looked for");
            },
        }
    }
}
