//! The client's side of TLS: whom to trust, and who we are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where distributions keep the authorities that they trust.
const SYSTEM_STORES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

#[derive(Clone, Debug)]
pub struct Tls {
    /// Authorities to trust; `None`: those of the system.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether the certificate's name must be the host's.
    pub names: NameCheck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameCheck {
    Strict,
    Off,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}")]
    Pem { path: PathBuf, source: PemError },
    #[error("{0} holds no certificate")]
    Empty(PathBuf),
    #[error("found no file of the system's trusted authorities; name one with --cafile")]
    NoSystemStore,
    #[error("{0:?} is not a name that a certificate can hold")]
    BadName(String),
    #[error(transparent)]
    Config(#[from] Error),
    #[error(transparent)]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error(transparent)]
    Handshake(#[from] io::Error),
}

pub async fn shake_hands(tls: &Tls, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, TlsError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_invalid| TlsError::BadName(host.to_owned()))?;
    let connector = TlsConnector::from(Arc::new(config(tls)?));
    Ok(connector.connect(name, stream).await?)
}

fn config(tls: &Tls) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    let path = match &tls.authorities {
        Some(path) => path.as_path(),
        None => SYSTEM_STORES.iter().map(Path::new).find(|path| path.exists()).ok_or(TlsError::NoSystemStore)?,
    };
    let (taken, _unusable) = roots.add_parsable_certificates(certificates(path)?);
    if taken == 0 {
        return Err(TlsError::Empty(path.to_owned()));
    }
    let roots = Arc::new(roots);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match tls.names {
        NameCheck::Strict => builder.with_root_certificates(roots),
        NameCheck::Off => {
            let chain = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(chain)))
        }
    };
    let Some((certificate, key)) = &tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem { path: key.clone(), source })?;
    Ok(builder.with_client_auth_cert(certificates(certificate)?, secret)?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |source| TlsError::Pem { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(fail)?.map(|one| one.map_err(fail)).collect()
}

/// Checks the chain and the dates, but takes a certificate for any name: what `--insecure` asks for.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
