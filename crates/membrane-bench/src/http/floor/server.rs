//! The floor's two routes, served as Membrane serves its own: hyper's HTTP/1, small frames sent at once.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as Segment, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use membrane::core::time::{Clock, SystemClock};
use membrane::responder::Echo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::keep::{Begin, Finish, Keep, Step};
use super::wire;
use crate::Failure;
use crate::floor::FloorTurn;
use crate::http::child::announce;
use crate::measure::now_text;

/// Who answers, and until when the answer is its business.
const OWNER: &str = "instance-00000000000000000000000000000001";
const TOKEN: i64 = 1;
const LEASE: Duration = Duration::from_secs(30);

/// How long a request's head may take, as in Membrane.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct App {
    keep: Keep,
    n_runs: Arc<AtomicU64>,
}

#[derive(Deserialize)]
struct NewMessage {
    message: String,
}

/// Serves a file that is there until `stop` is done.
pub(in crate::http) async fn serve(
    path: &Path,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let app = App { keep: Keep::start(path)?, n_runs: Arc::default() };
    let router = Router::new()
        .route("/api/chat/{id}/send", post(send))
        .route("/api/chat/session/{id}", get(get_session))
        .with_state(app);
    announce(&listener)?;
    tokio::pin!(stop);
    loop {
        let (stream, _) = tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => accepted?,
        };
        stream.set_nodelay(true)?;
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        // Clients come and go.
        tokio::spawn(async move { connection.await.ok() });
    }
}

/// One commit before anything is answered, the whole answer in one frame, a second commit, the last frame.
async fn send(State(app): State<App>, Segment(session): Segment<String>, body: Bytes) -> Response {
    let Ok(NewMessage { message }) = serde_json::from_slice(&body) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    let started_at = SystemClock.now();
    let begin = Begin {
        run: format!("run-{:032x}", app.n_runs.fetch_add(1, Ordering::Relaxed)),
        session,
        message,
        owner: OWNER,
        token: TOKEN,
        lease_until: started_at.plus(LEASE).to_string(),
    };
    let (run, session, user) = (begin.run.clone(), begin.session.clone(), begin.message.clone());
    let Some(number) = app.keep.write(Step::Begin(begin)).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let reply = Echo::text(&user);
    let content = frame(&wire::content(&reply));
    let finish = async move {
        let started_at = started_at.to_string();
        let turn = Arc::new(FloorTurn { number, user, reply, started_at, completed_at: now_text() });
        let finish = Finish { run, token: TOKEN, session, turn: turn.clone() };
        let turn_count = app.keep.write(Step::Finish(finish)).await?;
        Some(frame(&wire::done(turn_count, &turn)))
    };
    let frames = stream::unfold((Some(content), Some(finish)), |(content, mut finish)| async move {
        match content {
            Some(content) => Some((content, (None, finish))),
            None => Some((finish.take()?.await?, (None, None))),
        }
    });
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL.as_str(), "no-cache"),
        ("x-accel-buffering", "no"),
    ];
    (headers, Body::from_stream(frames.map(Ok::<_, Infallible>))).into_response()
}

async fn get_session(State(app): State<App>, Segment(id): Segment<String>) -> Response {
    let Some(loaded) = app.keep.load(id).await else { return StatusCode::NOT_FOUND.into_response() };
    match serde_json::to_vec(&wire::session(&loaded)) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// One `data:` line.
fn frame(event: &impl Serialize) -> Bytes {
    let mut text = b"data: ".to_vec();
    // Texts and numbers, into a vector: that does not fail.
    let _ = serde_json::to_writer(&mut text, event);
    text.extend_from_slice(b"\n\n");
    text.into()
}
