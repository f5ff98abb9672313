//! The signals that ask a server to stop. What it does then is in `cmd/serve.rs`.

use std::io;

use crate::failure::Failure;

/// SIGTERM and SIGINT; Ctrl-C alone where there are no signals.
#[cfg(unix)]
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|error| cannot_listen(&error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The next one's name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGTERM and SIGINT; Ctrl-C alone where there are no signals.
#[cfg(windows)]
pub(crate) struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        tokio::signal::windows::ctrl_c().map(Self).map_err(|error| cannot_listen(&error))
    }

    /// The next one's name.
    pub(crate) async fn next(&mut self) -> &'static str {
        self.0.recv().await;
        "Ctrl-C"
    }
}

fn cannot_listen(error: &io::Error) -> Failure {
    Failure::io("listen for signals", error)
}
