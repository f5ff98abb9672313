//! Reads the URL of a PostgreSQL database: its hosts, and its parameters, each of which is known by name. A thing may
//! be said once, wherever a URL can say it.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use super::parts::Parts;
use super::postgres::{FORM, Host, PORT, Place, PostgresUrl, RootCert, SslMode};
use crate::config::names;
use crate::failure::Failure;

/// What a parameter may be.
enum Kind {
    /// One of these.
    Words(&'static [&'static str]),
    /// A whole number.
    Number,
    /// Numeric addresses with commas between them.
    Addresses,
    Text,
}

/// What the driver is told as it stands in the URL.
const FOR_DRIVER: [(&str, Kind); 12] = [
    ("application_name", Kind::Text),
    ("channel_binding", Kind::Words(&["disable", "prefer", "require"])),
    ("connect_timeout", Kind::Number),
    ("hostaddr", Kind::Addresses),
    ("keepalives", Kind::Words(&["0", "1"])),
    ("keepalives_idle", Kind::Number),
    ("keepalives_interval", Kind::Number),
    ("keepalives_retries", Kind::Number),
    ("load_balance_hosts", Kind::Words(&["disable", "random"])),
    ("options", Kind::Text),
    ("target_session_attrs", Kind::Words(&["any", "read-write", "primary", "read-only"])),
    ("tcp_user_timeout", Kind::Number),
];

/// What has a field of its own.
const OURS: [&str; 9] =
    ["dbname", "database", "host", "password", "port", "ssl", "sslmode", "sslrootcert", "user"];

/// What other programs write into the URL if there is a pooler in front of the database.
const ABOUT_A_POOLER: [&str; 4] =
    ["pgbouncer", "prepared_statement_cache_size", "prepared_statement_name_func", "statement_cache_size"];

/// What was said so far.
#[derive(Default)]
struct Said {
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    hosts: Option<Vec<(Place, Option<u16>)>>,
    ports: Option<Vec<u16>>,
    ssl_mode: Option<SslMode>,
    root_cert: Option<RootCert>,
    others: Vec<(&'static str, String)>,
}

impl PostgresUrl {
    /// Whether this is the scheme of a PostgreSQL database.
    pub(in crate::config) fn is_scheme(scheme: &str) -> bool {
        let (name, driver) = scheme.split_once('+').unwrap_or((scheme, ""));
        ["postgres", "postgresql"].iter().any(|known| known.eq_ignore_ascii_case(name))
            && ["", "asyncpg", "psycopg", "psycopg2"].iter().any(|known| known.eq_ignore_ascii_case(driver))
    }

    /// Reads what follows the scheme and its colon.
    pub(in crate::config) fn parse_rest(scheme: &str, rest: &str) -> Result<Self, Failure> {
        let open: Vec<&str> = FOR_DRIVER.iter().map(|(name, _)| *name).chain(OURS).collect();
        let open: Vec<&str> = open.into_iter().filter(|name| *name != "password").collect();
        let parts = Parts::split(scheme, rest, FORM, &open)?;
        let mut said = Said::default();
        said.authority(&parts)?;
        for (name, value) in parts.parameters()? {
            said.parameter(&parts, &name, value)?;
        }
        said.finish(&parts)
    }
}

impl Said {
    fn authority(&mut self, parts: &Parts<'_>) -> Result<(), Failure> {
        let given = |text: &str| !text.is_empty();
        if given(parts.user) {
            self.user = Some(parts.decoded("the user", parts.user)?);
        }
        if let Some(password) = parts.password.filter(|text| given(text)) {
            self.password = Some(parts.decoded("the password", password)?);
        }
        if given(parts.path) {
            self.database = Some(parts.decoded("the database", parts.path)?);
        }
        match parts.host_and_port(parts.hosts) {
            Ok(("", None)) => {}
            // A port alone is that of the host which is not named here.
            Ok(("", Some(port))) => self.ports = Some(vec![parts.port(port)?]),
            _ => {
                let hosts = parts.hosts.split(',').map(|text| {
                    let (name, port) = parts.host_and_port(text)?;
                    place(parts, parts.decoded("a host", name)?, port)
                });
                self.hosts = Some(hosts.collect::<Result<_, Failure>>()?);
            }
        }
        Ok(())
    }

