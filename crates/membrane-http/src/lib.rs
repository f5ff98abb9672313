//! The HTTP interface: routes, JSON, streams. What an operation does is decided in `membrane`.
//!
//! [`router`] is the whole interface as an axum router; [`Server`] serves it on a listener until it is told
//! to stop. Nothing below this crate knows that HTTP exists.

mod answer;
mod app;
pub mod error;
mod handlers;
mod openapi;
mod origins;
pub mod request;
mod routes;
mod server;
mod stream;
pub mod telemetry;
pub mod wire;

pub use app::{App, HttpSettings};
pub use openapi::document;
pub use origins::Origins;
pub use routes::router;
pub use server::{Server, ServerSettings};
