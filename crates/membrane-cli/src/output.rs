//! Standard output, and notes on standard error. A reader who leaves ends the command quietly.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Where a command prints: one JSON document, or lines of text.
pub(crate) struct Output {
    stdout: BufWriter<io::Stdout>,
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { stdout: BufWriter::new(io::stdout()), json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// The command's one JSON document.
    pub(crate) fn document(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.stdout, document).map_err(|error| printing(&error.into()))?;
        self.line("")
    }

    /// A line of text.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.raw(line)?;
        self.raw("\n")
    }

    /// Text as it is.
    pub(crate) fn raw(&mut self, text: &str) -> Result<(), Failure> {
        self.stdout.write_all(text.as_bytes()).map_err(|error| printing(&error))
    }

    /// A remark for people that is no part of the answer; never in JSON.
    pub(crate) fn note(&mut self, note: &str) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        self.flush()?;
        writeln!(io::stderr().lock(), "{note}").map_err(|error| printing(&error))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(|error| printing(&error))
    }
}

fn printing(error: &io::Error) -> Failure {
    Failure::io("print", error)
}
