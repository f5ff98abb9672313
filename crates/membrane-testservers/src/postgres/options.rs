//! What a test may want otherwise than the plain cluster has it.
//!
//! Not here: carrying it out.

/// How a cluster is set up. The plain one trusts every client, speaks no TLS, and does not sync to the disk.
#[derive(Clone, Default)]
pub struct PostgresOptions {
    pub(super) password: Option<String>,
    pub(super) tls: Option<Tls>,
    pub(super) is_durable: bool,
    pub(super) settings: Vec<(String, String)>,
}

/// What the server shows to those who connect with TLS.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

impl PostgresOptions {
    /// Clients, those on the socket too, must know this password of the superuser (SCRAM-SHA-256).
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// The server offers TLS with this certificate and its private key.
    #[must_use]
    pub fn tls(mut self, certificate_pem: &str, key_pem: &str) -> Self {
        self.tls = Some(Tls { certificate_pem: certificate_pem.to_owned(), key_pem: key_pem.to_owned() });
        self
    }

    /// A commit is on the disk when it is acknowledged, as in earnest: for benchmarks.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.is_durable = true;
        self
    }

    /// A line of `postgresql.conf`, which holds against those that this crate writes.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The lines for `postgresql.conf`; of two with the same name the later one holds.
    pub(super) fn lines(&self) -> String {
        let mut lines = vec![
            ("listen_addresses", "127.0.0.1"),
            ("max_connections", "300"),
            ("shared_buffers", "64MB"),
            ("log_min_messages", "warning"),
            ("logging_collector", "off"),
        ];
        if !self.is_durable {
            // It lies in memory, if there is enough.
            lines.extend([("fsync", "off"), ("full_page_writes", "off"), ("max_wal_size", "256MB")]);
        }
        if self.tls.is_some() {
            lines.extend([("ssl", "on"), ("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")]);
        }
        let own = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        lines.into_iter().chain(own).fold(String::new(), |text, (name, value)| {
            text + name + " = '" + &value.replace('\'', "''") + "'\n"
        })
    }
}

impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("has_password", &self.password.is_some())
            .field("has_tls", &self.tls.is_some())
            .field("is_durable", &self.is_durable)
            .field("settings", &self.settings)
            .finish()
    }
}

#[test]
fn settings_of_a_test_come_last_and_are_quoted() {
    let lines =
        PostgresOptions::default().setting("max_connections", "3").setting("cluster_name", "it's").lines();
    assert!(lines.ends_with("max_connections = '3'\ncluster_name = 'it''s'\n"), "{lines}");
    assert!(lines.contains("fsync = 'off'\n"), "{lines}");
    assert!(!PostgresOptions::default().durable().lines().contains("fsync"));
}

#[test]
fn secrets_are_not_shown() {
    let options = PostgresOptions::default().password("hush").tls("certificate", "hush");
    assert!(!format!("{options:?}").contains("hush"));
}
