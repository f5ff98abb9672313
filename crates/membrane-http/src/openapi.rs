//! The OpenAPI document, made from the handlers, and the page on which it can be browsed.

use axum::Router;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::app::App;
use crate::handlers::schema::{Refusal, RefusalDetail, WrongField};
use crate::routes::documented;

/// What the document says of the whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Membrane",
        description = "Keeps chat sessions: durable, branching, with evidence that follows the turns.\n\n\
            Streams, resuming, idempotency keys and forks are described in docs/api.md.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(Refusal, RefusalDetail, WrongField)),
    tags(
        (name = "sessions", description = "Create, read, list, delete"),
        (name = "turns", description = "Send a message, listen to the answer, stop it"),
        (name = "tools", description = "What came of a tool that the model called; yes and no"),
        (name = "branches", description = "Fork, rewind, merge, compare; say something else at a point"),
        (name = "checkpoints", description = "Leave a mark and return to it"),
        (name = "evidence", description = "How sure a session is, and what users say of its turns"),
        (name = "crystals", description = "What remains of a session"),
        (name = "operations", description = "For whoever runs the server"),
    )
)]
pub(crate) struct ApiDoc;

/// The OpenAPI document.
pub fn document() -> Document {
    documented().into_openapi()
}

/// The document at `/openapi.json` and the page at `/docs`.
pub(crate) fn docs(document: Document) -> Router<App> {
    // Else the page has a validator on the net fetch the document.
    let config = Config::default().validator_url("none");
    SwaggerUi::new("/docs").url("/openapi.json", document).config(config).into()
}
