//! One request to the API server: by a deadline, and sent again as far as what it does allows.

use std::time::{Duration, SystemTime};

use kube::Client;
use kube::client::Body;
use sandbox_core::{Deadline, Error, Result, SandboxId};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::classify::{self, Answer, Intent, Next, classify};
use super::clock::{ServerClock, date};
use super::cluster::{credential_error, redact_credentials};
use super::request_kind::RequestKind;
use super::response::ApiResponse;
use super::retry::{Outage, SOON, again, with_cause};
use super::watch_error::WatchError;

/// How long a read may take for which nobody set a deadline.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);

/// The API server, for one namespace.
pub(crate) struct ApiClient {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// What time it is for the API server.
    pub(crate) clock: ServerClock,
    /// Whether it was away just now.
    pub(crate) outage: Outage,
    /// kube has no limit of its own, and each request at once is a connection.
    writes: Semaphore,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation<'a> {
    pub(crate) intent: Intent,
    pub(crate) verb: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) id: Option<&'a SandboxId>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// The answer, and what time it is for the API server.
    Done(T, Option<SystemTime>),
    /// An object of that name exists, perhaps ours: see [`Next::CheckNonce`].
    Exists,
    /// There was nothing to delete (any more).
    AlreadyGone,
    /// It is not as it was.
    Changed,
}

/// Changes at once.
const WRITES: usize = 32;
/// How long one attempt to read may take: a connection that was cut without a word is noticed
/// by nothing else.
const READ: Duration = Duration::from_secs(15);
/// And one to write: admission webhooks may take 30 s.
const WRITE: Duration = Duration::from_secs(35);

/// An API server that never answered and cannot be connected to, perhaps because there is none, is
/// tried for so long and not until the deadline, which is for one that is away for a while.
const FIRST_CONTACT: Duration = Duration::from_secs(10);

impl ApiClient {
    pub(crate) fn new(client: Client, namespace: String) -> Self {
        Self {
            client,
            namespace,
            clock: ServerClock::default(),
            outage: Outage::default(),
            writes: Semaphore::new(WRITES),
        }
    }

