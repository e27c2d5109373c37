//! Templates, as far as the API shows them: they are in the configuration.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::failure::ApiResult;
use crate::api_error::ApiError;
use crate::app::App;

/// `GET /templates`.
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<Vec<Value>> {
    let templates = app.config.templates.iter();
    Json(
        templates
            .map(|(name, template)| {
                let names: Vec<&String> = std::iter::once(name).chain(&template.aliases).collect();
                json!({ "templateID": name, "aliases": names, "names": names, "public": true })
            })
            .collect(),
    )
}

/// `GET /templates/aliases/{alias}`: whether a template exists.
pub(super) async fn find_alias(
    State(app): State<Arc<App>>,
    Path(alias): Path<String>,
) -> ApiResult<Json<Value>> {
    match app.config.template(&alias) {
        Some((name, _)) => Ok(Json(json!({ "templateID": name, "public": true }))),
        None => Err(ApiError::not_found("there is no such template")),
    }
}

/// `DELETE /templates/{id}`, which also deletes snapshots: there are none.
pub(super) async fn delete(State(app): State<Arc<App>>, Path(id): Path<String>) -> ApiError {
    match app.config.template(&id) {
        Some(_) => ApiError::unsupported("deleting a template", "its configuration names them"),
        None => ApiError::not_found("there is no such template or snapshot"),
    }
}
