//! The credentials of one user of a kubeconfig.

use std::sync::Arc;
use std::time::Duration;

use kube::config::AuthInfo;
use rustls::client::ResolvesClientCert;

use super::client_certificate::ClientCertificate;
use super::issued::Issued;
use super::method::Method;
use crate::api::cluster::errors::CredentialError;

/// The credentials of one user of a kubeconfig.
pub(in crate::api::cluster) struct Credentials {
    method: Method,
    certificate: Arc<ClientCertificate>,
}

impl Credentials {
    /// Reads the credentials that are in the kubeconfig or in a file, which may block. A credential
    /// program is not run yet.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the kubeconfig contradicts itself.
    pub(in crate::api::cluster) fn read(auth: &AuthInfo) -> Result<Self, CredentialError> {
        let certificate = ClientCertificate::read(auth)?;
        let method = Method::read(auth, certificate.is_configured())?;
        Ok(Self {
            method,
            certificate: Arc::new(certificate),
        })
    }

    /// Runs the credential program, if there is one. It may use the terminal.
    ///
    /// # Errors
    ///
    /// If the program fails, or has not finished after `limit`, or much later at a terminal.
    pub(in crate::api::cluster) async fn prepare(
        &self,
        limit: Duration,
    ) -> Result<(), CredentialError> {
        match &self.method {
            Method::Program(program) => program.prepare(&self.certificate, limit).await,
            Method::Anonymous | Method::Fixed(_) | Method::File(_) => Ok(()),
        }
    }

    /// Returns whether there may be a client certificate.
    pub(in crate::api::cluster) fn may_have_certificate(&self) -> bool {
        self.certificate.is_configured() || matches!(self.method, Method::Program(_))
    }

    /// Returns the certificate for TLS handshakes.
    pub(in crate::api::cluster) fn certificate_resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::clone(&self.certificate) as Arc<dyn ResolvesClientCert>
    }

    /// Returns valid credentials for one request, and renews them before if necessary.
    ///
    /// # Errors
    ///
    /// If the credential program fails, or a token cannot be sent.
    pub(super) async fn current(&self) -> Result<Issued, CredentialError> {
        self.certificate.reload_if_due();
        let header = match &self.method {
            Method::Anonymous => None,
            Method::Fixed(header) => Some(header.clone()),
            Method::File(file) => Some(file.current()?),
            Method::Program(program) => program.current(&self.certificate).await?,
        };
        Ok(Issued {
            header,
            generation: self.certificate.generation(),
        })
    }

    /// Returns other credentials than those that the API server did not accept, if there are any.
    ///
    /// # Errors
    ///
    /// If the credential program fails.
    pub(super) async fn replace_refused(
        &self,
        refused: &Issued,
    ) -> Result<Option<Issued>, CredentialError> {
        self.certificate.reload();
        match &self.method {
            Method::Anonymous | Method::Fixed(_) => {}
            Method::File(file) => file.reload(),
            Method::Program(program) => program.renew_refused(refused, &self.certificate).await?,
        }
        let issued = self.current().await?;
        Ok((issued != *refused).then_some(issued))
    }
}
