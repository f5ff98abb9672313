//! Reading requests as FastAPI and pydantic 2 do, so that clients see the errors that they know.
//!
//! [`Incoming`] is the request with its body; [`Fields`] reads a JSON body or a query field by field and
//! collects what is wrong; there is no struct per request:
//! what serde says about a wrong field is not what pydantic says.
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
mod query;
mod scalars;

pub use body::RequestLimits;
pub use field_error::{FieldError, Step};
pub use fields::Fields;
pub use idempotency::idempotency_key;
pub use incoming::{EmptyBody, Incoming, KeyCovers};
pub use integer::Bounds;
