//! Reading requests as FastAPI and pydantic 2 do, so that clients see the errors that they know.
//!
//! [`Incoming`] is the request with its body; [`Fields`] reads a JSON body or a query field by field and
//! collects what is wrong; [`PathId`] is the session that the path names. There is no struct per request:
//! what serde says about a wrong field is not what pydantic says.
//!
//! ```
//! use axum::Router;
//! use axum::extract::{FromRef, State};
//! use axum::routing::post;
//! use membrane::{Chat, WriteOptions};
//! use membrane_http::error::ApiError;
//! use membrane_http::request::{EmptyBody, Incoming, KeyCovers, PathId, RequestLimits};
//!
//! #[derive(Clone)]
//! struct App {
//!     chat: Chat,
//!     limits: RequestLimits,
//! }
//!
//! impl FromRef<App> for RequestLimits {
//!     fn from_ref(app: &App) -> Self {
//!         app.limits
//!     }
//! }
//!
//! async fn rewind(
//!     State(app): State<App>,
//!     PathId(id): PathId,
//!     request: Incoming,
//! ) -> Result<String, ApiError> {
//!     let mut fields = request.fields(EmptyBody::Refused)?;
//!     let turns: u64 = fields.integer("turns", 1..);
//!     fields.finish()?; // what was read may be used from here on
//!     let key = request.client_key(KeyCovers::Body)?;
//!     let session = app.chat.rewind(&id, turns, WriteOptions { expected_version: None, key }).await?;
//!     Ok(session.id.to_string())
//! }
//!
//! let routes: Router<App> = Router::new().route("/{id}/rewind", post(rewind));
//! ```
//!
//! A `GET` that needs no body takes `RawQuery` from axum and [`Fields::of_query`]. Looking anything up is not
//! here.

mod body;
mod collect;
mod field_error;
mod fields;
mod idempotency;
mod incoming;
mod integer;
mod json;
mod path;
mod query;
mod scalars;

pub use body::RequestLimits;
pub use field_error::{FieldError, Step};
pub use fields::Fields;
pub use idempotency::idempotency_key;
pub use incoming::{EmptyBody, Incoming, KeyCovers};
pub use integer::Bounds;
pub use path::{PathCall, PathCheckpoint, PathId, PathTurn};
