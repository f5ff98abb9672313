//! What is in force, and where it came from: flags, the environment, `infrastructure.yaml`, defaults, in this order.
//!
//! [`Settings`] holds plain values, [`Report`] the same for `membrane config` to show. A key is declared once, in
//! `keys.rs`, where it is read: its name, use, default and range stand there. Everything else, from the
//! variable's name to the nearest known key of a mistyped one, is derived from that. What a user wrote and we
//! would not obey is an error, never a silence; what another program reads from the same file is not looked at.
//!
//! The environment is read in `environment.rs`, once; all rules are functions of what was found there, so that
//! tests bring their own. Not here: opening the database (`wiring.rs`), and printing (`cmd/config.rs`).

mod candidates;
mod database;
mod environment;
mod expand;
mod file;
mod keys;
mod load;
mod names;
mod origin;
mod reader;
mod relational;
mod report;
mod settings;
mod urls;
mod yaml;

#[cfg(test)]
mod tests;

pub(crate) use candidates::{Candidate, candidates};
pub(crate) use database::Database;
#[cfg(test)]
pub(crate) use load::default_settings;
pub(crate) use load::{Flags, known_keys, load};
pub(crate) use names::variable;
pub(crate) use reader::Known;
pub(crate) use report::Report;
pub(crate) use settings::{
    CacheSettings, LogLevel, Pooler, PostgresSettings, Provider, Settings, SqliteSettings,
};
pub(crate) use urls::{PostgresUrl, RootCert, SslMode};
