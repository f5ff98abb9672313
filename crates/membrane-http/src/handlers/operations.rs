//! For whoever runs the server: is it alive, can it work, what does it measure.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::schema::{Health, ReadRefusals};
use crate::answer;
use crate::app::App;
use crate::error::ApiError;
use crate::telemetry;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether the process is alive. Asks nobody.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, description = "It is", body = Health)))]
pub(crate) async fn health() -> Response {
    answer::json(StatusCode::OK, &Health { status: "ok", version: VERSION })
}

/// Whether the server can do its work: the store answers, and it is not about to stop.
#[utoipa::path(
    get, path = "/ready", tag = "operations",
    responses((status = 200, description = "It is", body = Health), ReadRefusals)
)]
pub(crate) async fn ready(State(app): State<App>) -> Result<Response, ApiError> {
    app.chat.ready().await?;
    Ok(answer::json(StatusCode::OK, &Health { status: "ready", version: VERSION }))
}

/// What the server measures, in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"), ReadRefusals)
)]
pub(crate) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    telemetry::refresh(&app).await?;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], app.telemetry.render()).into_response())
}
