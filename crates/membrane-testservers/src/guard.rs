//! Who cleans up when nobody else can: a shell that waits for the end of a pipe.
//!
//! The other end is held by the process that started the server. When that one lets go, or is killed, however hard,
//! the shell ends the server and removes its folder. It is in a process group of its own, so that what is typed
//! at the terminal does not reach it. Not here: stopping a server while its owner lives.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::error::ServerError;

/// `$1` is the folder, `$2` the signal. Each line names the processes there are: the server itself first, then
/// those that may stand still.
const SCRIPT: &str = r#"
pids=
while read -r line; do pids=$line; done
main=${pids%% *}
if [ -n "$main" ]; then
    kill -s CONT $pids
    kill -s "$2" "$main"
    n=0
    while kill -s 0 "$main" && [ "$n" -lt 100 ]; do
        sleep 0.1
        n=$((n + 1))
    done
    kill -s KILL "$main"
fi 2>/dev/null
exec rm -rf -- "$1"
"#;

/// The shell that watches over a folder and the server in it. Dropping it removes both.
#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Begins to watch over `folder`, whose server is ended by `signal`.
    pub(crate) fn start(folder: &Path, signal: Signal) -> Result<Self, ServerError> {
        let signal = if signal == Signal::QUIT { "QUIT" } else { "KILL" };
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "membrane-testservers"])
            .arg(folder)
            .arg(signal)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(ServerError::io("start the shell that watches over a server"))?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Tells which processes there are now; none if the server has ended.
    pub(crate) fn tell(&mut self, pids: &[Pid]) -> Result<(), ServerError> {
        let pids: Vec<String> = pids.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
        match &mut self.pipe {
            Some(pipe) => {
                writeln!(pipe, "{}", pids.join(" ")).map_err(ServerError::io("tell the shell of a server"))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        // It fails only if somebody else took the child's end.
        let _ = self.shell.wait();
    }
}