    fn parameter(&mut self, parts: &Parts<'_>, name: &str, value: &str) -> Result<(), Failure> {
        let value = parts.decoded(&format!("the parameter {name}"), value)?;
        match name {
            "user" => once(parts, &mut self.user, "the user", value),
            "password" => once(parts, &mut self.password, "the password", value),
            "dbname" | "database" => once(parts, &mut self.database, "the database", value),
            "host" => self.host(parts, &value),
            "port" => {
                let ports = value.split(',').map(|port| match port {
                    "" => Ok(PORT),
                    port => parts.port(port),
                });
                let ports = ports.collect::<Result<_, Failure>>()?;
                once(parts, &mut self.ports, "the port", ports)
            }
            "sslmode" | "ssl" => {
                let words: Vec<&str> = SslMode::ALL.iter().map(|(word, _)| *word).collect();
                let known = SslMode::ALL.iter().find(|(word, _)| *word == value);
                let refuse = || parts.cannot_be(name, &value, &format!("one of: {}", words.join(", ")));
                once(parts, &mut self.ssl_mode, "sslmode", known.ok_or_else(refuse)?.1)
            }
            "sslrootcert" => {
                let cert = match value.as_str() {
                    "" => return Err(parts.cannot_be(name, &value, "a file, or system")),
                    "system" => RootCert::System,
                    path => RootCert::File(PathBuf::from(path)),
                };
                once(parts, &mut self.root_cert, name, cert)
            }
            _ => self.other(parts, name, value),
        }
    }

    /// SQLAlchemy names each of several hosts by a parameter of its own, libpq all by one.
    fn host(&mut self, parts: &Parts<'_>, value: &str) -> Result<(), Failure> {
        let is_in_authority = !matches!(parts.host_and_port(parts.hosts), Ok(("", _)));
        if is_in_authority {
            return Err(twice(parts, "the host"));
        }
        let hosts = self.hosts.get_or_insert_default();
        for text in value.split(',') {
            let is_bare = text.starts_with('/') || text.parse::<Ipv6Addr>().is_ok();
            let (name, port) = if is_bare { (text, None) } else { parts.host_and_port(text)? };
            hosts.push(place(parts, name.to_owned(), port)?);
        }
        Ok(())
    }

