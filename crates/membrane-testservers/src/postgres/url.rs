//! The URL of a PostgreSQL server, in as much as servers for tests need it.
//!
//! Not here: the forms that users of the product may write.

use std::fmt;

use crate::error::ServerError;

/// The parts of `postgres://user:password@host:port/database?parameters`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    /// A name, an address, or the folder of a socket.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    /// As they stand behind the question mark.
    parameters: String,
}

impl Url {
    /// The database `database` of a server on 127.0.0.1.
    pub(crate) fn local(user: &str, password: Option<&str>, port: u16, database: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.map(str::to_owned),
            host: "127.0.0.1".to_owned(),
            port,
            database: database.to_owned(),
            parameters: String::new(),
        }
    }

    /// Reads a URL that came from `from`, which errors name.
    pub(crate) fn parse(from: &'static str, text: &str) -> Result<Self, ServerError> {
        let bad = |why| ServerError::BadUrl { from, why };
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or_else(|| bad("it does not begin with postgres:// or postgresql://"))?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, address) =
            authority.rsplit_once('@').ok_or_else(|| bad("it names no user before an @"))?;
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let decode = |text: &str| decoded(text).ok_or_else(|| bad("a % is not followed by two digits"));
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| bad("its port is not a number up to 65535"))?)
            }
            _ => (address, 5432),
        };
        // The folder of a socket is given as a parameter, or encoded in the host's place.
        let folder = parameters.split('&').find_map(|parameter| parameter.strip_prefix("host="));
        let host = decode(if host.is_empty() { folder.unwrap_or("localhost") } else { host })?;
        let database = decode(database)?;
        let user = decode(user)?;
        Ok(Self {
            password: password.map(decode).transpose()?,
            database: if database.is_empty() { user.clone() } else { database },
            user,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            parameters: parameters.to_owned(),
        })
    }

    /// The same server and user, another database.
    pub(crate) fn with_database(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    /// The same, with this password.
    pub(crate) fn with_password(&self, password: Option<&str>) -> Self {
        Self { password: password.map(str::to_owned), ..self.clone() }
    }

    /// The URL as text.
    pub(crate) fn text(&self) -> String {
        let password = self.password.as_deref().map(|password| format!(":{}", encoded(password)));
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { encoded(&self.host) };
        let (user, database) = (encoded(&self.user), encoded(&self.database));
        let password = password.unwrap_or_default();
        let question = if self.parameters.is_empty() { "" } else { "?" };
        format!("postgres://{user}{password}@{host}:{}/{database}{question}{}", self.port, self.parameters)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Url")
            .field("user", &self.user)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// Everything but letters, digits and what no URL gives a meaning to.
pub(crate) fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect::<Vec<_>>()
        .concat()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Url, String> {
        Url::parse("THIS", text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_is_taken_apart_and_put_together_again() {
        let url = parse("postgresql://me:p%40ss@db.example:6000/main?sslmode=require").expect("it is good");
        assert_eq!(
            (url.user.as_str(), url.password.as_deref(), url.host.as_str(), url.port, url.database.as_str()),
            ("me", Some("p@ss"), "db.example", 6000, "main")
        );
        assert_eq!(
            url.with_database("a b").text(),
            "postgres://me:p%40ss@db.example:6000/a%20b?sslmode=require"
        );
        let short = parse("postgres://me@[::1]").expect("it is good");
        assert_eq!((short.host.as_str(), short.port, short.database.as_str()), ("::1", 5432, "me"));
        assert_eq!(short.text(), "postgres://me@[::1]:5432/me");
    }

    #[test]
    fn the_folder_of_a_socket_is_found_in_both_places() {
        for text in ["postgres://me@%2Frun%2Fpg:1/db", "postgres://me@/db?host=/run/pg"] {
            assert_eq!(parse(text).expect("it is good").host, "/run/pg", "{text}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_understood_is_refused_without_repeating_its_password() {
        for text in
            ["mysql://a:hush@b", "postgres://host/hush", "postgres://a:hush@b:port", "postgres://a:%hush@b"]
        {
            let error = parse(text).map(|url| url.text()).expect_err(text);
            assert!(error.starts_with("THIS: ") && !error.contains("hush"), "{error}");
        }
    }
}
