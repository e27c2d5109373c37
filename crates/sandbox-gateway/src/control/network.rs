//! What a sandbox may reach, as E2B's API has it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Extension, Path, State};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::failure::{ApiResult, describe};
use super::{access, body, one};
use crate::api_error::ApiError;
use crate::app::App;
use crate::keys::Caller;
use crate::sandboxes::EgressFailure;
use crate::sandboxes::record::EgressWish;

/// The fields about egress in a request that creates a sandbox, and in one that changes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EgressFields {
    #[serde(rename = "allowOut")]
    allow_out: Option<Vec<String>>,
    #[serde(rename = "denyOut")]
    deny_out: Option<Vec<String>>,
    /// Everything else, of which nothing can be kept.
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl EgressFields {
    /// What is wished for.
    pub(super) fn wish(&self, allow_internet_access: Option<bool>) -> EgressWish {
        EgressWish {
            allow_internet_access,
            allow_out: self.allow_out.clone(),
            deny_out: self.deny_out.clone(),
            version: 0,
        }
    }

    /// Refuses what cannot be kept.
    pub(super) fn check(&self) -> ApiResult<()> {
        let Some((field, _)) = self.others.iter().find(|(_, value)| is_set(value)) else {
            return Ok(());
        };
        let why = match field.as_str() {
            "dnsServers" => "names are resolved by the server",
            "egressProxy" => "the server carries the connections itself",
            "rules" => "it changes no requests",
            _unknown => "it does not know the field",
        };
        // The name comes from the caller, to whom it returns.
        Err(ApiError::bad_request(format!(
            "network.{field} is not supported by this server: {why}; leave it out"
        )))
    }
}

/// A request that replaces all rules.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Update {
    allow_internet_access: Option<bool>,
    #[serde(flatten)]
    fields: EgressFields,
}

/// `PUT /sandboxes/{id}/network`: replaces what a sandbox may reach, of what its template allows. Connections that the new
/// rules refuse are closed.
pub(super) async fn update(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<StatusCode> {
    let sandbox = access::find(&app, &caller, &id).await?;
    let update: Update = body::parse(&body)?;
    update.fields.check()?;
    let mut wish = update.fields.wish(update.allow_internet_access);
    wish.version = next_version(sandbox.record.egress.version);
    if sandbox.is_paused(SystemTime::now()) {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("sandbox {id} is paused; connect to it first"),
        ));
    }
    let handle = one::open(&app, &sandbox).await?;
    app.sandboxes
        .update_egress(&sandbox, &handle, wish)
        .await
        .map_err(|failure| match failure {
            EgressFailure::Refused(reason) => ApiError::bad_request(reason),
            EgressFailure::ServedElsewhere => {
                let message =
                    "another replica of this server carries the traffic of the sandbox; retry";
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(1)
            }
            EgressFailure::Sandbox(error) => describe(&error),
        })?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a field says anything.
pub(super) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
    }
}

/// A version above the former one, and above that of an update at another replica a moment ago.
fn next_version(former: u64) -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    now.max(former.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_update_is_understood_and_versions_grow() {
        let update: Update = serde_json::from_value(json!({
            "allowOut": ["a.example"], "denyOut": ["0.0.0.0/0"], "allow_internet_access": true, "rules": {}, "egressProxy": null,
        }))
        .unwrap();
        update.fields.check().unwrap();
        let wish = update.fields.wish(update.allow_internet_access);
        assert_eq!(
            wish.deny_out.as_deref(),
            Some(&["0.0.0.0/0".to_owned()][..])
        );
        assert!(next_version(0) > 1_700_000_000_000_000);
        assert_eq!(next_version(u64::MAX - 1), u64::MAX);
    }
}
