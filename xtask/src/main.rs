//! The repository's own rules and its one test command, `cargo xtask test`.
//!
//! `tidy` holds the rules, as tests of this program; the other rooms run things: the test command, the planted
//! defects, and what both need. Not here: anything of the product, which neither imports this crate nor is
//! imported by it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "telling what it runs and finds is its job")]

mod arguments;
mod campaigns;
mod defects;
mod failure;
mod hygiene;
mod junit;
mod libtest;
mod needs;
mod process;
mod repository;
mod runner;
mod seed;
mod servers;
mod steps;
mod test_command;
#[cfg(test)]
mod tidy;

use std::process::ExitCode;

use arguments::{Request, USAGE};

fn main() -> ExitCode {
    let outcome = match arguments::parse(std::env::args().skip(1)) {
        Ok(Request::Usage) => {
            print!("{USAGE}");
            Ok(())
        }
        Ok(Request::Test(options)) => test_command::run(options),
        Ok(Request::Defects(options)) => defects::run(&options),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
