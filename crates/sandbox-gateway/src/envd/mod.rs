//! What E2B's daemon answers inside a sandbox: processes, files, health. Here the gateway answers it, over the sandbox's
//! session.

mod access;
mod call;
mod failure;
mod files;
mod filesystem;
mod process;
mod query;
mod signature;
mod system;
mod user;

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, header};
use sandbox::SandboxId;

use self::access::{authorize, open};
use self::call::{Call, Guest};
use self::failure::Failure;
use crate::api_error::ApiError;
use crate::app::App;
use crate::connect::{CallKind, Code, ConnectError, check_head};
use crate::routing::SandboxRef;

/// Answers a request to the daemon of a sandbox. A signed URL names no sandbox, and a token need not.
pub(crate) async fn handle(app: Arc<App>, target: SandboxRef, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    if head.uri.path() == "/files" {
        return files::answer(app, &target, head, body).await;
    }
    let id = target.id.as_ref();
    match head.uri.path() {
        "/health" => match check_method(&head, Method::GET) {
            Ok(()) => system::health(&app, id, &head).await,
            Err(refused) => *refused,
        },
        "/metrics" => match check_method(&head, Method::GET) {
            Ok(()) => respond(system::metrics(&app, id, &head).await),
            Err(refused) => *refused,
        },
        "/envs" => match check_method(&head, Method::GET) {
            Ok(()) => respond(system::environment(&app, id, &head).await),
            Err(refused) => *refused,
        },
        "/files/compose" => match check_method(&head, Method::POST) {
            Ok(()) => respond(compose(app, id, head, body).await),
            Err(refused) => *refused,
        },
        _call => answer_call(app, id, head, body).await,
    }
}

/// A method of a service.
#[derive(Debug, Clone, Copy)]
enum Procedure {
    Process(process::Method),
    Filesystem(filesystem::Method),
}

impl Procedure {
    fn at(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        match service {
            "process.Process" => process::Method::named(method).map(Self::Process),
            "filesystem.Filesystem" => filesystem::Method::named(method).map(Self::Filesystem),
            _unknown => None,
        }
    }

    fn kind(self) -> CallKind {
        match self {
            Self::Process(method) => method.kind(),
            Self::Filesystem(method) => method.kind(),
        }
    }
}

async fn answer_call(app: Arc<App>, id: Option<&SandboxId>, head: Parts, body: Body) -> Response {
    let Some(procedure) = Procedure::at(head.uri.path()) else {
        let is_service = head.uri.path().starts_with("/process.Process/")
            || head.uri.path().starts_with("/filesystem.Filesystem/");
        return if is_service {
            ConnectError::new(Code::Unimplemented, "there is no such method").into_response()
        } else {
            ApiError::not_found("there is nothing under this path").into_response()
        };
    };
    let kind = procedure.kind();
    if let Err(refused) = check_head(kind, &head) {
        return *refused;
    }
    let call = match begin(app, id, head).await {
        Ok(call) => call,
        Err(failure) => return failure.into_call_response(kind),
    };
    match procedure {
        Procedure::Process(method) => process::answer(method, &call, body).await,
        Procedure::Filesystem(method) => filesystem::answer(method, &call, body).await,
    }
}

async fn begin(app: Arc<App>, id: Option<&SandboxId>, head: Parts) -> Result<Call, Failure> {
    let found = authorize(&app, id, &head.headers).await?;
    let sandbox = open(&app, &found).await?;
    Ok(Call {
        guest: Guest::new(app, found, &head),
        sandbox,
        head,
    })
}

async fn compose(
    app: Arc<App>,
    id: Option<&SandboxId>,
    head: Parts,
    body: Body,
) -> Result<Response, Failure> {
    files::compose(&begin(app, id, head).await?, body).await
}

fn respond(result: Result<Response, Failure>) -> Response {
    result.unwrap_or_else(IntoResponse::into_response)
}

fn check_method(head: &Parts, expected: Method) -> Result<(), Box<Response>> {
    if head.method == expected {
        return Ok(());
    }
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("use {expected}"));
    let mut response = error.into_response();
    if let Ok(allowed) = HeaderValue::from_str(expected.as_str()) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    Err(Box::new(response))
}
