//! A call to a service of the daemon.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use http::Version;
use http::request::Parts;
use sandbox::Sandbox;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::{Failure, explain};
use super::user;
use crate::app::App;
use crate::connect::{
    CallKind, Code, ConnectError, Cut, Deadline, Streamed, keepalive_interval, message_response,
    read_frame, read_message, stream_response,
};
use crate::connection::ConnectionHandle;
use crate::sandboxes::Found;

/// How often an open stream looks whether its sandbox was paused, which any replica may have done.
const PAUSE_CHECK: Duration = Duration::from_secs(5);

/// Resolves when a stream has to end because its sandbox is paused.
pub(super) type Pause = Pin<Box<dyn Future<Output = Cut> + Send>>;

/// A call whose caller may use the sandbox, without its body.
pub(super) struct Call {
    pub(super) guest: Guest,
    pub(super) sandbox: Sandbox,
    pub(super) head: Parts,
}

/// What is needed to explain an error of a sandbox.
#[derive(Clone)]
pub(super) struct Guest {
    pub(super) app: Arc<App>,
    pub(super) found: Arc<Found>,
    /// The connection that is reset if the sandbox ends during a stream. `None` over HTTP/2, where ending the body with
    /// an error resets the stream alone.
    connection: Option<ConnectionHandle>,
}

impl Guest {
    pub(super) fn new(app: Arc<App>, found: Found, head: &Parts) -> Self {
        let connection = head.extensions.get::<ConnectionHandle>().cloned();
        Self {
            app,
            found: Arc::new(found),
            connection: connection.filter(|_| head.version < Version::HTTP_2),
        }
    }

    /// Explains an error of an operation.
    pub(super) async fn explain(&self, error: sandbox::Error) -> Failure {
        explain(&self.app, &self.found, error).await
    }

    /// Ends a stream because of an error. If the channel to the sandbox is lost, the connection is reset: E2B's SDKs then
    /// find out whether the sandbox has ended, and take any other end for that of the command.
    pub(super) async fn cut(&self, error: sandbox::Error) -> Cut {
        if matches!(error, sandbox::Error::Connection(_)) {
            return self.reset();
        }
        match self.explain(error).await {
            Failure::Gone(_) => self.reset(),
            failure => Cut::Error(failure.into_connect_error()),
        }
    }

    /// Waits until the sandbox is paused, as far as its backend knows, and ends the stream then: the client could wait for
    /// ever, and E2B's SDKs expect the end.
    pub(super) async fn pause(self) -> Cut {
        loop {
            tokio::time::sleep(PAUSE_CHECK).await;
            let found = self.app.sandboxes.find(&self.found.info.id).await;
            if found.is_ok_and(|found| found.info.is_paused(SystemTime::now())) {
                return self.reset();
            }
        }
    }

    fn reset(&self) -> Cut {
        if let Some(connection) = &self.connection {
            connection.reset();
        }
        Cut::Reset
    }
}

impl Call {
    /// Reads the message of a unary call.
    pub(super) async fn message<T: DeserializeOwned>(&self, body: Body) -> Result<T, Failure> {
        Ok(self.in_time(read_message(body)).await?)
    }

    /// Reads the one message of a call whose response is a stream.
    pub(super) async fn frame<T: DeserializeOwned>(&self, body: Body) -> Result<T, Failure> {
        Ok(self.in_time(read_frame(body)).await?)
    }

    async fn in_time<T>(
        &self,
        reading: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let limit = self.guest.app.config.limits.body_timeout;
        match tokio::time::timeout(limit, reading).await {
            Ok(read) => read,
            Err(_elapsed) => Err(ConnectError::new(
                Code::DeadlineExceeded,
                format!("the message has not arrived within {limit:?}"),
            )),
        }
    }

    /// Carries out an operation of a unary call within the time that the caller has.
    pub(super) async fn run<T>(
        &self,
        operation: impl Future<Output = sandbox::Result<T>>,
    ) -> Result<T, Failure> {
        let deadline = Deadline::parse(&self.head.headers)?;
        let done = match deadline {
            None => operation.await,
            Some(deadline) => tokio::time::timeout_at(deadline.at, operation)
                .await
                .map_err(|_elapsed| deadline.exceeded())?,
        };
        match done {
            Ok(done) => Ok(done),
            Err(error) => Err(self.guest.explain(error).await),
        }
    }

    /// The user that the call names, or that its template does; `None` for that of the sandbox's server.
    pub(super) fn user(&self) -> Result<Option<String>, Failure> {
        let requested = user::requested_user(&self.head.headers)?;
        let guest = &self.guest;
        Ok(requested.or_else(|| guest.found.default_user(&guest.app.config)))
    }

    /// The response to a call with a stream of frames.
    pub(super) fn stream_response<S>(
        &self,
        frames: S,
        deadline: Option<Deadline>,
        keepalive_frame: Bytes,
    ) -> Response
    where
        S: Stream<Item = Result<Bytes, Cut>> + Send + 'static,
    {
        stream_response(Streamed {
            frames,
            deadline,
            keepalive: self.keepalive(),
            keepalive_frame,
        })
    }

    fn keepalive(&self) -> Duration {
        keepalive_interval(&self.head.headers)
    }
}

/// The response to a unary call.
pub(super) fn respond<T: Serialize>(result: Result<T, Failure>) -> Response {
    match result {
        Ok(message) => message_response(&message),
        Err(failure) => failure.into_call_response(CallKind::Unary),
    }
}

/// A message without fields.
#[derive(Debug, Clone, Copy, Serialize, serde::Deserialize)]
pub(super) struct Empty {}
