//! `membrane-testservers`: what the test command needs of this crate, as a program.
//!
//! Not here: installing anything.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it answers the test command through its output"
)]

use std::io::{self, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use membrane_testservers::model::{ModelOptions, ModelServer};
use membrane_testservers::{Postgres, programs};

const USAGE: &str = "\
membrane-testservers missing
    prints the servers' programs that this machine lacks: a line for each, `PACKAGE<tab>what is missing`
membrane-testservers postgres
    starts a throwaway PostgreSQL, prints its URL in one line, and stops it when standard input ends
membrane-testservers model [--port N] [--pace-ms N]
    starts a model server that repeats what it is told, with a pause before each word, prints its URL in one line, and stops it
    when standard input ends
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["missing"] => {
            for missing in programs::missing() {
                println!("{}\t{}", missing.package, missing.error);
            }
            Ok(())
        }
        ["postgres"] => serve(),
        ["model", ref options @ ..] => serve_model(options),
        _ => Err(USAGE.trim_end().to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    let postgres = Postgres::start().map_err(|error| error.to_string())?;
    println!("{}", postgres.admin_url());
    wait_for_the_end()?;
    postgres.stop_immediately().map_err(|error| error.to_string())
}

fn serve_model(arguments: &[&str]) -> Result<(), String> {
    let mut options = ModelOptions::default();
    for pair in arguments.chunks(2) {
        let number =
            |value: &str| value.parse::<u16>().map_err(|error| format!("{}: {value:?}: {error}", pair[0]));
        match *pair {
            ["--port", value] => options.port = number(value)?,
            ["--pace-ms", value] => options.pace = Duration::from_millis(number(value)?.into()),
            _ => return Err(USAGE.trim_end().to_owned()),
        }
    }
    let server = ModelServer::start_with(options).map_err(|error| error.to_string())?;
    println!("{}", server.url());
    wait_for_the_end()
}

/// Returns when standard input ends.
fn wait_for_the_end() -> Result<(), String> {
    let mut rest = Vec::new();
    io::stdin().read_to_end(&mut rest).map_err(|error| format!("cannot wait for the end: {error}"))?;
    Ok(())
}
