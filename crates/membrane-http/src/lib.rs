//! The HTTP interface: routes, JSON shapes, streams. What an operation does is decided in `membrane`.

pub mod error;
pub mod request;
