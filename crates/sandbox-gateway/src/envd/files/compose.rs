//! `/files/compose`: joins files of a sandbox to one.

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::written::WrittenFile;
use crate::envd::call::Call;
use crate::envd::failure::Failure;
use crate::envd::filesystem::to_path;
use crate::envd::user::files_of;

/// What to join. The number of files is limited by the sandbox's server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ComposeRequest {
    source_paths: Vec<String>,
    destination: String,
    username: Option<String>,
}

/// Answers a POST request. The files are joined within the sandbox.
pub(in crate::envd) async fn answer(call: &Call, body: Body) -> Result<Response, Failure> {
    let request: ComposeRequest = call.message(body).await?;
    // An empty path would be the home directory.
    if request.source_paths.iter().any(String::is_empty) {
        return Err(Failure::invalid("a path of source_paths is empty"));
    }
    if request.destination.is_empty() {
        return Err(Failure::invalid("the destination is missing"));
    }
    let user = match request.username.filter(|user| !user.is_empty()) {
        Some(user) => Some(user),
        None => call.user()?,
    };
    let files = files_of(&call.sandbox, user.as_deref());
    let sources = request.source_paths.into_iter().map(to_path);
    let composed = call.run(files.compose(sources, to_path(request.destination)));
    Ok(Json(WrittenFile::of(&composed.await?.entry)).into_response())
}
