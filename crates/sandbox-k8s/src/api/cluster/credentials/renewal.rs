//! Credentials that a program renews when they have expired or were refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::client_certificate::ClientCertificate;
use super::header::bearer_header;
use super::issued::{Issued, RELOAD_INTERVAL};
use super::program::{CredentialProgram, Terminal};
use crate::api::cluster::errors::CredentialError;

/// Credentials are renewed this long before they expire, so that they are still valid on arrival.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// Timeout of a renewal, which runs without a user at the terminal.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(30);

/// The last credentials of a program.
pub(super) struct RenewedCredentials {
    program: CredentialProgram,
    /// Locked while the program runs, so that it runs once for all who wait.
    last: Arc<Mutex<Option<LastCredentials>>>,
}

struct LastCredentials {
    header: Option<HeaderValue>,
    expires: Option<Timestamp>,
    returned_at: Instant,
}

impl RenewedCredentials {
    pub(super) fn new(program: CredentialProgram) -> Self {
        Self {
            program,
            last: Arc::default(),
        }
    }

    /// Runs the program for the first time. It may use the terminal.
    pub(super) async fn prepare(
        &self,
        certificate: &ClientCertificate,
        limit: Duration,
    ) -> Result<(), CredentialError> {
        let mut last = self.last.lock().await;
        *last = Some(run(&self.program, certificate, Terminal::Available, limit).await?);
        Ok(())
    }

    /// Returns the header with the token, if there is one; a program may return only a certificate.
    pub(super) async fn current(
        &self,
        certificate: &Arc<ClientCertificate>,
    ) -> Result<Option<HeaderValue>, CredentialError> {
        let last = Arc::clone(&self.last).lock_owned().await;
        match &*last {
            Some(valid) if !valid.is_expiring() => Ok(valid.header.clone()),
            _ => self.renew(last, certificate).await,
        }
    }

    /// Renews credentials that the API server did not accept. They may be revoked or have no expiry.
    pub(super) async fn renew_refused(
        &self,
        refused: &Issued,
        certificate: &Arc<ClientCertificate>,
    ) -> Result<(), CredentialError> {
        let last = Arc::clone(&self.last).lock_owned().await;
        let is_renewed = last.as_ref().is_some_and(|last| {
            last.header != refused.header || certificate.generation() != refused.generation
        });
        // A program that has just returned these would return them again.
        let is_recent = last
            .as_ref()
            .is_some_and(|last| last.returned_at.elapsed() < RELOAD_INTERVAL);
        if !is_renewed && !is_recent {
            self.renew(last, certificate).await?;
        }
        Ok(())
    }

    /// Runs the program in a task, so that it finishes for others if this request is given up.
    async fn renew(
        &self,
        mut last: OwnedMutexGuard<Option<LastCredentials>>,
        certificate: &Arc<ClientCertificate>,
    ) -> Result<Option<HeaderValue>, CredentialError> {
        let (program, certificate) = (self.program.clone(), Arc::clone(certificate));
        let renewal = tokio::spawn(async move {
            let returned = run(&program, &certificate, Terminal::InUse, RENEWAL_TIMEOUT).await?;
            let header = returned.header.clone();
            *last = Some(returned);
            Ok(header)
        });
        renewal.await.unwrap_or_else(|error| {
            Err(CredentialError::new(format!(
                "the credential program of the kubeconfig could not be waited for: {error}"
            )))
        })
    }
}

impl LastCredentials {
    fn is_expiring(&self) -> bool {
        self.expires
            .is_some_and(|expires| Timestamp::now() + EXPIRY_MARGIN >= expires)
    }
}

async fn run(
    program: &CredentialProgram,
    certificate: &ClientCertificate,
    terminal: Terminal,
    limit: Duration,
) -> Result<LastCredentials, CredentialError> {
    let returned = program.run(terminal, limit).await?;
    if let Some((chain, key)) = &returned.certificate {
        certificate.replace(chain, key)?;
    }
    Ok(LastCredentials {
        header: returned.token.as_deref().map(bearer_header).transpose()?,
        expires: returned.expires,
        returned_at: Instant::now(),
    })
}
