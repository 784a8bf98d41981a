//! The device door's certificate: read from its files at start, and again when they have changed.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

use crate::secrets::located;

/// How often, at most, an accept looks whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

pub struct Certificate {
    /// The certificate, and its key.
    files: RefCell<(PathBuf, PathBuf)>,
    config: RefCell<Arc<ServerConfig>>,
    seen: Cell<[Option<SystemTime>; 2]>,
    looked: Cell<Instant>,
}

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("failed to read the certificate {0}: {1}")]
    Certificate(PathBuf, pem::Error),
    #[error("failed to read the certificate's key {0}: {1}")]
    Key(PathBuf, pem::Error),
    #[error("the certificate {0} and its key do not serve: {1}")]
    Unfit(PathBuf, rustls::Error),
}

impl Certificate {
    pub fn load(cert: PathBuf, key: PathBuf) -> Result<Self, CertificateError> {
        let seen = Cell::new([changed(&cert), changed(&key)]);
        let config = RefCell::new(read(&cert, &key)?);
        Ok(Self { files: RefCell::new((cert, key)), config, seen, looked: Cell::new(Instant::now()) })
    }

    /// What the next connection is served with.
    pub fn config(&self) -> Arc<ServerConfig> {
        if self.looked.get().elapsed() >= LOOK_EVERY {
            self.looked.set(Instant::now());
            if self.changed() != self.seen.get() {
                self.reload();
            }
        }
        self.config.borrow().clone()
    }

    /// Show `other` from now on.
    pub fn replace(&self, other: Self) {
        self.seen.set(other.seen.get());
        self.config.replace(other.config.into_inner());
        self.files.replace(other.files.into_inner());
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        let (cert, key) = &*self.files.borrow();
        [changed(cert), changed(key)]
    }

    /// Read the files again. What is wrong with them is told, and the old certificate goes on serving.
    pub fn reload(&self) {
        self.seen.set(self.changed());
        let (cert, key) = &*self.files.borrow();
        match read(cert, key) {
            Ok(config) => {
                *self.config.borrow_mut() = config;
                info!(cert = %cert.display(), "read the certificate again");
            }
            Err(error) => warn!(%error, "the old certificate goes on serving"),
        }
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(located(path)).and_then(|facts| facts.modified()).ok()
}

fn read(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let bad_cert = |error| CertificateError::Certificate(cert.to_owned(), error);
    let chain = CertificateDer::pem_file_iter(located(cert)).map_err(bad_cert)?.collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(bad_cert)?;
    if chain.is_empty() {
        return Err(bad_cert(pem::Error::Io(io::Error::other("there is none in it"))));
    }
    let secret =
        PrivateKeyDer::from_pem_file(located(key)).map_err(|error| CertificateError::Key(key.to_owned(), error))?;
    let unfit = |error| CertificateError::Unfit(cert.to_owned(), error);
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(unfit)?;
    Ok(Arc::new(config))
}
