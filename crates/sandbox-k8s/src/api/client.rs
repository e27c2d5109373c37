//! Sends requests to the API server: bounded by a deadline, and retried where the operation allows it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kube::Client;
use kube::client::Body;
use sandbox_core::{Deadline, Error, Result, SandboxId};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::classify::{self, FailedResponse, Intent, NextStep, classify};
use super::clock::{ServerClock, parse_date};
use super::cluster::{credential_error, redact_credentials};
use super::failure::Failure;
use super::lost::LostConnection;
use super::request_kind::RequestKind;
use super::response::{ApiResponse, BodyError, TOO_LONG, read_body};
use super::retry::{MAX_STARTUP_BACKOFF, Outage, attach_cause, retry_delay};
use super::watch_error::WatchError;
use crate::names::BACKEND;

/// Timeout of a read that has no deadline of its own.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Creates and deletes that run at the same time. kube has no limit, and each request that runs is a
/// connection.
const MAX_CONCURRENT_WRITES: usize = 32;

/// Timeout of one attempt to read. Nothing else notices a connection that was cut silently.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// Timeout of one attempt to write. Admission webhooks may take 30 s.
const WRITE_TIMEOUT: Duration = Duration::from_secs(35);

/// How long an API server is tried that has never responded and cannot be connected to. There may be
/// none at that address; the full deadline is for a server that is temporarily unavailable.
const FIRST_CONTACT_TIMEOUT: Duration = Duration::from_secs(10);

/// The API server, for one namespace.
pub(crate) struct ApiClient {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// The API server's clock.
    pub(crate) clock: Arc<ServerClock>,
    /// Whether the API server was unavailable recently.
    pub(crate) outage: Arc<Outage>,
    write_permits: Arc<Semaphore>,
    first_contact_timeout: Duration,
}

/// What a request does, as far as it decides about retries and errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) intent: Intent,
    pub(crate) verb: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) id: Option<&'a SandboxId>,
}

/// The result of an operation that may find the object in another state than expected.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// The response, and the API server's time.
    Success(T, Option<SystemTime>),
    /// An object of that name exists; see [`NextStep::CheckNonce`].
    Exists,
    /// The object to delete does not exist (any more).
    Missing,
    /// The object is not in the expected state.
    Conflict,
    /// The rest of a list is not available any more.
    Expired,
}

impl ApiClient {
    pub(crate) fn new(client: Client, namespace: String) -> Self {
        Self {
            client,
            namespace,
            clock: Arc::default(),
            outage: Arc::default(),
            write_permits: Arc::new(Semaphore::new(MAX_CONCURRENT_WRITES)),
            first_contact_timeout: FIRST_CONTACT_TIMEOUT,
        }
    }

    /// Returns a client of the same API server for another namespace. Both share the connections, the limit of
    /// writes at once, and what is known about the server.
    pub(crate) fn for_namespace(&self, namespace: String) -> Self {
        Self {
            client: self.client.clone(),
            namespace,
            clock: Arc::clone(&self.clock),
            outage: Arc::clone(&self.outage),
            write_permits: Arc::clone(&self.write_permits),
            first_contact_timeout: self.first_contact_timeout,
        }
    }

