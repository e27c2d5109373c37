//! Code execution with kept state: what `e2b-code-interpreter` asks of port 49999.
//!
//! Nothing in the sandbox listens on that port. The gateway answers itself, and has the code run by an interpreter that
//! it brings into the sandbox ([`driver`]).

mod driver;
mod execute;
mod lines;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use sandbox::{RefusalCode, Sandbox};
use serde::Deserialize;
use serde_json::{Value, json};

use self::driver::DriverError;
use self::execute::Execution;
use crate::api_error::sandbox_gone;
use crate::app::App;
use crate::connection::ConnectionHandle;
use crate::routing::SandboxRef;
use crate::sandboxes::Found;
use crate::sandboxes::tokens::is_same_token;
use crate::upstream::open_awake;

/// The longest request in bytes: code, and what is written in it.
const MAX_REQUEST: usize = 16 * 1024 * 1024;

/// Answers a request to the code interpreter of a sandbox.
pub(crate) async fn handle(app: Arc<App>, target: SandboxRef, request: Request<Body>) -> Response {
    let Some(id) = target.id else {
        return Refusal::new(StatusCode::BAD_REQUEST, "the request names no sandbox")
            .into_response();
    };
    let found = match app.sandboxes.find_for_traffic(&id).await {
        // What was not created over the API has no tokens that a client could know.
        Ok(found) if found.record.is_some() => found,
        Ok(_) | Err(sandbox::Error::NotFound { .. }) => return sandbox_gone(id.as_str()),
        Err(error) => {
            tracing::warn!(%id, %error, "sandbox not looked up");
            let message = "the gateway cannot find out about sandboxes now; try again";
            return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response();
        }
    };
    match answer(&app, found, request).await {
        Ok(response) => response,
        Err(Failure::Refused(refusal)) => refusal.into_response(),
        Err(Failure::Gone) => sandbox_gone(id.as_str()),
    }
}

/// A refused request. Clients of the interpreter show the text of the body.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, self.message).into_response()
    }
}

/// Why there is no answer of the interpreter.
#[derive(Debug)]
enum Failure {
    Refused(Refusal),
    /// The sandbox has ended, or cannot be reached.
    Gone,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        let (status, message) = match error {
            DriverError::Sandbox(error) => {
                tracing::debug!(%error, "interpreter not reached");
                return Self::Gone;
            }
            DriverError::User(refusal) => {
                let status = match refusal.code {
                    RefusalCode::Paused => return Self::Gone,
                    // As processes and files answer, whose request may name the user.
                    RefusalCode::UnknownUser => StatusCode::UNAUTHORIZED,
                    RefusalCode::PermissionDenied => StatusCode::FORBIDDEN,
                    RefusalCode::Unsupported => StatusCode::NOT_IMPLEMENTED,
                    _other => StatusCode::INTERNAL_SERVER_ERROR,
                };
                (status, refusal.message)
            }
            DriverError::Unsupported(message) => (StatusCode::NOT_IMPLEMENTED, message),
            DriverError::NoPython => (
                StatusCode::NOT_IMPLEMENTED,
                "the image has no python3, which run_code needs".to_owned(),
            ),
            DriverError::NotStarted(why) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the interpreter does not start: {why}"),
            ),
            DriverError::Timeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "the interpreter does not answer; restart the context or the sandbox".to_owned(),
            ),
            DriverError::Invalid(error) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the interpreter gave no valid answer: {error:?}"),
            ),
        };
        Self::Refused(Refusal::new(status, message))
    }
}

async fn answer(app: &Arc<App>, found: Found, request: Request<Body>) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    check_tokens(app, &found, &head.headers, head.uri.path())?;
    let segments: Vec<&str> = head.uri.path().split('/').skip(1).collect();
    let what = match (&head.method, segments.as_slice()) {
        (&Method::GET, ["health"]) => {
            open(app, &found).await?;
            return Ok(Json("OK").into_response());
        }
        (&Method::POST, ["execute"]) => {
            let body: ExecuteBody = read_json(app, body).await?;
            if body.context_id.is_some() && body.language.is_some() {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "Only one of context_id or language can be provided",
                )
                .into());
            }
            let request = json!({
                "do": "execute",
                "code": body.code,
                "context": body.context_id,
                "language": body.language,
                "env": body.env_vars,
            });
            let connection = head.extensions.get::<ConnectionHandle>().cloned();
            return execute(app, found, &request, connection).await;
        }
        (&Method::GET, ["contexts"]) => json!({ "do": "list" }),
        (&Method::POST, ["contexts"]) => {
            let body: ContextBody = read_json(app, body).await?;
            json!({ "do": "create", "language": body.language, "cwd": body.cwd })
        }
        (&Method::DELETE, ["contexts", id]) => json!({ "do": "remove", "context": id }),
        (&Method::POST, ["contexts", id, "restart"]) => json!({ "do": "restart", "context": id }),
        _other => {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "the interpreter has nothing under this method and path",
            )
            .into());
        }
    };
    let sandbox = open(app, &found).await?;
    let user = found.default_user(&app.config);
    let (answer, _rest) = driver::request(&sandbox, user.as_deref(), &what).await?;
    check_refusal(&answer)?;
    let member = |name: &str| answer.get(name).cloned().unwrap_or(Value::Null);
    let body = match what.get("do").and_then(Value::as_str) {
        Some("list") => member("contexts"),
        Some("create") => member("context"),
        Some(_) | None => Value::Null,
    };
    Ok(Json(body).into_response())
}

