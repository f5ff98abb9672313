//! What happens to sessions, for pages that follow.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::schema::ReadRefusals;
use crate::app::App;
use crate::error::ApiError;
use crate::stream::feed;

/// Follow what happens to sessions, whoever does it, as server-sent events.
///
/// `id: <number>` and `data: {"type":"session.created","session_id":…,"version":n}`. The first one is
/// `{"type":"start"}`; or, with `Last-Event-ID`, what came after that. `{"type":"reset"}` when events were missed
/// that are no longer kept: load what is shown anew.
#[utoipa::path(
    get, path = "/api/chat/events", tag = "sessions",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "go on after this event; from now on without it"),
    ),
    responses(
        (status = 200, description = "Events as they happen", body = String, content_type = "text/event-stream"),
        ReadRefusals
    )
)]
pub(crate) async fn events(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let permit = app.open_stream()?;
    let place = feed::place(&headers);
    let follower = app.chat.follow_events(place).await?;
    let feed = app.feeds.open(follower.place());
    Ok(feed::response(follower, place.is_none(), app.settings.heartbeat, (feed, permit)))
}
