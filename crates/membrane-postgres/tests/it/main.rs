//! One binary for all tests of this crate against a real PostgreSQL.

mod conformance;
