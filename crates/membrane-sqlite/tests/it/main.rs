//! The SQLite backend from outside: the suite that every backend passes, and what is SQLite's own: files,
//! migrations, what other SQL readers see, and how the writer and the readers behave.
//!
//! What a session means is not tested here; `membrane-core` and the suite do that.

mod conformance;
