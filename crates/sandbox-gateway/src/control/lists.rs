//! Lists of sandboxes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;

use super::access;
use super::failure::ApiResult;
use super::model::{Listed, State as SandboxState, position_of, state_of};
use super::page::PageRequest;
use super::query::Query;
use crate::api_error::ApiError;
use crate::app::App;
use crate::keys::Caller;
use crate::sandboxes::Owned;

/// Where the token of the next page is.
const NEXT_TOKEN: &str = "x-next-token";

/// `GET /v2/sandboxes`: one page of the sandboxes that match, newest first.
pub(super) async fn list_page(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let query = Query::parse(query.as_deref())?;
    let page = PageRequest::parse(&query)?;
    let filter = Filter::parse(&app, &query)?;
    let mut sandboxes = access::list(&app, &caller).await?;
    sandboxes.retain(|sandbox| filter.matches(sandbox));
    let (sandboxes, next) = page.cut(sandboxes, position_of);
    let mut response = views(&app, &sandboxes).into_response();
    if let Some(token) = next.and_then(|token| HeaderValue::from_str(&token).ok()) {
        response.headers_mut().insert(NEXT_TOKEN, token);
    }
    Ok(response)
}

/// `GET /sandboxes`: all that run, as old clients expect.
pub(super) async fn list_running(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> ApiResult<Response> {
    let mut filter = Filter::parse(&app, &Query::parse(query.as_deref())?)?;
    filter.states = vec![SandboxState::Running];
    let mut sandboxes = access::list(&app, &caller).await?;
    sandboxes.retain(|sandbox| filter.matches(sandbox));
    sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(position_of(sandbox)));
    Ok(views(&app, &sandboxes).into_response())
}

fn views(app: &App, sandboxes: &[Owned]) -> Json<Vec<Listed>> {
    Json(
        sandboxes
            .iter()
            .map(|sandbox| Listed::new(app, sandbox))
            .collect(),
    )
}

/// What a list is restricted to.
struct Filter {
    states: Vec<SandboxState>,
    metadata: std::collections::BTreeMap<String, String>,
    /// The name of a template. One that does not exist matches nothing.
    template: Option<String>,
}

impl Filter {
    fn parse(app: &App, query: &Query) -> Result<Self, ApiError> {
        let states: Result<Vec<_>, _> = query
            .list("state")
            .into_iter()
            .map(|state| match state {
                "running" => Ok(SandboxState::Running),
                "paused" => Ok(SandboxState::Paused),
                _other => Err(ApiError::bad_request(
                    "state must be running, paused or both",
                )),
            })
            .collect();
        let states = states?;
        let template = query
            .get("template")
            .filter(|name| !name.is_empty())
            .map(|name| {
                app.config
                    .template(name)
                    .map_or(name, |(name, _)| name)
                    .to_owned()
            });
        Ok(Self {
            states,
            metadata: query.metadata()?,
            template,
        })
    }

    fn matches(&self, sandbox: &Owned) -> bool {
        let record = &sandbox.record;
        (self.states.is_empty() || self.states.contains(&state_of(sandbox)))
            && self
                .template
                .as_ref()
                .is_none_or(|template| *template == record.template)
            && self
                .metadata
                .iter()
                .all(|(key, value)| record.metadata.get(key) == Some(value))
    }
}