    fn other(&mut self, parts: &Parts<'_>, name: &str, value: String) -> Result<(), Failure> {
        let Some((name, kind)) = FOR_DRIVER.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(parts, name));
        };
        let is_number = |value: &str| value.bytes().all(|byte| byte.is_ascii_digit());
        let allowed = match kind {
            Kind::Words(words) if !words.contains(&value.as_str()) => format!("one of: {}", words.join(", ")),
            Kind::Number if !is_number(&value) || value.parse::<i32>().is_err() => {
                format!("a whole number from 0 to {}", i32::MAX)
            }
            Kind::Addresses if value.split(',').any(|text| text.parse::<IpAddr>().is_err()) => {
                "IP addresses with commas between them".to_owned()
            }
            _ => String::new(),
        };
        if !allowed.is_empty() {
            return Err(parts.cannot_be(name, &value, &allowed));
        }
        if self.others.iter().any(|(said, _)| said == name) {
            return Err(twice(parts, name));
        }
        // The driver has no word for a primary; what can be written to is one.
        let value = if value == "primary" { "read-write".to_owned() } else { value };
        self.others.push((name, value));
        Ok(())
    }

    fn finish(self, parts: &Parts<'_>) -> Result<PostgresUrl, Failure> {
        let hosts = self.hosts.unwrap_or_default();
        let has_port = hosts.iter().any(|(_, port)| port.is_some());
        let ports = self.ports.unwrap_or_default();
        if has_port && !ports.is_empty() {
            return Err(twice(parts, "the port"));
        }
        let n_ports = ports.len();
        if n_ports > 1 && n_ports != hosts.len() {
            return Err(Failure::usage(format!(
                "{} has {n_ports} ports and {} hosts; give one port, or one for each host",
                parts.shown,
                hosts.len()
            )));
        }
        let first = ports.first().copied().unwrap_or(PORT);
        let port_of = |at: usize| ports.get(at).copied().unwrap_or(first);
        let hosts: Vec<Host> = (0..)
            .zip(hosts)
            .map(|(at, (place, port))| Host { place, port: port.unwrap_or_else(|| port_of(at)) })
            .collect();
        let addresses = self.others.iter().find(|(name, _)| *name == "hostaddr");
        if let Some((_, addresses)) = addresses
            && !hosts.is_empty()
            && addresses.split(',').count() != hosts.len()
        {
            return Err(Failure::usage(format!(
                "{} has not as many hosts as addresses in hostaddr; give one for each",
                parts.shown
            )));
        }
        let url = PostgresUrl {
            user: self.user,
            password: self.password,
            // Two URLs that mean the same are to be equal.
            port: if hosts.is_empty() { first } else { PORT },
            hosts,
            database: self.database,
            ssl_mode: self.ssl_mode,
            root_cert: self.root_cert,
            others: self.others,
        };
        verifies_what_it_names(&url, parts)?;
        Ok(url)
    }
}

/// A root certificate that nothing is verified against would make nobody safer.
fn verifies_what_it_names(url: &PostgresUrl, parts: &Parts<'_>) -> Result<(), Failure> {
    use SslMode::{Require, VerifyCa, VerifyFull};
    let (allowed, remedy): (&[_], _) = match &url.root_cert {
        None => return Ok(()),
        // Everybody can have a certificate of an authority that the system trusts.
        Some(RootCert::System) => (&[None, Some(VerifyFull)], "verify-full"),
        Some(RootCert::File(_)) => {
            (&[Some(Require), Some(VerifyCa), Some(VerifyFull)], "verify-full or verify-ca")
        }
    };
    if allowed.contains(&url.ssl_mode) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} names a root certificate (sslrootcert), against which nothing is verified; add sslmode={remedy}",
        parts.shown
    )))
}

fn place(parts: &Parts<'_>, name: String, port: Option<&str>) -> Result<(Place, Option<u16>), Failure> {
    let port = port.map(|port| parts.port(port)).transpose()?;
    let place = if name.starts_with('/') { Place::Socket(name) } else { Place::Name(parts.host_name(name)?) };
    Ok((place, port))
}

fn once<T>(parts: &Parts<'_>, field: &mut Option<T>, what: &str, value: T) -> Result<(), Failure> {
    if field.replace(value).is_some() {
        return Err(twice(parts, what));
    }
    Ok(())
}

fn twice(parts: &Parts<'_>, what: &str) -> Failure {
    Failure::usage(format!("{} says twice what {what} is; say it once", parts.shown))
}

fn unknown(parts: &Parts<'_>, name: &str) -> Failure {
    if ABOUT_A_POOLER.contains(&name) {
        return Failure::usage(format!(
            "{} has the parameter {name}, which is not known here; if a pooler such as PgBouncer stands before the \
             database, leave it out, and set chat.postgres.pooler",
            parts.shown
        ));
    }
    let mut known: Vec<String> = FOR_DRIVER.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.extend(OURS.map(str::to_owned));
    known.sort();
    let meant = names::nearest(name, &known).map(|name| format!("did you mean {name}? ")).unwrap_or_default();
    Failure::usage(format!(
        "{} has the parameter {name}, which is not known; {meant}give some of: {}",
        parts.shown,
        known.join(", ")
    ))
}