/// Runs code, and answers with what it prints and returns, as it comes.
async fn execute(
    app: &Arc<App>,
    found: Found,
    request: &Value,
    connection: Option<ConnectionHandle>,
) -> Result<Response, Failure> {
    let sandbox = open(app, &found).await?;
    let user = found.default_user(&app.config);
    let (first, lines) = driver::request(&sandbox, user.as_deref(), request).await?;
    check_refusal(&first)?;
    let execution = Execution {
        app: Arc::clone(app),
        found,
        sandbox,
        connection,
        lines,
    };
    let mut response = execution.into_body().into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies would collect lines until there are many.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

async fn open(app: &App, found: &Found) -> Result<Sandbox, Failure> {
    let opened = open_awake(&app.sandboxes, found).await;
    opened
        .unwrap_or_else(|error| {
            tracing::debug!(id = %found.info.id, %error, "no sandbox for the interpreter");
            None
        })
        .ok_or(Failure::Gone)
}

/// Checks what the caller shows: to run code, the token of the sandbox, and for everything in a sandbox whose ports are
/// not public, the token for its traffic.
fn check_tokens(app: &App, found: &Found, headers: &HeaderMap, path: &str) -> Result<(), Refusal> {
    let tokens = app.sandboxes.tokens();
    let uid = &found.info.uid;
    let sent = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let access = sent("x-access-token");
    let is_owner = access.is_some_and(|sent| is_same_token(sent, &tokens.envd(uid)));
    if (path == "/execute" || access.is_some()) && !is_owner {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "the header X-Access-Token does not have the token of this sandbox; connect to it again",
        ));
    }
    let is_public = found
        .record
        .as_ref()
        .is_some_and(|record| record.network.allow_public_traffic != Some(false));
    let traffic = sent("e2b-traffic-access-token");
    let may_pass = is_public
        || is_owner
        || traffic.is_some_and(|sent| is_same_token(sent, &tokens.traffic(uid)));
    if may_pass {
        return Ok(());
    }
    let how = if traffic.is_some() {
        "is invalid"
    } else {
        "is missing"
    };
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        format!(
            "Sandbox is secured with traffic access token. Token header 'e2b-traffic-access-token' {how}"
        ),
    ))
}

/// Turns what the interpreter has refused into a response. Its texts come from the sandbox, and go to its owner.
fn check_refusal(answer: &Value) -> Result<(), Refusal> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    if text("type") != Some("refused") {
        return Ok(());
    }
    let status = match text("code") {
        Some("not_found") => StatusCode::NOT_FOUND,
        Some("invalid") => StatusCode::BAD_REQUEST,
        Some("unsupported") => StatusCode::NOT_IMPLEMENTED,
        Some("exhausted") => StatusCode::TOO_MANY_REQUESTS,
        Some(_) | None => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let message: String = text("message")
        .unwrap_or("refused")
        .chars()
        .take(4096)
        .collect();
    Err(Refusal::new(status, message))
}

#[derive(Debug, Deserialize)]
struct ExecuteBody {
    code: String,
    context_id: Option<String>,
    language: Option<String>,
    env_vars: Option<serde_json::Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
struct ContextBody {
    language: Option<String>,
    cwd: Option<String>,
}

async fn read_json<T: for<'de> Deserialize<'de>>(app: &App, body: Body) -> Result<T, Refusal> {
    let reading = Limited::new(body, MAX_REQUEST).collect();
    let body = match tokio::time::timeout(app.config.limits.body_timeout, reading).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => {
            let is_long = error.is::<http_body_util::LengthLimitError>();
            return Err(if is_long {
                let message = format!(
                    "the request has more than {MAX_REQUEST} bytes; write the data to a file first"
                );
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
            } else {
                Refusal::new(StatusCode::BAD_REQUEST, "the request ended early")
            });
        }
        Err(_elapsed) => {
            return Err(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "the request did not arrive in time",
            ));
        }
    };
    let body = if body.is_empty() {
        b"{}".as_slice()
    } else {
        &body
    };
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the request is invalid: {error}"),
        )
    })
}
