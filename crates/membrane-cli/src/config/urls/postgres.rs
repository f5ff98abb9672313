//! The URL of a PostgreSQL database: what it says, how it is shown, and how the driver is told. Reading one is in
//! `parameters.rs`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::parts::MASK;
use super::text::encode;

pub(in crate::config) const FORM: &str = "postgresql://USER:PASSWORD@HOST:PORT/NAME";

pub(super) const PORT: u16 = 5432;

/// Where systems have the server's socket.
const SOCKET_FOLDERS: [&str; 3] = ["/run/postgresql", "/var/run/postgresql", "/tmp"];

/// Which PostgreSQL database to use, and how to reach it. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PostgresUrl {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// Nothing: the socket where systems have it, else this machine.
    pub(super) hosts: Vec<Host>,
    /// Of the host, if there is none.
    pub(super) port: u16,
    pub(super) database: Option<String>,
    pub(super) ssl_mode: Option<SslMode>,
    pub(super) root_cert: Option<RootCert>,
    /// All that the driver is told as it stands there.
    pub(super) others: Vec<(&'static str, String)>,
}

/// A server that may have the database.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) place: Place,
    pub(super) port: u16,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A name or an address.
    Name(String),
    /// The folder of its socket.
    Socket(String),
}

/// How a connection is encrypted, as libpq has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SslMode {
    Disable,
    /// Only if the server insists.
    Allow,
    /// If the server can.
    Prefer,
    /// Always, with whatever certificate the server shows.
    Require,
    /// Always, with a certificate of an authority that is trusted.
    VerifyCa,
    /// Always, with such a certificate for the name of the host.
    VerifyFull,
}

impl SslMode {
    pub(super) const ALL: [(&'static str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or("", |(word, _)| word)
    }
}

/// Which authorities are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootCert {
    /// Those that the system trusts.
    System,
    /// Those in this file.
    File(PathBuf),
}

impl PostgresUrl {
    /// In the form that the driver reads; with the password, without what is about encryption.
    ///
    /// If no host is named, looks whether the server's socket is in one of the usual places.
    pub(crate) fn for_driver(&self) -> String {
        self.for_driver_where(Path::exists)
    }

    /// How connections are encrypted; not at all if all go through sockets of this machine.
    ///
    /// A root certificate makes `require` mean `verify-ca`, as it does to libpq.
    pub(crate) fn ssl_mode(&self) -> SslMode {
        self.ssl_mode_where(Path::exists)
    }

    /// What certificates are verified against, if that was said.
    pub(crate) fn ssl_root_cert(&self) -> Option<&RootCert> {
        self.root_cert.as_ref()
    }

    pub(super) fn ssl_mode_where(&self, is_there: impl Fn(&Path) -> bool) -> SslMode {
        let is_socket = |host: &Host| matches!(host.place, Place::Socket(_));
        let named = self.ssl_mode.unwrap_or(match self.root_cert {
            Some(RootCert::System) => SslMode::VerifyFull,
            _ => SslMode::Prefer,
        });
        match named {
            _ if self.hosts_where(is_there).iter().all(is_socket) => SslMode::Disable,
            SslMode::Require if self.root_cert.is_some() => SslMode::VerifyCa,
            mode => mode,
        }
    }

    pub(super) fn for_driver_where(&self, is_there: impl Fn(&Path) -> bool) -> String {
        let mut parameters: Vec<(&str, String)> =
            self.others.iter().map(|(name, value)| (*name, encode(value))).collect();
        // Before an @ the driver would take no user for an empty one.
        if let (None, Some(password)) = (&self.user, &self.password) {
            parameters.push(("password", encode(password)));
        }
        let credentials = match (&self.user, &self.password) {
            (None, _) => String::new(),
            (Some(user), None) => format!("{}@", encode(user)),
            (Some(user), Some(password)) => format!("{}:{}@", encode(user), encode(password)),
        };
        // An address that is given spares the look-up of a name, and nobody looks for a socket.
        let has_addresses = self.others.iter().any(|(name, _)| *name == "hostaddr");
        let hosts = if has_addresses && self.hosts.is_empty() {
            parameters.push(("port", self.port.to_string()));
            String::new()
        } else {
            let hosts = self.hosts_where(is_there);
            hosts.iter().map(Host::in_authority).collect::<Vec<_>>().join(",")
        };
        self.joined(&credentials, &hosts, &parameters)
    }

