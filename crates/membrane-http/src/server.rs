//! Serving connections: time-outs for clients that are slow or gone, a bound on how many there are, and an end
//! that lets answers on their way arrive.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tower_service::Service;

/// How long a failing `accept` pauses, for instance when the process has no file handle left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long clients may take what is left to be sent after the turns have ended.
const GRACE: Duration = Duration::from_secs(5);

/// How connections are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerSettings {
    /// How many connections are served at once; further ones wait. 10,000 by default.
    pub max_connections: usize,
    /// How long a request's head may take, and a connection may be idle; 30 s by default.
    pub header_timeout: Duration,
    /// How long a client may take nothing of what is sent to it; 60 s by default.
    pub write_timeout: Duration,
    /// How long answers may still take when the server stops; 30 s by default.
    pub drain: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(30),
        }
    }
}

/// A router on its way to its clients.
#[derive(Debug)]
pub struct Server {
    router: Router,
    settings: ServerSettings,
}

impl Server {
    /// Serves `router`.
    pub fn new(router: Router, settings: ServerSettings) -> Self {
        Self { router, settings }
    }

    /// Serves the listener's connections until `stop` is done: then no more are taken, those that are idle are
    /// closed, and `drain` is awaited while the others come to their end; what is left after that is cut off.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
        drain: impl Future<Output = ()>,
    ) {
        let places = Arc::new(Semaphore::new(self.settings.max_connections.min(Semaphore::MAX_PERMITS)));
        let connections = GracefulShutdown::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = accept(&listener, &places) => accepted,
            };
            match accepted {
                Ok((stream, place)) => self.serve_connection(stream, place, &connections),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let closed = connections.shutdown();
        tokio::pin!(drain, closed);
        let ended = async {
            let are_closed = tokio::select! {
                () = &mut drain => false,
                () = &mut closed => true,
            };
            if are_closed {
                // Turns go on without readers.
                drain.await;
            } else {
                // Only clients are left, who get no more time because turns might have taken longer.
                let _ = tokio::time::timeout(GRACE, closed).await.inspect_err(|_| {
                    tracing::warn!("some clients did not take their answers in time");
                });
            }
        };
        if tokio::time::timeout(self.settings.drain + GRACE, ended).await.is_err() {
            tracing::warn!("turns and clients did not come to an end in time");
        }
    }

    fn serve_connection(
        &self,
        stream: TcpStream,
        place: OwnedSemaphorePermit,
        connections: &GracefulShutdown,
    ) {
        // Small frames must not wait for each other. A socket that refuses this is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.settings.write_timeout));
        let router = self.router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = router.clone().call(request.map(Body::new));
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.header_timeout)
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Clients come and go; it is no fault of anybody's.
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}
