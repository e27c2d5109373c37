//! One host that is intercepted.

use std::fmt::{self, Debug, Formatter};
use std::io;

use http::header::{HeaderMap, HeaderName};
use sandbox_core::{Error, Result};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::authority::Authority;
use super::placeholder::{Placeholder, exchange};
use super::{HostTransform, KIND};
use crate::Upstream;
use crate::credential::{Injection, Redaction, remove_own};
use crate::rules::name::{HostName, Target};
use crate::tls;

/// More bytes than a ServerHello and an alert have, the last that is written in a handshake that fails.
const LAST_RECORDS: usize = 1024;

/// A host that is intercepted, with what its requests get.
pub(crate) struct InterceptedHost {
    target: Target,
    name: HostName,
    injections: Vec<Injection>,
    placeholders: Vec<Placeholder>,
    /// How its secrets may be spelt in what comes back.
    redaction: Redaction,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

impl InterceptedHost {
    /// # Errors
    ///
    /// [`Error::Invalid`] if the transform changes nothing, or if there is no authority to trust.
    pub(super) fn new(transform: HostTransform, authority: &Authority) -> Result<Self> {
        let target = transform.target();
        if transform.headers.is_empty() && transform.placeholders.is_empty() {
            return Err(Error::invalid(
                KIND,
                target.to_string(),
                "it changes nothing; give it a header or a placeholder, with a secret",
            ));
        }
        let injections: Vec<Injection> = transform
            .headers
            .iter()
            .map(|(scheme, secret)| Injection::new(scheme, secret))
            .collect();
        let placeholders = transform
            .placeholders
            .into_iter()
            .map(|(variable, secret)| Placeholder::new(variable, secret))
            .collect::<Result<Vec<_>>>()?;
        let mut redaction = Redaction::default();
        for injection in &injections {
            redaction.extend(injection.redaction());
        }
        for placeholder in &placeholders {
            redaction.extend(&Redaction::for_secret(placeholder.secret()));
        }
        let name = transform.name;
        Ok(Self {
            acceptor: authority.create_acceptor(&name)?,
            connector: tls::create_connector(
                KIND,
                name.as_str(),
                transform.authorities.as_deref(),
            )?,
            server_name: tls::server_name(KIND, &target.host)?,
            target,
            name,
            injections,
            placeholders,
            redaction,
        })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn name(&self) -> &HostName {
        &self.name
    }

    pub(super) fn placeholders(&self) -> &[Placeholder] {
        &self.placeholders
    }

    /// Speaks TLS with the program in the sandbox, in place of the host.
    ///
    /// # Errors
    ///
    /// If the handshake fails: if the program does not trust the authority, for example.
    pub(crate) async fn accept(&self, stream: Box<dyn Upstream>) -> io::Result<Box<dyn Upstream>> {
        // The TLS library tries once to write what is left when a handshake fails, and the stream may take a part of it.
        let stream = BufWriter::with_capacity(LAST_RECORDS, stream);
        match self.acceptor.accept(stream).into_fallible().await {
            Ok(stream) => Ok(Box::new(stream)),
            Err((error, mut stream)) => {
                // The program gets the alert that says why, and then an end. A reset could overtake it.
                stream.shutdown().await.ok();
                Err(error)
            }
        }
    }

    /// Speaks TLS with the host.
    ///
    /// # Errors
    ///
    /// If the handshake fails, or if the certificate is not for the host.
    pub(crate) async fn secure(&self, stream: Box<dyn Upstream>) -> io::Result<Box<dyn Upstream>> {
        let name = self.server_name.clone();
        Ok(Box::new(self.connector.connect(name, stream).await?))
    }

    /// Changes the headers of a request, which has no header about the connection any more. Returns further spellings of the
    /// secrets in it.
    ///
    /// # Errors
    ///
    /// Why it is refused.
    pub(crate) fn prepare_request(&self, headers: &mut HeaderMap) -> Result<Redaction, String> {
        let own: Vec<&HeaderName> = self.injections.iter().map(Injection::header).collect();
        remove_own(headers, &own);
        let spellings = exchange(headers, &self.placeholders)?;
        for injection in &self.injections {
            injection.add_to(headers)?;
        }
        Ok(spellings)
    }

    /// Removes the secrets from the headers of a response.
    pub(crate) fn prepare_response(&self, headers: &mut HeaderMap, spellings: &Redaction) {
        self.redaction.redact(headers);
        spellings.redact(headers);
    }
}

/// Without the secrets.
impl Debug for InterceptedHost {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterceptedHost")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
