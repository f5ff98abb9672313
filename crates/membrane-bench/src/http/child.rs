//! Servers in processes of their own, so that what they use is theirs alone: the measuring side and the
//! serving side of such a process. Linux tells what a process uses, in `/proc`.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{floor, membrane, relay};
use crate::Failure;

/// The first argument of a process that serves; the kind of server and its file follow.
pub(crate) const SERVE: &str = "serve-for-benchmark";

/// Linux counts a process's time in hundredths of a second, whatever its own clock does.
const TICKS_PER_SECOND: u32 = 100;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Floor,
    Membrane,
    /// The same with a model behind it, whose address follows the file.
    MembraneOfModel,
    /// What does nothing but pass a model's answers on; the file is not looked at.
    Relay,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Membrane => "membrane",
            Self::MembraneOfModel => "membrane-of-model",
            Self::Relay => "relay",
        }
    }
}

/// A server that runs as long as this does.
pub(crate) struct Child {
    process: std::process::Child,
    addr: SocketAddr,
    /// The process ends when this is closed, also because we are gone.
    stdin: ChildStdin,
}

impl Child {
    /// Starts this program as a server on a file.
    pub(crate) fn start(kind: Kind, path: &Path) -> Result<Self, Failure> {
        Self::start_with(kind, path, None)
    }

    /// The same with a model at this address.
    pub(crate) fn start_of_model(path: &Path, model: SocketAddr) -> Result<Self, Failure> {
        Self::start_with(Kind::MembraneOfModel, path, Some(model.to_string()))
    }

    /// Starts a relay to a model.
    pub(crate) fn start_relay(model: SocketAddr) -> Result<Self, Failure> {
        Self::start_with(Kind::Relay, Path::new("-"), Some(model.to_string()))
    }

    fn start_with(kind: Kind, path: &Path, model: Option<String>) -> Result<Self, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([SERVE, kind.name()])
            .arg(path)
            .args(model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take().ok_or("a server without an input")?;
        let stdout = process.stdout.take().ok_or("a server without an output")?;
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said)?;
        let addr = said.trim().parse().map_err(|_| format!("the {} server did not start", kind.name()))?;
        Ok(Self { process, addr, stdin })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How long it has kept processors busy, for itself and in the kernel.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        cpu(&self.tell("stat")?)
    }

    /// The most memory that it has had, in MB.
    pub(crate) fn peak_mb(&self) -> Result<f64, Failure> {
        peak_mb(&self.tell("status")?)
    }

    /// How many bytes it has written to files.
    pub(crate) fn written_bytes(&self) -> Result<u64, Failure> {
        let io = self.tell("io")?;
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
        Ok(line.ok_or("a process that does not say what it wrote")?.trim().parse()?)
    }

    /// Ends it, and waits until it has let go of its files.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        let Self { mut process, stdin, .. } = self;
        drop(stdin);
        let status = process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a server ended with {status}").into()) }
    }

    fn tell(&self, what: &str) -> Result<String, Failure> {
        let path = format!("/proc/{}/{what}", self.process.id());
        std::fs::read_to_string(&path).map_err(|error| format!("read {path}: {error}").into())
    }
}

fn cpu(stat: &str) -> Result<Duration, Failure> {
    // The second field is a name in parentheses that may hold anything.
    let (_, fields) = stat.rsplit_once(')').ok_or("a process without a name")?;
    let mut ticks = 0;
    for ticked in fields.split_whitespace().skip(11).take(2) {
        ticks += ticked.parse::<u32>()?;
    }
    Ok(Duration::from_secs(1) * ticks / TICKS_PER_SECOND)
}

/// The most memory that a process has had, in MB, by its `/proc/…/status`.
pub(crate) fn peak_mb(status: &str) -> Result<f64, Failure> {
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("a process without memory")?;
    let kib: u32 = line.trim().trim_end_matches("kB").trim_end().parse()?;
    Ok(f64::from(kib) * 1024.0 / 1e6)
}

/// Serves, in a process that [`Child::start`] made; `args` are the server's name and its file.
pub(crate) fn serve(args: &[String]) -> Result<(), Failure> {
    let [kind, path, model @ ..] = args else { return Err("name a server and its file".into()) };
    let (path, model) = (Path::new(path), model.first());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let kinds = [Kind::Floor, Kind::Membrane, Kind::MembraneOfModel, Kind::Relay];
        match kinds.into_iter().find(|known| known.name() == kind) {
            Some(Kind::Floor) => floor::serve(path, listener, parent_gone()).await,
            Some(Kind::Membrane | Kind::MembraneOfModel) => {
                membrane::serve(path, listener, model, parent_gone()).await
            }
            Some(Kind::Relay) => relay::serve(listener, model, parent_gone()).await,
            None => Err(format!("{kind:?} is no server").into()),
        }
    })
}

/// Tells the parent that its requests are awaited.
pub(super) fn announce(listener: &TcpListener) -> Result<(), Failure> {
    println!("{}", listener.local_addr()?);
    Ok(())
}

/// Done when the parent has closed our input.
async fn parent_gone() {
    let (gone, is_gone) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        // Nothing is ever sent; whether it ends or fails, nobody is there any more.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(gone);
    });
    let _ = is_gone.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_of_a_process_is_read() {
        let stat = "77 (a (name) 1 2) S 1 77 77 0 -1 4194304 100 200 0 0 150 25 9 9 20 0 5 0 123 456 789";
        assert_eq!(cpu(stat).unwrap(), Duration::from_millis(1750));
        assert!(cpu("77").is_err());
        let status = "Name:\ta\nVmPeak:\t  900 kB\nVmHWM:\t   20000 kB\nVmRSS:\t  100 kB\n";
        assert!((peak_mb(status).unwrap() - 20.48).abs() < 1e-9);
        assert!(peak_mb("Name:\ta\n").is_err());
    }
}
