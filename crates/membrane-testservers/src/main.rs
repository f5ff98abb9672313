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

use membrane_testservers::{Postgres, programs};

const USAGE: &str = "\
membrane-testservers missing
    prints the servers' programs that this machine lacks: a line for each, `PACKAGE<tab>what is missing`
membrane-testservers postgres
    starts a throwaway PostgreSQL, prints its URL in one line, and stops it when standard input ends
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
    let mut rest = Vec::new();
    io::stdin().read_to_end(&mut rest).map_err(|error| format!("cannot wait for the end: {error}"))?;
    postgres.stop_immediately().map_err(|error| error.to_string())
}
