//! The certificate that the gateway shows.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFiles;
use crate::error::GatewayError;
use crate::watched_file::WatchedFile;

/// The certificate that the gateway shows, as its files have it.
#[derive(Debug)]
pub(super) struct Tls {
    files: Mutex<[WatchedFile; 2]>,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(files: &TlsFiles) -> Result<Self, GatewayError> {
        let mut watched =
            [&files.certificate, &files.key].map(|path| WatchedFile::new(path.clone()));
        let current = read(&mut watched)?;
        Ok(Self {
            files: Mutex::new(watched),
            current: RwLock::new(Arc::new(current)),
        })
    }

    /// Reads the files again if one has changed. If they are not valid, or do not belong together, the former certificate
    /// stays and that is logged: the other file may be written next.
    pub(super) fn reload_if_changed(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if !files.iter().any(WatchedFile::has_changed) {
            return;
        }
        match read(&mut files) {
            Ok(config) => {
                tracing::info!("certificate read again");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
            }
            Err(error) => {
                tracing::error!(error = %error.with_cause(), "certificate not read again; the former one stays")
            }
        }
    }

    /// What new connections are offered.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(files: &mut [WatchedFile; 2]) -> Result<ServerConfig, GatewayError> {
    files.iter_mut().for_each(WatchedFile::note);
    let [certificate, key] = [files[0].path(), files[1].path()];
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| invalid("read the certificate in", certificate, error))?;
    if chain.is_empty() {
        return Err(invalid(
            "read the certificate in",
            certificate,
            "it has no certificate in PEM format",
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| invalid("read the private key in", key, error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("set up TLS with", certificate, error))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| invalid("use the certificate in", certificate, error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn invalid(action: &'static str, path: &Path, error: impl ToString) -> GatewayError {
    GatewayError::File {
        action,
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}
