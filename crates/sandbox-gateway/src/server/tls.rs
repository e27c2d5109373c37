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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    /// The files of a gateway, in a directory of their own.
    struct Directory {
        _dir: tempfile::TempDir,
        files: TlsFiles,
    }

    impl Directory {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = |name: &str| -> PathBuf { dir.path().join(name) };
            let files = TlsFiles {
                certificate: path("cert.pem"),
                key: path("key.pem"),
            };
            let directory = Self { _dir: dir, files };
            let (certificate, key) = pair();
            directory.write(Some(&certificate), Some(&key));
            directory
        }

        /// Replaces files as programs do that renew certificates.
        fn write(&self, certificate: Option<&str>, key: Option<&str>) {
            for (path, content) in [
                (&self.files.certificate, certificate),
                (&self.files.key, key),
            ] {
                if let Some(content) = content {
                    let new = path.with_extension("new");
                    fs::write(&new, content).unwrap();
                    fs::rename(new, path).unwrap();
                }
            }
        }
    }

    /// A certificate and its key in PEM.
    fn pair() -> (String, String) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    /// What is logged meanwhile.
    fn log_of(run: impl FnOnce()) -> String {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&log);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Log(Arc::clone(&writer)))
            .finish();
        tracing::subscriber::with_default(subscriber, run);
        let log = log.lock().unwrap();
        String::from_utf8(log.clone()).unwrap()
    }

    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_changed_files_are_read_again() {
        let directory = Directory::new();
        let tls = Tls::load(&directory.files).unwrap();
        let first = tls.current();
        tls.reload_if_changed();
        assert!(Arc::ptr_eq(&first, &tls.current()));
        let (certificate, key) = pair();
        directory.write(Some(&certificate), Some(&key));
        let log = log_of(|| tls.reload_if_changed());
        assert!(log.contains("certificate read again"), "{log}");
        assert!(!Arc::ptr_eq(&first, &tls.current()));
    }

    #[test]
    fn the_former_certificate_stays_while_the_files_are_not_valid() {
        let directory = Directory::new();
        let tls = Tls::load(&directory.files).unwrap();
        let former = tls.current();
        let (certificate, key) = pair();
        for broken in [
            "",
            "no certificate",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            // The key of the former one is still there.
            &certificate,
        ] {
            directory.write(Some(broken), None);
            let log = log_of(|| tls.reload_if_changed());
            let path = directory.files.certificate.display().to_string();
            assert!(
                log.contains("ERROR")
                    && log.contains("the former one stays")
                    && log.contains(&path),
                "{broken:?}: {log}"
            );
            assert!(Arc::ptr_eq(&former, &tls.current()), "{broken:?}");
            // It is reported once, and not every second.
            assert_eq!(log_of(|| tls.reload_if_changed()), "");
        }
        // While a file is replaced, it may be missing.
        fs::remove_file(&directory.files.key).unwrap();
        assert_eq!(log_of(|| tls.reload_if_changed()), "");
        directory.write(None, Some(&key));
        let log = log_of(|| tls.reload_if_changed());
        assert!(log.contains("certificate read again"), "{log}");
        assert!(!Arc::ptr_eq(&former, &tls.current()));
        let secret = key.lines().nth(1).unwrap();
        assert!(!log.contains(secret), "{log}");
    }

    #[test]
    fn a_gateway_does_not_start_without_a_valid_certificate() {
        let directory = Directory::new();
        let other_key = pair().1;
        let (certificate, key) = (&directory.files.certificate, &directory.files.key);
        let error = || Tls::load(&directory.files).unwrap_err().with_cause();
        fs::remove_file(key).unwrap();
        let text = error();
        assert!(text.contains(&key.display().to_string()), "{text}");
        fs::write(key, other_key).unwrap();
        let text = error();
        assert!(text.contains(&certificate.display().to_string()), "{text}");
        fs::write(certificate, "").unwrap();
        let text = error();
        assert!(text.contains("no certificate in PEM format"), "{text}");
    }
}
