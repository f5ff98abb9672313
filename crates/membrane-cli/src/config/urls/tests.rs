//! Every form of a URL: how it is shown, what the driver gets, and why another is refused.

use std::path::Path;

use super::postgres::{PostgresUrl, RootCert, SslMode};
use super::{CacheUrl, POSTGRES_FORM};

fn parsed(url: &str) -> Result<PostgresUrl, String> {
    let (scheme, rest) = url.split_once(':').unwrap();
    assert!(PostgresUrl::is_scheme(scheme), "{scheme}");
    PostgresUrl::parse_rest(scheme, rest).map_err(|failure| failure.to_string())
}

fn postgres(url: &str) -> PostgresUrl {
    parsed(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// As it is told the driver where no server has a socket.
fn driver(url: &str) -> String {
    postgres(url).for_driver_where(|_| false)
}

#[test]
fn every_scheme_of_postgresql_names_the_same_database() {
    let schemes = ["postgres", "postgresql", "POSTGRES", "postgresql+asyncpg", "postgresql+psycopg"];
    for scheme in [&schemes[..], &["postgresql+psycopg2", "postgres+asyncpg"]].concat() {
        let url = postgres(&format!("{scheme}://me:secret@host/db"));
        assert_eq!(url, postgres("postgresql://me:secret@host:5432/db"), "{scheme}");
    }
    for scheme in ["postgre", "postgresql+", "postgresql+pg8000", "postgresql+async", "pgsql", ""] {
        assert_eq!(PostgresUrl::is_scheme(scheme), scheme == "postgresql+", "{scheme}");
    }
}

#[test]
fn every_form_is_shown_without_its_password_and_told_the_driver_with_it() {
    for (url, shown, told) in [
        (
            "postgresql://me:secret@host/db",
            "postgresql://me:***@host:5432/db",
            "postgresql://me:secret@host:5432/db",
        ),
        ("postgres://me@h:5433/db", "postgresql://me@h:5433/db", "postgresql://me@h:5433/db"),
        ("postgres://host", "postgresql://host:5432", "postgresql://host:5432"),
        ("postgres://host/", "postgresql://host:5432", "postgresql://host:5432"),
        ("postgres://h:/db", "postgresql://h:5432/db", "postgresql://h:5432/db"),
        (
            "postgres://m%40e:s%2Fec%3Aret%25@h/d%20b%2F",
            "postgresql://m%40e:***@h:5432/d%20b%2F",
            "postgresql://m%40e:s%2Fec%3Aret%25@h:5432/d%20b%2F",
        ),
        (
            "postgres://me:se@cret#x+y:z@h/db",
            "postgresql://me:***@h:5432/db",
            "postgresql://me:se%40cret%23x%2By%3Az@h:5432/db",
        ),
        ("postgres://me:@h/db", "postgresql://me@h:5432/db", "postgresql://me@h:5432/db"),
        ("postgres://:secret@h/db", "postgresql://:***@h:5432/db", "postgresql://h:5432/db?password=secret"),
        (
            "postgres://h/db?user=me&password=s%26ecret",
            "postgresql://me:***@h:5432/db",
            "postgresql://me:s%26ecret@h:5432/db",
        ),
        ("postgres://[::1]:5433/db", "postgresql://[::1]:5433/db", "postgresql://[::1]:5433/db"),
        (
            "postgres://[fe80::1%25eth0]/db",
            "postgresql://[fe80::1%25eth0]:5432/db",
            "postgresql://[fe80::1%25eth0]:5432/db",
        ),
        (
            "postgres://me:secret@h1:1,h2,[::1]:3/db?target_session_attrs=primary",
            "postgresql://me:***@h1:1,h2:5432,[::1]:3/db?target_session_attrs=read-write",
            "postgresql://me:secret@h1:1,h2:5432,[::1]:3/db?target_session_attrs=read-write",
        ),
        (
            "postgres:///db?host=h1,::1&port=1,2",
            "postgresql://h1:1,[::1]:2/db",
            "postgresql://h1:1,[::1]:2/db",
        ),
        (
            "postgresql+asyncpg://me:secret@/db?host=h1:1&host=h2:2",
            "postgresql://me:***@h1:1,h2:2/db",
            "postgresql://me:secret@h1:1,h2:2/db",
        ),
        (
            "postgres://me@/db?host=/var/run/postgresql",
            "postgresql://me@/db?host=/var/run/postgresql&port=5432",
            "postgresql://me@%2Fvar%2Frun%2Fpostgresql:5432/db",
        ),
        (
            "postgres://%2Fvar%2Frun%2Fpostgresql:5433/db",
            "postgresql:///db?host=/var/run/postgresql&port=5433",
            "postgresql://%2Fvar%2Frun%2Fpostgresql:5433/db",
        ),
        ("postgres:///db", "postgresql:///db", "postgresql://localhost:5432/db"),
        ("postgres://", "postgresql://", "postgresql://localhost:5432"),
        ("postgres://:5433/db", "postgresql:///db?port=5433", "postgresql://localhost:5433/db"),
        (
            "postgres:///?dbname=db&port=5433&user=me",
            "postgresql://me@/db?port=5433",
            "postgresql://me@localhost:5433/db",
        ),
        (
            "postgres:///db?hostaddr=127.0.0.1&port=5433",
            "postgresql:///db?port=5433&hostaddr=127.0.0.1",
            "postgresql:///db?hostaddr=127.0.0.1&port=5433",
        ),
        (
            "postgres://h?connect_timeout=5&application_name=my%20keep&options=-c%20search_path%3Dkeep&keepalives=0",
            "postgresql://h:5432/?connect_timeout=5&application_name=my%20keep&options=-c%20search_path%3Dkeep&\
             keepalives=0",
            "postgresql://h:5432/?connect_timeout=5&application_name=my%20keep&options=-c%20search_path%3Dkeep&\
             keepalives=0",
        ),
        (
            "postgres://h/db?sslmode=verify-full&sslrootcert=/etc/ca.pem&channel_binding=require&",
            "postgresql://h:5432/db?sslmode=verify-full&sslrootcert=/etc/ca.pem&channel_binding=require",
            "postgresql://h:5432/db?channel_binding=require",
        ),
    ] {
        let read = postgres(url);
        assert_eq!(read.to_string(), shown, "{url}");
        assert_eq!(format!("{read:?}"), format!("PostgresUrl({shown})"), "{url}");
        assert_eq!(driver(url), told, "{url}");
        assert!(!shown.contains("ecret"), "{shown}");
        if !shown.contains("***") {
            assert_eq!(postgres(shown), read, "what is shown says the same");
        }
        assert_eq!(postgres(told).for_driver_where(|_| false), told, "what is told stays so");
    }
}

#[test]
fn without_a_host_the_socket_is_taken_where_it_is_or_this_machine() {
    let is_there = |name: &str| {
        let name = name.to_owned();
        move |path: &Path| path == Path::new(&name)
    };
    let url = postgres("postgres:///db");
    for (socket, told) in [
        ("/run/postgresql/.s.PGSQL.5432", "postgresql://%2Frun%2Fpostgresql:5432/db"),
        ("/tmp/.s.PGSQL.5432", "postgresql://%2Ftmp:5432/db"),
        ("/tmp/.s.PGSQL.5433", "postgresql://localhost:5432/db"),
    ] {
        assert_eq!(url.for_driver_where(is_there(socket)), told, "{socket}");
    }
    assert_eq!(url.ssl_mode_where(|_| true), SslMode::Disable, "a socket needs none");
    assert_eq!(url.ssl_mode_where(|_| false), SslMode::Prefer);
    let by_address = postgres("postgres:///db?hostaddr=::1");
    assert_eq!(by_address.for_driver_where(|_| true), "postgresql:///db?hostaddr=%3A%3A1&port=5432");
    assert_eq!(by_address.ssl_mode_where(|_| true), SslMode::Prefer);
    let named = postgres("postgres://h/db");
    assert_eq!(named.for_driver_where(|_| true), "postgresql://h:5432/db");
    assert_eq!(named.for_driver(), "postgresql://h:5432/db");
}

#[test]
fn encryption_is_as_libpq_has_it() {
    let file = || Some(RootCert::File("/ca.pem".into()));
    for (query, mode, cert) in [
        ("", SslMode::Prefer, None),
        ("sslmode=disable", SslMode::Disable, None),
        ("sslmode=allow", SslMode::Allow, None),
        ("sslmode=prefer", SslMode::Prefer, None),
        ("ssl=require", SslMode::Require, None),
        ("sslmode=verify-ca&sslrootcert=%2Fca.pem", SslMode::VerifyCa, file()),
        ("ssl=verify-full&sslrootcert=/ca.pem", SslMode::VerifyFull, file()),
        ("sslmode=verify-full", SslMode::VerifyFull, None),
        ("sslmode=require&sslrootcert=/ca.pem", SslMode::VerifyCa, file()),
        ("sslrootcert=system", SslMode::VerifyFull, Some(RootCert::System)),
    ] {
        let url = postgres(&format!("postgres://h/db?{query}"));
        assert_eq!((url.ssl_mode(), url.ssl_root_cert()), (mode, cert.as_ref()), "{query}");
        assert_eq!(url.for_driver(), "postgresql://h:5432/db", "{query}");
    }
    let socket = postgres("postgres:///db?host=/tmp&sslmode=require");
    assert_eq!(socket.ssl_mode(), SslMode::Disable);
}

#[test]
fn what_a_url_cannot_mean_is_refused_with_the_remedy_and_without_the_password() {
    for (url, words) in [
        ("postgres:db", &["two slashes", POSTGRES_FORM][..]),
        ("postgres:/db", &["two slashes"]),
        (
            "postgres://me:secret@h:54x2/db",
            &["postgres://me:***@h:54x2/db", "the port", "\"54x2\"", "1 to 65535"],
        ),
        ("postgres://me:secret@h:0/db", &["the port", "\"0\"", "65535"]),
        ("postgres://me:secret@h:65536/db", &["\"65536\""]),
        ("postgres://me:secret@h:+1/db", &["\"+1\""]),
        ("postgres://me:secret@h/db?port=1,x", &["the port", "\"x\""]),
        ("postgres://me:sec%ret@h/db", &["the password", "%25"]),
        ("postgres://me:secret%ff@h/db", &["the password", "UTF-8"]),
        ("postgres://me:secret%00@h/db", &["the password", "%00"]),
        ("postgres://m%e:secret@h/db", &["the user", "%25"]),
        ("postgres://me:secret@h%/db", &["a host", "%25"]),
        ("postgres://me:secret@h/d%b%", &["the database", "%25"]),
        ("postgres://me:secret@h/db?options=%", &["the parameter options", "%25"]),
        ("postgres://me:secret@h/db?password=secret%", &["the parameter password", "password=***", "%25"]),
        ("postgres://me:se/cret@h/db", &["%2F", "%40"]),
        ("postgres://me:123/secret@h/db", &["%2F"]),
        ("postgres://me:123?secret@h/db", &["%3F"]),
        ("postgres://me:pw@x/secret@h/db", &["%2F"]),
        ("postgres://::1/db", &["a host", "\"::1\"", "[::1]:5432"]),
        ("postgres://[::1/db", &["a host", "in brackets"]),
        ("postgres://[::1]5432/db", &["a host", "in brackets"]),
        ("postgres://[::g]/db", &["a host", "\"::g\""]),
        ("postgres://h1,,h2/db", &["a host", "\"\""]),
        ("postgres://a b/db", &["a host", "\"a b\""]),
        ("postgres://h1,h2/db?port=1,2,3", &["3 ports and 2 hosts"]),
        ("postgres://h1/db?port=1,2", &["2 ports and 1 hosts"]),
        ("postgres://h1:1/db?port=2", &["twice", "the port"]),
        ("postgres://h1/db?host=h2", &["twice", "the host"]),
        ("postgres://me:secret@h/db?user=you", &["twice", "the user"]),
        ("postgres://me:secret@h/db?password=secret", &["twice", "the password"]),
        ("postgres://h/db?dbname=other", &["twice", "the database"]),
        ("postgres://h/db?sslmode=require&ssl=disable", &["twice", "sslmode"]),
        ("postgres://h/db?options=a&options=b", &["twice", "options"]),
        ("postgres://h1,h2/db?hostaddr=127.0.0.1", &["hostaddr", "one for each"]),
        ("postgres://h/db?hostaddr=h2", &["hostaddr", "\"h2\"", "IP addresses"]),
        (
            "postgres://h/db?sslmode=always",
            &["sslmode", "\"always\"", "one of: disable, allow", "verify-full"],
        ),
        ("postgres://h/db?ssl=true", &["ssl of", "\"true\"", "one of: disable"]),
        ("postgres://h/db?sslmode=disable&sslrootcert=/ca", &["sslmode=verify-full"]),
        ("postgres://h/db?sslrootcert=/ca", &["sslmode=verify-full or verify-ca"]),
        ("postgres://h/db?sslmode=verify-ca&sslrootcert=system", &["sslmode=verify-full"]),
        ("postgres://h/db?sslrootcert=", &["sslrootcert", "a file, or system"]),
        ("postgres://h/db?connect_timeout=soon", &["connect_timeout", "\"soon\"", "whole number"]),
        ("postgres://h/db?connect_timeout=-1", &["\"-1\""]),
        ("postgres://h/db?connect_timeout=", &["connect_timeout", "\"\""]),
        ("postgres://h/db?keepalives=2", &["keepalives", "one of: 0, 1"]),
        ("postgres://h/db?target_session_attrs=standby", &["one of: any, read-write, primary, read-only"]),
        (
            "postgres://h/db?sslmod=require",
            &["parameter sslmod,", "did you mean sslmode?", "connect_timeout"],
        ),
        (
            "postgres://h/db?passwort=secret",
            &["parameter passwort,", "passwort=***", "did you mean password?"],
        ),
        ("postgres://h/db?sslkey=/secret.key", &["parameter sslkey,", "not known"]),
        ("postgres://h/db?pgbouncer=true", &["chat.postgres.pooler"]),
        ("postgres://h/db?sslmode", &["no value", "NAME=VALUE"]),
        ("postgres://h/db?secret", &["no value", "?***"]),
    ] {
        let error = parsed(url).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{url}: {error}");
        assert!(!error.contains("secret") && !error.contains("cret@"), "{url}: {error}");
    }
}

#[test]
fn a_cache_is_named_by_every_usual_url_and_shown_without_its_password() {
    for (url, shown, told) in [
        ("redis://host", "redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:secret@h:1/2", "redis://:***@h:1/2", "redis://:secret@h:1/2"),
        ("REDISS://me:s%2Fecret@h/", "rediss://me:***@h:6379/0", "rediss://me:s%2Fecret@h:6379/0"),
        ("valkey://me:sec@ret@[::1]:7/1", "redis://me:***@[::1]:7/1", "redis://me:sec%40ret@[::1]:7/1"),
        ("valkeys://h", "rediss://h:6379/0", "rediss://h:6379/0"),
    ] {
        let read = CacheUrl::parse(url).unwrap();
        assert_eq!((read.to_string().as_str(), read.for_driver().as_str()), (shown, told), "{url}");
        assert_eq!(format!("{read:?}"), format!("CacheUrl({shown})"));
        assert_eq!(CacheUrl::parse(told).unwrap(), read);
    }
    for (url, words) in [
        ("host:6379", &["by a URL", "redis://"][..]),
        ("me:secret@host", &["by a URL"]),
        ("/run/redis", &["by a URL"]),
        ("memcached://:secret@h", &["memcached: is not a known kind", "redis://"]),
        ("redis:h", &["two slashes"]),
        ("redis://", &["a host"]),
        ("redis://secret@h", &[":PASSWORD@"]),
        ("redis://:secret@h:x", &["redis://:***@h:x", "the port", "\"x\""]),
        ("redis://:secret@h/x", &["the database", "\"x\"", "its number"]),
        ("redis://:secret@h/-1", &["\"-1\""]),
        ("redis://:secret@h/0?protocol=resp3", &["parameters", "leave them out"]),
        ("redis://:secret@h/0?password=secret", &["parameters"]),
        ("rediss://:secret@h/#insecure", &["parameters"]),
        ("redis://:sec%ret@h", &["the password", "%25"]),
        ("redis://:12/secret@h", &["%2F"]),
    ] {
        let error = CacheUrl::parse(url).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{url}: {error}");
        assert!(!error.contains("secret"), "{url}: {error}");
    }
}
