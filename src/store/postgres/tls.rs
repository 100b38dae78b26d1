//! TLS modes as in libpq
//! (<https://www.postgresql.org/docs/current/libpq-ssl.html>).

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::authorities;

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// Plain text.
    Disable,
    /// Encrypts. With a CA file, also verifies the certificate, but not its host name.
    Require,
    /// Encrypts, and verifies the certificate and its host name.
    VerifyFull,
}

/// Why TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be read.
    #[error("--postgres-ca-file {}: {}", .0.display(), .1)]
    File(PathBuf, pem::Error),
    /// The CA file has no certificate.
    #[error("--postgres-ca-file {} holds no certificate: name a file in PEM form", .0.display())]
    Empty(PathBuf),
    /// The machine has no trusted CAs.
    #[error(
        "this machine has no trusted CA certificates: install ca-certificates, or name a file with --postgres-ca-file"
    )]
    NoneTrusted,
    /// The TLS library rejects the CA certificates.
    #[error("cannot use the trusted certificates: {0}")]
    Unusable(Box<dyn std::error::Error + Send + Sync>),
}

/// Makes TLS connectors.
pub(super) struct Tls {
    /// From the CA file; `None` for those that the machine trusts.
    authorities: Option<RootCertStore>,
    require: MakeRustlsConnect,
    /// Made when first used: the machine's list is long.
    verify_full: OnceLock<MakeRustlsConnect>,
}

impl TlsMode {
    /// The mode for the client library.
    pub fn as_config(self) -> SslMode {
        match self {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Require | TlsMode::VerifyFull => SslMode::Require,
        }
    }
}

impl Tls {
    /// Trusts the CAs in `ca_file`, or without it those that the machine trusts.
    pub fn new(ca_file: Option<&Path>) -> Result<Tls, TlsError> {
        let authorities = ca_file.map(read_authorities).transpose()?;
        let require = encrypting(authorities.clone())?;
        Ok(Tls { authorities, require, verify_full: OnceLock::new() })
    }

    /// A connector for `mode`.
    pub fn connector(&self, mode: TlsMode) -> Result<MakeRustlsConnect, TlsError> {
        match (mode, self.verify_full.get()) {
            // The client library needs one even if it does not use it.
            (TlsMode::Disable | TlsMode::Require, _) => Ok(self.require.clone()),
            (TlsMode::VerifyFull, Some(connector)) => Ok(connector.clone()),
            (TlsMode::VerifyFull, None) => {
                let authorities = self.authorities.clone().map_or_else(machines_authorities, Ok)?;
                let connector = verifying(authorities)?;
                Ok(self.verify_full.get_or_init(|| connector).clone())
            }
        }
    }
}

fn encrypting(authorities: Option<RootCertStore>) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let chain = |authorities: RootCertStore| {
        WebPkiServerVerifier::builder_with_provider(authorities.into(), provider.clone())
            .build()
            .map_err(|error| TlsError::Unusable(error.into()))
    };
    let verifier = AnyName { chain: authorities.map(chain).transpose()?, algorithms };
    let config = builder(provider)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn verifying(authorities: RootCertStore) -> Result<MakeRustlsConnect, TlsError> {
    let config = builder(Arc::new(ring::default_provider()))?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn builder(
    provider: Arc<CryptoProvider>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Unusable(error.into()))
}

fn read_authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let unreadable = |error| TlsError::File(file.into(), error);
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        authorities
            .add(certificate.map_err(unreadable)?)
            .map_err(|error| TlsError::Unusable(error.into()))?;
    }
    if authorities.is_empty() {
        return Err(TlsError::Empty(file.into()));
    }
    Ok(authorities)
}

fn machines_authorities() -> Result<RootCertStore, TlsError> {
    let authorities = authorities::of_this_machine();
    if authorities.is_empty() { Err(TlsError::NoneTrusted) } else { Ok(authorities) }
}

/// Verifies the chain if there is a CA file, and never the host name: libpq's
/// `sslmode=require`.
#[derive(Debug)]
struct AnyName {
    chain: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is verified last, after everything else.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
