//! `/files`: the content of single files.

mod compose;
mod content_type;
mod download;
mod gzip;
pub(in crate::envd) mod metadata;
mod multipart;
mod range;
mod response;
mod upload;
mod upload_body;
mod written;

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use sandbox::{GuestFiles, Sandbox};

pub(in crate::envd) use self::compose::answer as compose;
use super::access::{authorize_files, open};
use super::call::Guest;
use super::failure::Failure;
use super::query::FilesQuery;
use super::signature::{Operation, Signature};
use super::user::files_of;
use crate::api_error::ApiError;
use crate::app::App;
use crate::connect::Code;
use crate::routing::SandboxRef;

/// A request for a file whose caller may have it.
struct FileRequest {
    guest: Guest,
    sandbox: Sandbox,
    /// `None` for that of the sandbox's server.
    user: Option<String>,
    query: FilesQuery,
    head: Parts,
}

impl FileRequest {
    fn files(&self) -> GuestFiles<'_> {
        files_of(&self.sandbox, self.user.as_deref())
    }
}

/// Answers a request.
pub(super) async fn answer(
    app: Arc<App>,
    target: &SandboxRef,
    head: Parts,
    body: Body,
) -> Response {
    let operation = match head.method {
        Method::GET => Operation::Read,
        Method::POST => Operation::Write,
        _ => {
            let allow = HeaderValue::from_static("GET, POST");
            let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "use GET or POST");
            return ([(header::ALLOW, allow)], error).into_response();
        }
    };
    let answered = async {
        let request = check(app, target, operation, head).await?;
        match operation {
            Operation::Read => download::answer(&request).await,
            Operation::Write => upload::answer(&request, body).await,
        }
    };
    answered.await.unwrap_or_else(IntoResponse::into_response)
}

async fn check(
    app: Arc<App>,
    target: &SandboxRef,
    operation: Operation,
    head: Parts,
) -> Result<FileRequest, Failure> {
    let query = FilesQuery::parse(head.uri.query().unwrap_or_default());
    let signature = Signature::of(operation, &query);
    let found = authorize_files(&app, target.id.as_ref(), &head.headers, signature).await?;
    let sandbox = open(&app, &found).await?;
    let guest = Guest::new(app, found, &head);
    let requested = query.username.as_deref().filter(|user| !user.is_empty());
    let requested = requested
        .map(std::str::from_utf8)
        .transpose()
        .map_err(|_not_text| Failure::new(Code::Unauthenticated, "invalid username"))?;
    let user = match requested {
        Some(user) => Some(user.to_owned()),
        None => guest.found.default_user(&guest.app.config),
    };
    Ok(FileRequest {
        guest,
        sandbox,
        user,
        query,
        head,
    })
}
