//! The parts of a URL, not decoded yet, and the URL as an error may show it.

use super::text::{BadText, decode};
use crate::failure::Failure;

/// What stands for a secret.
pub(super) const MASK: &str = "***";

/// `scheme://user:password@host:port,…/path?name=value&…`
pub(super) struct Parts<'a> {
    pub(super) user: &'a str,
    pub(super) password: Option<&'a str>,
    /// All of them, with their ports.
    pub(super) hosts: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// The whole without its secrets.
    pub(super) shown: String,
}

impl<'a> Parts<'a> {
    /// Takes apart what follows the scheme and its colon. Of the parameters, the values of `open` ones may be shown.
    pub(super) fn split(scheme: &str, rest: &'a str, form: &str, open: &[&str]) -> Result<Self, Failure> {
        let Some(rest) = rest.strip_prefix("//") else {
            return Err(Failure::usage(format!("{scheme}: is followed by two slashes; give {form}")));
        };
        let (authority, after) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // What stands before the @ is perhaps one half of a password, so that nothing of it can be shown.
        if authority.contains(':') && after.contains('@') {
            return Err(Failure::usage(format!(
                "an @ of a {scheme}: URL stands behind the first / or ?; in a password write / as %2F and ? as %3F, \
                 and elsewhere @ as %40"
            )));
        }
        let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        let (path, query) = after.split_once('?').unwrap_or((after, ""));
        let mut shown = format!("{scheme}://{user}");
        if password.is_some() {
            shown = format!("{shown}:{MASK}");
        }
        if authority.contains('@') {
            shown.push('@');
        }
        shown = format!("{shown}{hosts}{path}");
        if after.contains('?') {
            let masked: Vec<String> = query.split('&').map(|pair| masked(pair, open)).collect();
            shown = format!("{shown}?{}", masked.join("&"));
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        Ok(Self { user, password, hosts, path, query, shown })
    }

    /// The refusal of a part that is no secret.
    pub(super) fn cannot_be(&self, what: &str, given: &str, allowed: &str) -> Failure {
        Failure::usage(format!("{what} of {} cannot be {given:?}; give {allowed}", self.shown))
    }

    /// The refusal of a part that is badly encoded, and perhaps a secret.
    pub(super) fn badly_encoded(&self, what: &str, problem: BadText) -> Failure {
        Failure::usage(format!("{what} of {} is badly encoded: {}", self.shown, problem.remedy()))
    }

    pub(super) fn decoded(&self, what: &str, text: &str) -> Result<String, Failure> {
        decode(text).map_err(|problem| self.badly_encoded(what, problem))
    }

    /// The names and values of the query, the names decoded.
    pub(super) fn parameters(&self) -> Result<Vec<(String, &'a str)>, Failure> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let parameter = |pair: &'a str| match pair.split_once('=') {
            Some((name, value)) => Ok((self.decoded("the name of a parameter", name)?, value)),
            None => Err(Failure::usage(format!(
                "a parameter of {} has no value; write NAME=VALUE, and & between two",
                self.shown
            ))),
        };
        pairs.map(parameter).collect()
    }

    /// A host and its port, both as they stand there.
    pub(super) fn host_and_port<'b>(&self, text: &'b str) -> Result<(&'b str, Option<&'b str>), Failure> {
        let no_port = |port: &'b str| Some(port).filter(|port| !port.is_empty());
        if let Some(inner) = text.strip_prefix('[') {
            return match inner.split_once(']') {
                Some((host, "")) => Ok((host, None)),
                Some((host, after)) if after.starts_with(':') => {
                    Ok((host, no_port(after.trim_start_matches(':'))))
                }
                _ => Err(self.cannot_be("a host", text, "an IPv6 address in brackets, such as [::1]:5432")),
            };
        }
        match text.split_once(':') {
            None => Ok((text, None)),
            Some((_, port)) if port.contains(':') => {
                Err(self.cannot_be("a host", text, "an IPv6 address in brackets, such as [::1]:5432"))
            }
            Some((host, port)) => Ok((host, no_port(port))),
        }
    }

    pub(super) fn port(&self, text: &str) -> Result<u16, Failure> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let port = text.parse().ok().filter(|port| is_number && *port > 0);
        port.ok_or_else(|| self.cannot_be("the port", text, "a number from 1 to 65535"))
    }

    /// A name or an address, decoded.
    pub(super) fn host_name(&self, name: String) -> Result<String, Failure> {
        let is_part = |char: char| char.is_alphanumeric() || "-._".contains(char);
        if name.contains(':') {
            let address = name.split_once('%').map_or(name.as_str(), |(address, _)| address);
            let zone = name.split_once('%').map_or("", |(_, zone)| zone);
            if address.parse::<std::net::Ipv6Addr>().is_ok() && zone.chars().all(is_part) {
                return Ok(name);
            }
        } else if !name.is_empty() && name.chars().all(is_part) {
            return Ok(name);
        }
        Err(self.cannot_be("a host", &name, "a name, an IPv4 address, or an IPv6 address in brackets"))
    }
}

fn masked(pair: &str, open: &[&str]) -> String {
    match pair.split_once('=') {
        Some((name, _)) if open.contains(&name) => pair.to_owned(),
        Some((name, _)) => format!("{name}={MASK}"),
        None if pair.is_empty() => String::new(),
        None => MASK.to_owned(),
    }
}
