//! What every handler shares.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use membrane::Chat;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;
use crate::origins::Origins;
use crate::request::RequestLimits;
use crate::stream::feeds::Feeds;
use crate::telemetry::Telemetry;

/// What the interface takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// The largest body, in bytes; 32 MiB by default. A message of 4 MiB may be six times as long in JSON.
    pub max_body_bytes: usize,
    /// How long a body may pause; 60 s by default.
    pub body_timeout: Duration,
    /// How many streams may be open at once; 10,000 by default.
    pub max_streams: usize,
    /// How often a stream of numbered events shows that it is alive; every 15 s by default.
    pub heartbeat: Duration,
    /// Which pages of other origins may use the interface; none by default.
    pub origins: Origins,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 * 1024 * 1024,
            body_timeout: Duration::from_secs(60),
            max_streams: 10_000,
            heartbeat: Duration::from_secs(15),
            origins: Origins::None,
        }
    }
}

/// What every handler shares. A cheap handle.
#[derive(Debug, Clone)]
pub struct App {
    pub(crate) chat: Chat,
    pub(crate) settings: HttpSettings,
    pub(crate) telemetry: Telemetry,
    streams: Arc<Semaphore>,
    pub(crate) feeds: Feeds,
}

impl App {
    /// The interface to `chat`; `telemetry` shows what `/metrics` tells.
    pub fn new(chat: Chat, settings: HttpSettings, telemetry: Telemetry) -> Self {
        let streams = Arc::new(Semaphore::new(settings.max_streams.min(Semaphore::MAX_PERMITS)));
        Self { chat, settings, telemetry, streams, feeds: Feeds::default() }
    }

    /// A place among the open streams, to be held as long as the stream is.
    pub(crate) fn open_stream(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.streams.clone().try_acquire_owned().map_err(|_| {
            let max = self.settings.max_streams;
            ApiError::unavailable(
                format!("{max} streams are open, and no more are taken; try again in a moment"),
                Duration::from_secs(1),
            )
        })
    }

    /// How many streams are open.
    pub(crate) fn n_streams(&self) -> usize {
        self.settings.max_streams.saturating_sub(self.streams.available_permits())
    }
}

impl FromRef<App> for RequestLimits {
    fn from_ref(app: &App) -> Self {
        Self { max_body_bytes: app.settings.max_body_bytes, body_timeout: app.settings.body_timeout }
    }
}