    /// Sends a request until it is answered in a way that means something for what it does.
    ///
    /// # Errors
    ///
    /// What the answer means, or at the deadline, what the last one said.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        operation: &Operation<'_>,
        request: &http::Request<Vec<u8>>,
        deadline: Deadline,
    ) -> Result<Outcome<T>> {
        let writes = operation.intent != Intent::Read;
        // Patches are few, and a Lease that is not renewed in time is the end of many sandboxes.
        let _turn = match matches!(operation.intent, Intent::Create | Intent::Delete) {
            true => Some(tokio::time::timeout_at(deadline.instant(), self.writes.acquire()).await),
            false => None,
        };
        let begun = tokio::time::Instant::now();
        let mut attempt = 0;
        loop {
            let about = self.about(operation, attempt);
            let limit = if writes { WRITE } else { READ }.min(deadline.remaining());
            let heard = match tokio::time::timeout(limit, self.once(request.clone())).await {
                Ok(Ok(heard)) => heard,
                Ok(Err(SendError::Credentials(message))) => return Err(Error::Config { message }),
                Ok(Err(SendError::Lost(cause))) => ApiResponse {
                    lost: Some(cause),
                    ..ApiResponse::default()
                },
                Err(_elapsed) => ApiResponse::default(),
            };
            self.outage.hear(heard.code);
            if heard.is_success() {
                return heard
                    .read(&about)
                    .map(|answer| Outcome::Done(answer, date(&heard.headers)));
            }
            let status = heard.status();
            let answer = Answer {
                code: heard.code,
                status: status.as_ref(),
                retry_after: heard.retry_after(),
            };
            let next = classify(&about, &answer);
            let never_heard = heard.lost.is_some() && self.clock.now().is_none();
            let wait_limit = if never_heard {
                FIRST_CONTACT.saturating_sub(begun.elapsed())
            } else {
                Duration::MAX
            };
            let left = deadline.remaining().min(wait_limit);
            let Some(pause) = again(&next, attempt, self.outage.is_recent(), left) else {
                return match next {
                    Next::Retry { .. } => {
                        Err(with_cause(classify::give_up(&about, &answer), heard.lost))
                    }
                    Next::CheckNonce => Ok(Outcome::Exists),
                    Next::AlreadyGone => Ok(Outcome::AlreadyGone),
                    Next::Changed => Ok(Outcome::Changed),
                    Next::Denied(error) | Next::Permanent(error) => Err(error),
                };
            };
            tracing::debug!(
                k8s.verb = operation.verb,
                k8s.resource = operation.resource,
                k8s.code = heard.code,
                attempt,
                cause = heard.lost.as_ref().map(tracing::field::display),
                "asking again"
            );
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// For what can only be an answer or an error.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        operation: &Operation<'_>,
        request: &http::Request<Vec<u8>>,
        deadline: Deadline,
    ) -> Result<(T, Option<SystemTime>)> {
        match self.call(operation, request, deadline).await? {
            Outcome::Done(answer, date) => Ok((answer, date)),
            Outcome::Exists | Outcome::AlreadyGone | Outcome::Changed => Err(classify::give_up(
                &self.about(operation, 0),
                &Answer::default(),
            )),
        }
    }

    fn about<'a>(&'a self, operation: &Operation<'a>, attempt: u32) -> classify::Request<'a> {
        classify::Request {
            intent: operation.intent,
            verb: operation.verb,
            resource: operation.resource,
            namespace: &self.namespace,
            id: operation.id,
            attempt,
        }
    }

    async fn once(&self, request: http::Request<Vec<u8>>) -> Result<ApiResponse, SendError> {
        let response = self.send(request).await.map_err(SendError::of)?;
        let (head, body) = response.into_parts();
        self.clock.hear(&head.headers);
        let body = body.collect_bytes().await.map_err(SendError::of)?;
        Ok(ApiResponse {
            code: Some(head.status.as_u16()),
            headers: head.headers,
            body,
            lost: None,
        })
    }

    /// Sends a request once, until the head of its answer. Every request goes this way.
    pub(crate) async fn send(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> kube::Result<http::Response<Body>> {
        let about = RequestKind::of(&request);
        let asked = about.measured();
        let sent = self
            .client
            .send(request.map(Body::from))
            .instrument(about.span(&self.namespace))
            .await;
        let response = sent.map_err(redact_credentials)?;
        asked.finish(response.status().as_u16());
        Ok(response)
    }

    /// Sends a request of the watch, once: its loop decides what comes next.
    pub(crate) async fn open(
        &self,
        request: http::Request<Vec<u8>>,
        deadline: Deadline,
    ) -> Result<http::Response<Body>, WatchError> {
        let sent = async {
            let response = self.send(request).await.map_err(SendError::of)?;
            self.clock.hear(response.headers());
            if response.status().is_success() {
                return Ok(Ok(response));
            }
            let (head, body) = response.into_parts();
            let body = body.collect_bytes().await.map_err(SendError::of)?;
            let heard = ApiResponse {
                code: Some(head.status.as_u16()),
                headers: head.headers,
                body,
                lost: None,
            };
            let status = heard.status().unwrap_or_default();
            let answer = Answer {
                code: heard.code,
                status: Some(&status),
                retry_after: heard.retry_after(),
            };
            let message = status.message.clone().unwrap_or_default();
            Ok(Err(WatchError::answered(
                heard.code,
                message,
                answer.wait(),
            )))
        };
        let refused = match tokio::time::timeout(deadline.remaining().min(READ), sent).await {
            Ok(Ok(Ok(response))) => return Ok(response),
            Ok(Ok(Err(refused))) => refused,
            Ok(Err(SendError::Credentials(message))) => {
                return Err(WatchError::answered(Some(401), message, None).for_good());
            }
            Ok(Err(SendError::Lost(error))) => WatchError::lost(error.to_string()),
            Err(_elapsed) => WatchError::lost("no answer in time"),
        };
        self.outage.hear(refused.code);
        Err(match refused.code {
            Some(401 | 403) if self.outage.is_recent() => refused.soon(SOON),
            Some(401 | 403) => refused.for_good(),
            _ => refused,
        })
    }
}

/// Why there is no answer.
enum SendError {
    /// Another attempt would not get them either.
    Credentials(String),
    Lost(kube::Error),
}

impl SendError {
    fn of(error: kube::Error) -> Self {
        match credential_error(&error) {
            Some(message) => Self::Credentials(message),
            None => Self::Lost(error),
        }
    }
}
