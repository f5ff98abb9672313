//! All routes in one place.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::routing::delete;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::ApiError;
use crate::handlers::{
    branches, checkpoints, crystals, events, evidence, operations, runs, sessions, tools, turns,
};
use crate::openapi::{ApiDoc, docs};
use crate::telemetry::time_request;

/// The whole interface.
pub fn router(app: App) -> Router {
    let (routes, document) = documented().split_for_parts();
    let origins = app.settings.origins.layer();
    let router = routes
        // A session may be called like this; the fixed paths must not hide it from whoever deletes it.
        .route("/api/chat/session", delete(sessions::delete_session_called_session))
        .route("/api/chat/sessions", delete(sessions::delete_session_called_sessions))
        .route("/api/chat/events", delete(sessions::delete_session_called_events))
        .merge(docs(document))
        .fallback(|| async { ApiError::route_not_found() })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        // Bodies are limited where they are read.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(time_request))
        .with_state(app);
    match origins {
        Some(origins) => router.layer(origins),
        None => router,
    }
}

/// The routes, each with its part of the OpenAPI document.
pub(crate) fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(sessions::create_session))
        .routes(routes!(sessions::get_session))
        .routes(routes!(sessions::list_sessions, sessions::create_session_alias))
        .routes(routes!(sessions::get_session_alias))
        .routes(routes!(events::events))
        .routes(routes!(branches::branches))
        .routes(routes!(sessions::delete_session, sessions::patch_session))
        .routes(routes!(sessions::list_turns))
        .routes(routes!(runs::send))
        .routes(routes!(runs::attach))
        .routes(routes!(runs::cancel))
        .routes(routes!(tools::answer_tool))
        .routes(routes!(tools::approve))
        .routes(routes!(tools::deny))
        .routes(routes!(turns::edit))
        .routes(routes!(turns::regenerate))
        .routes(routes!(turns::alternatives))
        .routes(routes!(branches::fork))
        .routes(routes!(branches::rewind))
        .routes(routes!(branches::merge))
        .routes(routes!(branches::diff))
        .routes(routes!(checkpoints::create_checkpoint))
        .routes(routes!(checkpoints::list_checkpoints))
        .routes(routes!(checkpoints::delete_checkpoint))
        .routes(routes!(checkpoints::restore))
        .routes(routes!(evidence::get_evidence))
        .routes(routes!(evidence::give_feedback))
        .routes(routes!(crystals::save_crystal, crystals::get_crystal))
        .routes(routes!(operations::health))
        .routes(routes!(operations::ready))
        .routes(routes!(operations::metrics))
}
