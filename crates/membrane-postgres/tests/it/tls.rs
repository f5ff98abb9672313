//! TLS: libpq's modes, against a server with a certificate that nobody but the test knows.

use std::io::Write as _;

use membrane_postgres::{OpenError, PostgresOptions, PostgresStore, SslMode};
use membrane_testservers::{Postgres, PostgresOptions as ServerOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::NamedTempFile;

use crate::keep::{options, refusal};

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// An authority, and a certificate of its that names `host`.
pub(crate) fn issued(host: &str, authority: &str) -> (String, Pair) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, authority);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    (authority.pem(), Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A certificate that nobody but its owner signed; it may call itself an authority, as those of `openssl req -x509` do.
fn self_signed(host: &str, is_ca: bool) -> Pair {
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().unwrap();
    Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn server(pair: &Pair) -> Postgres {
    Postgres::start_with(&ServerOptions::default().tls(&pair.certificate, &pair.key)).unwrap()
}

pub(crate) fn file(pem: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    file
}

/// Opens with a mode and maybe an authority; says whether the connection is encrypted, or why there is none.
async fn try_open(
    server: &Postgres,
    url: &str,
    ssl_mode: SslMode,
    root: Option<&NamedTempFile>,
) -> Result<bool, OpenError> {
    let root = root.map(|file| file.path().to_owned());
    let options = PostgresOptions {
        ssl_mode,
        ssl_root_cert: root,
        pool_size: 1,
        ..options(format!("{url}?application_name=probe"))
    };
    // Lets go of its connection when it is dropped.
    let _store = PostgresStore::open(options).await?;
    let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'probe'";
    Ok(server.databases().execute(sql).unwrap() == "t")
}

fn is_tls_error(tried: Result<bool, OpenError>, word: &str) {
    match tried {
        Err(OpenError::Tls { problem, .. }) => assert!(problem.contains(word), "{problem}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_mode_means_what_it_means_to_libpq() {
    let (authority, pair) = issued("localhost", "right");
    let server = server(&pair);
    let (right, wrong) = (file(&authority), file(&issued("localhost", "wrong").0));
    let by_address = server.admin_url();
    let by_name = by_address.replace("127.0.0.1", "localhost");
    for url in [&by_address, &by_name] {
        assert!(!try_open(&server, url, SslMode::Disable, None).await.unwrap());
        for root in [None, Some(&wrong)] {
            assert!(try_open(&server, url, SslMode::Prefer, root).await.unwrap());
        }
        assert!(try_open(&server, url, SslMode::Require, None).await.unwrap());
        for mode in [SslMode::Require, SslMode::VerifyCa] {
            assert!(try_open(&server, url, mode, Some(&right)).await.unwrap());
            is_tls_error(try_open(&server, url, mode, Some(&wrong)).await, "UnknownIssuer");
        }
        is_tls_error(try_open(&server, url, SslMode::VerifyFull, Some(&wrong)).await, "UnknownIssuer");
    }
    assert!(try_open(&server, &by_name, SslMode::VerifyFull, Some(&right)).await.unwrap());
    is_tls_error(
        try_open(&server, &by_address, SslMode::VerifyFull, Some(&right)).await,
        "not valid for name",
    );
    // What the URL says is not made weaker by what is set beside it.
    let options = options(format!("{by_address}?sslmode=require&application_name=probe"));
    let _store = PostgresStore::open(options).await.unwrap();
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE application_name = 'probe' AND NOT ssl";
    assert_eq!(server.databases().execute(plain).unwrap(), "0");
}

#[tokio::test]
async fn a_certificate_that_a_server_made_for_itself_may_be_named() {
    for is_ca in [true, false] {
        let pair = self_signed("localhost", is_ca);
        let server = server(&pair);
        let own = file(&pair.certificate);
        let other = file(&self_signed("localhost", is_ca).certificate);
        let by_address = server.admin_url();
        let by_name = by_address.replace("127.0.0.1", "localhost");
        assert!(try_open(&server, &by_address, SslMode::VerifyCa, Some(&own)).await.unwrap());
        assert!(try_open(&server, &by_name, SslMode::VerifyFull, Some(&own)).await.unwrap());
        is_tls_error(
            try_open(&server, &by_address, SslMode::VerifyFull, Some(&own)).await,
            "not valid for name",
        );
        is_tls_error(try_open(&server, &by_name, SslMode::VerifyCa, Some(&other)).await, "");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_wanted_and_taken_where_it_is_preferred() {
    let server = Postgres::start().unwrap();
    let url = server.admin_url();
    assert!(!try_open(&server, &url, SslMode::Prefer, None).await.unwrap());
    for mode in [SslMode::Require, SslMode::VerifyCa] {
        let root = file(&issued("localhost", "right").0);
        is_tls_error(try_open(&server, &url, mode, Some(&root)).await, "offers no TLS");
    }
}

#[tokio::test]
async fn a_file_of_authorities_that_holds_none_is_named() {
    let root = file("nothing");
    let (error, text) = refusal(PostgresOptions {
        ssl_mode: SslMode::VerifyFull,
        ssl_root_cert: Some(root.path().to_owned()),
        ..options("postgresql://h/d")
    })
    .await;
    assert!(matches!(error, OpenError::Settings { .. }), "{error:?}");
    assert!(text.contains(&root.path().display().to_string()) && text.contains("no certificate"), "{text}");
}