    /// Sends a request, and retries it until the response settles the operation.
    ///
    /// # Errors
    ///
    /// The error that the response stands for, or at the deadline, that of the last attempt.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        operation: &Operation<'_>,
        request: &http::Request<Vec<u8>>,
        deadline: Deadline,
    ) -> Result<Outcome<T>, Failure> {
        // Patches need no permit: they are few, and many sandboxes end if a Lease is renewed too late.
        let _permit = if matches!(operation.intent, Intent::Create | Intent::Delete) {
            let permit = self.write_permits.acquire();
            Some(tokio::time::timeout_at(deadline.instant(), permit).await)
        } else {
            None
        };
        let timeout = match operation.intent {
            Intent::Read | Intent::Continue => READ_TIMEOUT,
            Intent::Create | Intent::Delete | Intent::Patch => WRITE_TIMEOUT,
        };
        let started = tokio::time::Instant::now();
        let mut attempt = 0;
        loop {
            // One attempt; a lost response is an `ApiResponse` without a code.
            let timeout = timeout.min(deadline.remaining());
            let sent = tokio::time::timeout(timeout, self.send_and_read(request.clone())).await;
            let response = match sent {
                Ok(Ok(response)) => response,
                Ok(Err(SendError::Credentials(message))) => {
                    return Err(Error::Config { message }.into());
                }
                Ok(Err(SendError::TooLong)) => return Err(too_long(operation).into()),
                Ok(Err(SendError::Lost(cause))) => ApiResponse {
                    lost: Some(cause),
                    ..ApiResponse::default()
                },
                Err(_elapsed) => ApiResponse::default(),
            };
            self.outage.observe_status(response.code);
            let context = self.context(operation, attempt);
            if response.is_success() {
                let object = response.parse(&context)?;
                return Ok(Outcome::Success(object, parse_date(&response.headers)));
            }

            // The operation's intent decides what the failure means.
            let status = response.status();
            let failure = FailedResponse {
                code: response.code,
                status: status.as_ref(),
                retry_after: response.retry_after(),
            };
            let next = classify(&context, &failure);

            if let Some(lost) = &response.lost
                && lost.is_untrusted()
            {
                return Err(classify::untrusted(&context, lost).into());
            }

            // Retry while time remains, otherwise return what is known.
            let never_connected = response.lost.is_some() && self.clock.now().is_none();
            let patience = if never_connected {
                self.first_contact_timeout.saturating_sub(started.elapsed())
            } else {
                Duration::MAX
            };
            let remaining = deadline.remaining().min(patience);
            let Some(delay) = retry_delay(&next, attempt, self.outage.is_recent(), remaining)
            else {
                return match next {
                    NextStep::Retry { .. } => {
                        let error = classify::give_up(&context, &failure);
                        Err(attach_cause(error, response.lost).into())
                    }
                    NextStep::CheckNonce => Ok(Outcome::Exists),
                    NextStep::Missing => Ok(Outcome::Missing),
                    NextStep::Conflict => Ok(Outcome::Conflict),
                    NextStep::Expired => Ok(Outcome::Expired),
                    NextStep::Denied(failure) | NextStep::Permanent(failure) => Err(failure),
                };
            };
            tracing::debug!(
                k8s.verb = operation.verb,
                k8s.resource = operation.resource,
                k8s.code = response.code,
                attempt,
                cause = response.lost.as_ref().map(tracing::field::display),
                "retrying request"
            );
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }

    /// Sends a request whose only results are an object or an error.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        operation: &Operation<'_>,
        request: &http::Request<Vec<u8>>,
        deadline: Deadline,
    ) -> Result<(T, Option<SystemTime>), Failure> {
        match self.call(operation, request, deadline).await? {
            Outcome::Success(object, date) => Ok((object, date)),
            Outcome::Exists | Outcome::Missing | Outcome::Conflict | Outcome::Expired => {
                let context = self.context(operation, 0);
                Err(classify::give_up(&context, &FailedResponse::default()).into())
            }
        }
    }

    /// Sends a request once and returns its response as soon as the head is there. All requests but
    /// port-forwards go through this function.
    pub(crate) async fn send(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> kube::Result<http::Response<Body>> {
        let kind = RequestKind::from_request(&request);
        let measurement = kind.start_measurement();
        let sent = self
            .client
            .send(request.map(Body::from))
            .instrument(kind.span(&self.namespace))
            .await;
        let response = sent.map_err(redact_credentials)?;
        measurement.finish(response.status().as_u16());
        Ok(response)
    }

    /// Sends a request once and returns its body as a stream, for watches and logs. The caller decides
    /// about retries.
    pub(crate) async fn open(
        &self,
        request: http::Request<Vec<u8>>,
        deadline: Deadline,
    ) -> Result<http::Response<Body>, WatchError> {
        let sent = async {
            let response = self.send(request).await.map_err(SendError::from_kube)?;
            self.clock.update(response.headers());
            if response.status().is_success() {
                return Ok(Ok(response));
            }
            let (head, body) = response.into_parts();
            let body = read_body(body).await.map_err(SendError::from_body)?;
            let response = ApiResponse {
                code: Some(head.status.as_u16()),
                headers: head.headers,
                body,
                lost: None,
            };
            let status = response.status().unwrap_or_default();
            let failure = FailedResponse {
                code: response.code,
                status: Some(&status),
                retry_after: response.retry_after(),
            };
            let message = status.message.clone().unwrap_or_default();
            Ok(Err(WatchError::from_response(
                response.code,
                message,
                failure.wait(),
            )))
        };
        let timeout = deadline.remaining().min(READ_TIMEOUT);
        let error = match tokio::time::timeout(timeout, sent).await {
            Ok(Ok(Ok(response))) => return Ok(response),
            Ok(Ok(Err(error))) => error,
            Ok(Err(SendError::Credentials(message))) => {
                return Err(WatchError::from_response(Some(401), message, None).into_final());
            }
            Ok(Err(SendError::TooLong)) => WatchError::too_long(),
            Ok(Err(SendError::Lost(error))) => WatchError::from_lost(&error),
            Err(_elapsed) => WatchError::without_response("no response in time"),
        };
        self.outage.observe_status(error.code);
        Err(match error.code {
            Some(401 | 403) if self.outage.is_recent() => error.with_wait(MAX_STARTUP_BACKOFF),
            Some(401 | 403) => error.into_final(),
            _ => error,
        })
    }

    pub(super) fn context<'a>(
        &'a self,
        operation: &Operation<'a>,
        attempt: u32,
    ) -> classify::RequestContext<'a> {
        classify::RequestContext {
            intent: operation.intent,
            verb: operation.verb,
            resource: operation.resource,
            namespace: &self.namespace,
            id: operation.id,
            attempt,
        }
    }

    async fn send_and_read(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<ApiResponse, SendError> {
        let response = self.send(request).await.map_err(SendError::from_kube)?;
        let (head, body) = response.into_parts();
        self.clock.update(&head.headers);
        let body = read_body(body).await.map_err(SendError::from_body)?;
        Ok(ApiResponse {
            code: Some(head.status.as_u16()),
            headers: head.headers,
            body,
            lost: None,
        })
    }
}

/// Why a request has no response.
enum SendError {
    /// There are no credentials, and a retry would not get any.
    Credentials(String),
    /// The response is longer than a client keeps in memory.
    TooLong,
    /// The connection failed, before or after the request was sent.
    Lost(LostConnection),
}

impl SendError {
    fn from_kube(error: kube::Error) -> Self {
        match credential_error(&error) {
            Some(message) => Self::Credentials(message),
            None => Self::Lost(error.into()),
        }
    }

    fn from_body(error: BodyError) -> Self {
        match error {
            BodyError::TooLong => Self::TooLong,
            BodyError::Lost(error) => Self::from_kube(error),
        }
    }
}

fn too_long(operation: &Operation<'_>) -> Error {
    Error::Backend {
        backend: BACKEND,
        operation: "read a response of the API server",
        message: format!("{} {}: {TOO_LONG}", operation.verb, operation.resource),
        transient: false,
        source: None,
    }
}

#[cfg(test)]
mod tests;