    fn hosts_where(&self, is_there: impl Fn(&Path) -> bool) -> Vec<Host> {
        if !self.hosts.is_empty() {
            return self.hosts.clone();
        }
        let port = self.port;
        let has_addresses = self.others.iter().any(|(name, _)| *name == "hostaddr");
        let name = format!(".s.PGSQL.{port}");
        let folder = SOCKET_FOLDERS.into_iter().find(|folder| is_there(&Path::new(folder).join(&name)));
        let place = match folder {
            Some(folder) if !has_addresses => Place::Socket(folder.to_owned()),
            _ => Place::Name("localhost".to_owned()),
        };
        vec![Host { place, port }]
    }
}

impl PostgresUrl {
    fn joined(&self, credentials: &str, hosts: &str, parameters: &[(&str, String)]) -> String {
        let path = self.database.as_deref().map(|name| format!("/{}", encode(name))).unwrap_or_default();
        let parameters: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut url = format!("postgresql://{credentials}{hosts}{path}");
        if !parameters.is_empty() {
            url.push_str(if path.is_empty() { "/?" } else { "?" });
            url.push_str(&parameters.join("&"));
        }
        url
    }

    fn parameters_shown(&self) -> Vec<(&'static str, String)> {
        let readable = |text: &str| encode(text).replace("%2F", "/").replace("%2C", ",").replace("%3A", ":");
        let mut parameters = Vec::new();
        if self.has_sockets() {
            let places: Vec<String> = self.hosts.iter().map(|host| readable(host.place.text())).collect();
            parameters.push(("host", places.join(",")));
        }
        if self.has_sockets() || (self.hosts.is_empty() && self.port != PORT) {
            let ports = self.hosts.iter().map(|host| host.port.to_string()).collect::<Vec<_>>();
            parameters.push(("port", if ports.is_empty() { self.port.to_string() } else { ports.join(",") }));
        }
        parameters.extend(self.ssl_mode.map(|mode| ("sslmode", mode.word().to_owned())));
        parameters.extend(self.root_cert.as_ref().map(|cert| match cert {
            RootCert::System => ("sslrootcert", "system".to_owned()),
            RootCert::File(path) => ("sslrootcert", readable(&path.to_string_lossy())),
        }));
        parameters.extend(self.others.iter().map(|(name, value)| (*name, readable(value))));
        parameters
    }

    /// A folder is no readable host of a URL, and is shown as a parameter.
    fn has_sockets(&self) -> bool {
        self.hosts.iter().any(|host| matches!(host.place, Place::Socket(_)))
    }
}

impl Host {
    fn in_authority(&self) -> String {
        match &self.place {
            Place::Name(name) if name.contains(':') => {
                format!("[{}]:{}", name.replace('%', "%25"), self.port)
            }
            place => format!("{}:{}", encode(place.text()), self.port),
        }
    }
}

impl Place {
    fn text(&self) -> &str {
        match self {
            Self::Name(text) | Self::Socket(text) => text,
        }
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().map(encode).unwrap_or_default();
        let credentials = match &self.password {
            Some(_) => format!("{user}:{MASK}@"),
            None if user.is_empty() => String::new(),
            None => format!("{user}@"),
        };
        let hosts = if self.has_sockets() { &[] } else { &self.hosts[..] };
        let hosts = hosts.iter().map(Host::in_authority).collect::<Vec<_>>().join(",");
        f.write_str(&self.joined(&credentials, &hosts, &self.parameters_shown()))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}
