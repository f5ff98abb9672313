//! How connections are encrypted: libpq's modes on rustls, with one crypto provider that is named here.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::OpenError;
use crate::options::{PostgresOptions, SslMode};

/// What makes TLS connections. Under [`SslMode::Disable`] nobody uses it.
pub(crate) fn connector(mode: SslMode, options: &PostgresOptions) -> Result<MakeRustlsConnect, OpenError> {
    // Named, never the process's default: that is nobody's to set here.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = roots(mode, options.ssl_root_cert.as_deref())?;
    let verifier: Arc<dyn ServerCertVerifier> = match roots {
        None => Arc::new(Anybody { provider: Arc::clone(&provider) }),
        Some(roots) => Arc::new(Known::new(roots, mode == SslMode::VerifyFull, Arc::clone(&provider))?),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| settings(format!("TLS cannot be set up: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn settings(problem: String) -> OpenError {
    OpenError::Settings { problem }
}

/// The authorities to trust; `None` where certificates are not looked at.
fn roots(mode: SslMode, file: Option<&Path>) -> Result<Option<Vec<CertificateDer<'static>>>, OpenError> {
    match (mode, file) {
        (SslMode::Disable | SslMode::Prefer, _) | (SslMode::Require, None) => Ok(None),
        // As with libpq: who names an authority wants it asked.
        (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, Some(file)) => {
            read_roots(file).map(Some)
        }
        (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "a certificate of the system's cannot be read");
            }
            if found.certs.is_empty() {
                let problem = "the system has no certificates of authorities; name a file with sslrootcert";
                return Err(settings(problem.to_owned()));
            }
            Ok(Some(found.certs))
        }
    }
}

fn read_roots(file: &Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let unreadable = |error: &dyn std::fmt::Display| {
        settings(format!("the file of root certificates {} cannot be read: {error}", file.display()))
    };
    let roots: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error: rustls::pki_types::pem::Error| unreadable(&error))?;
    if roots.is_empty() {
        return Err(unreadable(&"there is no certificate in it"));
    }
    Ok(roots)
}

/// Takes any certificate: only eavesdroppers are kept out.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes certificates of known authorities, and known certificates.
#[derive(Debug)]
struct Known {
    authorities: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
    checks_name: bool,
}

impl Known {
    fn new(
        roots: Vec<CertificateDer<'static>>,
        checks_name: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, OpenError> {
        let mut store = RootCertStore::empty();
        // Some systems hold certificates that no longer can be read.
        let (n_added, _) = store.add_parsable_certificates(roots.iter().cloned());
        if n_added == 0 {
            return Err(settings("none of the root certificates can be understood".to_owned()));
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
            .build()
            .map_err(|error| settings(format!("the root certificates cannot be used: {error}")))?;
        Ok(Self { authorities, roots, checks_name })
    }

    /// A server's own certificate may be named as the authority, even if it says of itself that it is one: that is what
    /// `openssl req -x509` makes. It is refused as such only after its validity in time was looked at.
    fn is_named(&self, end_entity: &CertificateDer<'_>, error: &Error) -> bool {
        matches!(error, Error::InvalidCertificate(CertificateError::Other(_)))
            && self.roots.iter().any(|root| root == end_entity)
    }
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        match verified {
            // The name is looked at last.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            Err(error) if self.is_named(end_entity, &error) => {
                if self.checks_name {
                    rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
