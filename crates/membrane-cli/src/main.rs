//! The `membrane` binary: reads the arguments, opens the keep, runs one command, says how it ended.
//!
//! What commands do is in `cmd/`, what they print in `membrane_http::wire` (JSON) and `text.rs` (for people); which
//! database there is, in `config/` and `wiring.rs`. No rule of the domain is here.

mod args;
mod cmd;
mod config;
mod failure;
mod old_report;
mod old_source;
mod output;
mod signals;
mod text;
mod wiring;
mod zone;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::output::Output;

/// The system's allocator spent a sixth of the time of sends: tasks are a few kilobytes, which it keeps no quick
/// lists of, and what one thread allocates another frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::new(cli.json);
    let ended = run(cli, &mut output).and_then(|()| output.flush());
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has gone: nobody is left to tell.
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed before the failure still goes out; a second failure would say no more.
            let _ = output.flush();
            report(&failure, output.is_json())
        }
    }
}

fn run(cli: Cli, output: &mut Output) -> Result<(), Failure> {
    if let Command::Completions { shell } = cli.command {
        return cmd::completions(shell, output);
    }
    let mut builder = match cli.command {
        Command::Serve(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().map_err(|error| Failure::io("start the runtime", &error))?;
    runtime.block_on(cmd::run(cli, output))
}

fn report(failure: &Failure, json: bool) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    let said = if json {
        writeln!(stderr, "{}", failure.document())
    } else {
        writeln!(stderr, "membrane: {}", text::printable(&failure.to_string()))
    };
    // With nowhere to say it, the exit code says it.
    drop(said);
    ExitCode::from(failure.exit().code())
}
