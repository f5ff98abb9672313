//! PostgreSQL and a model's server over TLS from one process, as a server of ours talks to both. With two crypto providers
//! in the build rustls could not tell which one is meant, and whoever comes first would panic.
//!
//! The client is the one that model providers are asked with (`genai` brings `reqwest` with rustls); the rule that
//! the build has one provider is in `xtask`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use membrane_postgres::{PostgresOptions, PostgresStore, SslMode};
use membrane_store::Store;
use membrane_testservers::{Postgres, PostgresOptions as ServerOptions};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::keep::options;
use crate::tls::{Pair, file, issued};

const ANSWER: &str = r#"{"choices":[{"message":{"role":"assistant","content":"hello"}}]}"#;

/// A model's server: answers every request alike, for as long as it is asked. Gives its port.
fn model_server(pair: &Pair) -> u16 {
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, socket));
            let mut line = String::new();
            // A client that does not trust us leaves in the middle.
            while stream.read_line(&mut line).is_ok_and(|n| n > 0) && line != "\r\n" {
                line.clear();
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
                ANSWER.len()
            );
            let _ = stream.get_mut().write_all(format!("{head}connection: close\r\n\r\n{ANSWER}").as_bytes());
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_talks_tls_to_the_database_and_to_a_models_server() {
    let (authority, pair) = issued("localhost", "of both");
    let server = Postgres::start_with(&ServerOptions::default().tls(&pair.certificate, &pair.key)).unwrap();
    let model = format!("https://localhost:{}/v1/chat/completions", model_server(&pair));
    let root = file(&authority);
    let of_database = || PostgresOptions {
        ssl_mode: SslMode::VerifyFull,
        ssl_root_cert: Some(root.path().to_owned()),
        ..options(server.admin_url().replace("127.0.0.1", "localhost"))
    };
    let of_model = || {
        let root = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap()
    };
    // Either may be the first to need a provider.
    let before = of_model();
    let store = PostgresStore::open(of_database()).await.unwrap();
    let after = of_model();
    let again = PostgresStore::open(of_database()).await.unwrap();
    for client in [before, after] {
        let answer = client.post(&model).body("{}").send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), ANSWER);
        store.ready().await.unwrap();
        again.ready().await.unwrap();
    }
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'membrane'";
    assert_eq!(server.databases().execute(encrypted).unwrap(), "t");
    // Certificates are looked at: one of another authority is not taken.
    let stranger = reqwest::Certificate::from_pem(issued("localhost", "of nobody").0.as_bytes()).unwrap();
    let stranger = reqwest::Client::builder().no_proxy().tls_certs_only([stranger]).build().unwrap();
    let refused = stranger.post(&model).body("{}").send().await.unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
}
