//! The URL of a cache that instances share: Redis, or Valkey, which speaks the same.

use std::fmt;

use super::parts::{MASK, Parts};
use super::text::encode;
use crate::failure::Failure;

pub(in crate::config) const FORM: &str =
    "redis://USER:PASSWORD@HOST:PORT/NUMBER (also rediss:, valkey: and valkeys:)";

const PORT: u16 = 6379;

/// Where the shared cache is. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CacheUrl {
    is_encrypted: bool,
    user: String,
    password: Option<String>,
    host: String,
    port: u16,
    number: u32,
}

impl CacheUrl {
    pub(in crate::config) fn parse(text: &str) -> Result<Self, Failure> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(Failure::usage(format!("a cache is named by a URL; give {FORM}")));
        };
        let is_encrypted = match scheme.to_ascii_lowercase().as_str() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ if scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char))
                && rest.starts_with("//") =>
            {
                return Err(Failure::usage(format!("{scheme}: is not a known kind of cache; give {FORM}")));
            }
            _ => return Err(Failure::usage(format!("a cache is named by a URL; give {FORM}"))),
        };
        let parts = Parts::split(scheme, rest, FORM, &[])?;
        if !parts.query.is_empty() || parts.path.contains('#') {
            return Err(Failure::usage(format!(
                "{} has parameters, and none are known here; leave them out",
                parts.shown
            )));
        }
        // A lone word before the @ is as often meant for a password as for a user, and would be shown.
        if parts.password.is_none() && !parts.user.is_empty() {
            return Err(Failure::usage(format!(
                "what stands before the @ of a {scheme}: URL has no colon; give USER:PASSWORD@, or :PASSWORD@"
            )));
        }
        let (host, port) = parts.host_and_port(parts.hosts)?;
        Ok(Self {
            is_encrypted,
            user: parts.decoded("the user", parts.user)?,
            password: parts.password.map(|password| parts.decoded("the password", password)).transpose()?,
            host: parts.host_name(parts.decoded("the host", host)?)?,
            port: port.map_or(Ok(PORT), |port| parts.port(port))?,
            number: match parts.path {
                "" => 0,
                path => {
                    path.parse().ok().filter(|_| path.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(
                        || parts.cannot_be("the database", path, "its number, such as 0, or leave it out"),
                    )?
                }
            },
        })
    }

    /// In the form that the client library reads; with the password.
    pub(crate) fn for_driver(&self) -> String {
        self.written(self.password.as_deref().map(encode))
    }

    fn written(&self, password: Option<String>) -> String {
        let Self { host, port, number, .. } = self;
        let scheme = if self.is_encrypted { "rediss" } else { "redis" };
        let credentials = match password {
            Some(password) => format!("{}:{password}@", encode(&self.user)),
            None => String::new(),
        };
        let host = if host.contains(':') { format!("[{}]", host.replace('%', "%25")) } else { host.clone() };
        format!("{scheme}://{credentials}{host}:{port}/{number}")
    }
}

impl fmt::Display for CacheUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(self.password.as_ref().map(|_| MASK.to_owned())))
    }
}

impl fmt::Debug for CacheUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheUrl({self})")
    }
}
