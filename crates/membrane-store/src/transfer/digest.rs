//! The hash of a table's rows in the order of their keys.

use std::fmt::Write;

use sha2::{Digest as _, Sha256};

use super::value::Value;

/// SHA-256 of rows, and how many they were.
#[derive(Debug, Default, Clone)]
pub struct Digest {
    hash: Sha256,
    rows: u64,
    buffer: Vec<u8>,
}

impl Digest {
    /// Takes in the next row.
    pub fn add(&mut self, row: &[Value]) {
        self.buffer.clear();
        for value in row {
            value.encode(&mut self.buffer);
        }
        self.hash.update(&self.buffer);
        self.rows += 1;
        // One long message is no reason to keep as much for every table.
        if self.buffer.capacity() > 1 << 20 {
            self.buffer = Vec::new();
        }
    }

    /// How many rows there were.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The hash as 64 hex digits.
    pub fn hex(self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.hash.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}
