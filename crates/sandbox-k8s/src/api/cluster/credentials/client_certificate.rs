//! The client certificate, which is read again because it may be replaced while the program runs.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use k8s_openapi::ByteString;
use kube::config::AuthInfo;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::issued::RELOAD_INTERVAL;
use crate::api::cluster::errors::CredentialError;
use crate::lock::lock;

/// The certificate that TLS handshakes present, if the server asks for one.
pub(super) struct ClientCertificate {
    /// Where it comes from, if not from a credential program.
    source: Option<(PemSource, PemSource)>,
    current: Mutex<CurrentCertificate>,
}

struct CurrentCertificate {
    certified: Option<Arc<CertifiedKey>>,
    generation: u64,
    read_at: Instant,
}

/// Where a certificate or a key is kept.
enum PemSource {
    Inline(Vec<u8>),
    File(PathBuf),
}

impl ClientCertificate {
    /// Reads the certificate of a user of the kubeconfig.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, the content is no certificate with its key, or one of the two is missing.
    pub(super) fn read(auth: &AuthInfo) -> Result<Self, CredentialError> {
        let certificate = PemSource::new(
            "client-certificate-data",
            auth.client_certificate_data.as_deref(),
            auth.client_certificate.as_deref(),
        )?;
        let key = PemSource::new(
            "client-key-data",
            auth.client_key_data
                .as_ref()
                .map(ExposeSecret::expose_secret),
            auth.client_key.as_deref(),
        )?;
        let source = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => return Err(missing("client-key", "client-certificate")),
            (None, Some(_)) => return Err(missing("client-certificate", "client-key")),
        };
        let certified = source.as_ref().map(read_pair).transpose()?;
        Ok(Self {
            source,
            current: Mutex::new(CurrentCertificate {
                certified: certified.map(Arc::new),
                generation: 0,
                read_at: Instant::now(),
            }),
        })
    }

    /// Returns whether the kubeconfig has a certificate.
    pub(super) fn is_configured(&self) -> bool {
        self.source.is_some()
    }

    /// A number that changes with the certificate.
    pub(super) fn generation(&self) -> u64 {
        lock(&self.current).generation
    }

    /// Replaces the certificate by one that a credential program has returned.
    ///
    /// # Errors
    ///
    /// If the texts are no certificate with its key.
    pub(super) fn replace(&self, certificate: &str, key: &str) -> Result<(), CredentialError> {
        let certified = certify(certificate.as_bytes(), key.as_bytes()).map_err(|reason| {
            CredentialError::new(format!(
                "the credential program of the kubeconfig returned no usable client certificate: {reason}"
            ))
        })?;
        self.store(certified);
        Ok(())
    }

    /// Reads the files again if the last time is a minute ago.
    pub(super) fn reload_if_due(&self) {
        if lock(&self.current).read_at.elapsed() >= RELOAD_INTERVAL {
            self.reload();
        }
    }

    /// Reads the files again, if it comes from files. Keeps the last certificate if that fails, for example because only one of two
    /// files has been replaced so far.
    pub(super) fn reload(&self) {
        let is_file = |(chain, key): &&(PemSource, PemSource)| chain.is_file() || key.is_file();
        let Some(source) = self.source.as_ref().filter(is_file) else {
            return;
        };
        // Set first, so that other requests use the last certificate meanwhile.
        lock(&self.current).read_at = Instant::now();
        match read_pair(source) {
            Ok(certified) => self.store(certified),
            Err(error) => {
                tracing::debug!(%error, "client certificate not read; keeping the last one");
            }
        }
    }

    fn store(&self, certified: CertifiedKey) {
        let mut current = lock(&self.current);
        let is_same = current
            .certified
            .as_ref()
            .is_some_and(|last| last.cert == certified.cert);
        if !is_same {
            current.certified = Some(Arc::new(certified));
            current.generation += 1;
        }
    }
}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        lock(&self.current).certified.clone()
    }

    fn has_certs(&self) -> bool {
        lock(&self.current).certified.is_some()
    }
}

impl PemSource {
    fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Inline data has precedence over a file, as in client-go.
    fn new(
        name: &str,
        inline: Option<&str>,
        file: Option<&str>,
    ) -> Result<Option<Self>, CredentialError> {
        if let Some(encoded) = inline {
            let encoded: String = encoded.split_whitespace().collect();
            // Kubernetes' type for bytes in JSON, which is base64.
            let ByteString(pem) =
                serde_json::from_value(Value::String(encoded)).map_err(|_invalid| {
                    CredentialError::new(format!("{name} of the kubeconfig is not base64"))
                })?;
            return Ok(Some(Self::Inline(pem)));
        }
        Ok(file.map(|path| Self::File(path.into())))
    }

    fn read(&self) -> Result<Vec<u8>, CredentialError> {
        match self {
            Self::Inline(pem) => Ok(pem.clone()),
            Self::File(path) => fs::read(path).map_err(|error| {
                CredentialError::new(format!(
                    "cannot read {} of the kubeconfig: {error}",
                    path.display()
                ))
            }),
        }
    }
}

fn missing(what: &str, other: &str) -> CredentialError {
    CredentialError::new(format!(
        "the kubeconfig has a {other} but no {what} for the same user"
    ))
}

fn read_pair((certificate, key): &(PemSource, PemSource)) -> Result<CertifiedKey, CredentialError> {
    certify(&certificate.read()?, &key.read()?).map_err(|reason| {
        CredentialError::new(format!(
            "the client certificate of the kubeconfig cannot be used: {reason}"
        ))
    })
}

/// The reason of a failure does not repeat the key.
fn certify(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            "there is no unencrypted private key in it".to_owned()
        }
        error => format!("the key is not PEM: {error}"),
    })?;
    let provider = CryptoProvider::get_default().ok_or("there is no crypto provider")?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
