//! The signals that ask a server to stop. What it does then is in `cmd/serve.rs`.

use std::io;

use tokio::sync::watch;

use crate::failure::Failure;

/// How many signals have come.
#[derive(Debug, Clone)]
pub(crate) struct Heard(watch::Receiver<u32>);

/// Counts signals from now on. One task hears all of them, so that a second one counts however soon it follows.
pub(crate) fn listen() -> Result<Heard, Failure> {
    let mut signals = Signals::new()?;
    let (count, heard) = watch::channel(0_u32);
    tokio::spawn(async move {
        loop {
            let signal = signals.next().await;
            match *count.borrow() {
                0 => tracing::info!(signal, "stopping: no more messages are taken"),
                1 => tracing::info!(signal, "stopping at once: turns under way are interrupted"),
                _ => {}
            }
            count.send_modify(|count| *count = count.saturating_add(1));
        }
    });
    Ok(Heard(heard))
}

impl Heard {
    /// Returns once so many signals have come.
    pub(crate) async fn at_least(mut self, n_signals: u32) {
        // The task that counts lives as long as the runtime.
        let _ = self.0.wait_for(|count| *count >= n_signals).await;
    }
}

/// SIGTERM and SIGINT; Ctrl-C alone where there are no signals.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|error| cannot_listen(&error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The next one's name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGTERM and SIGINT; Ctrl-C alone where there are no signals.
#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> Result<Self, Failure> {
        tokio::signal::windows::ctrl_c().map(Self).map_err(|error| cannot_listen(&error))
    }

    /// The next one's name.
    async fn next(&mut self) -> &'static str {
        self.0.recv().await;
        "Ctrl-C"
    }
}

fn cannot_listen(error: &io::Error) -> Failure {
    Failure::io("listen for signals", error)
}
