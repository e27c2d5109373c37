//! How requests to the API server are authenticated, as client-go does it.
//!
//! kube's own layer is not used. It gives a credential program the standard input of this program,
//! sends the newline at the end of a token file, and never reads a client certificate again.

mod client_certificate;
mod exec_credential;
mod method;
mod program;
mod provider;
mod service;
mod token_file;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use kube::config::AuthInfo;
use rustls::client::ResolvesClientCert;

use super::errors::CredentialError;
use client_certificate::ClientCertificate;
use method::Method;

pub(super) use service::AuthenticatedClient;

/// How often files with credentials are read again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// The credentials of one user of a kubeconfig.
pub(super) struct Credentials {
    method: Method,
    certificate: Arc<ClientCertificate>,
}

/// What one request is sent with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Issued {
    /// The value of `Authorization`.
    pub(super) header: Option<HeaderValue>,
    /// Changes with the client certificate, which belongs to a connection and not to a request.
    pub(super) generation: u64,
}

impl Credentials {
    /// Reads the credentials that are in the kubeconfig or in a file, which may block. A credential
    /// program is not run yet.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the kubeconfig contradicts itself.
    pub(super) fn read(auth: &AuthInfo) -> Result<Self, CredentialError> {
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
    pub(super) async fn prepare(&self, limit: Duration) -> Result<(), CredentialError> {
        match &self.method {
            Method::Program(program) => program.prepare(&self.certificate, limit).await,
            Method::Anonymous | Method::Fixed(_) | Method::File(_) => Ok(()),
        }
    }

    /// Returns whether there may be a client certificate.
    pub(super) fn may_have_certificate(&self) -> bool {
        self.certificate.is_configured() || matches!(self.method, Method::Program(_))
    }

    /// Returns the certificate for TLS handshakes.
    pub(super) fn certificate_resolver(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::clone(&self.certificate) as Arc<dyn ResolvesClientCert>
    }

    /// Returns valid credentials for one request, and renews them before if necessary.
    ///
    /// # Errors
    ///
    /// If the credential program fails, or a token cannot be sent.
    async fn current(&self) -> Result<Issued, CredentialError> {
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
    async fn replace_refused(&self, refused: &Issued) -> Result<Option<Issued>, CredentialError> {
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
