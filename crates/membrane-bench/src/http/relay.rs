//! The least that can stand between a model and whoever asks it: every request goes on as it came, and what is answered
//! comes back as it comes. It keeps nothing, and reads nothing of what passes.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::net::TcpListener;

use super::child::announce;
use crate::Failure;

/// Where requests go on to.
struct Relay {
    client: reqwest::Client,
    model: String,
}

/// Relays to the model at this address until `stop` is done.
pub(super) async fn serve(
    listener: TcpListener,
    model: Option<&String>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let model = model.ok_or("a relay to nowhere")?;
    let relay = Relay { client: reqwest::Client::builder().build()?, model: format!("http://{model}") };
    announce(&listener)?;
    let router = Router::new().fallback(pass_on).with_state(Arc::new(relay));
    Ok(axum::serve(listener, router).with_graceful_shutdown(stop).await?)
}

async fn pass_on(State(relay): State<Arc<Relay>>, uri: Uri, body: Bytes) -> Response {
    let request = relay.client.post(format!("{}{}", relay.model, uri.path())).body(body);
    match request.header(header::CONTENT_TYPE, "application/json").send().await {
        Ok(answer) => {
            let pieces = stream::try_unfold(answer, async |mut answer| {
                Ok::<_, reqwest::Error>(answer.chunk().await?.map(|piece| (piece, answer)))
            });
            ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
