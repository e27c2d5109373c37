//! JSON patches, which change an object only if it is in the expected state.
//! <https://www.rfc-editor.org/rfc/rfc6902>

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use kube::api::{Patch, PatchParams};
use sandbox_core::{Deadline, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::classify::Intent;
use super::client::{ApiClient, Operation, Outcome};
use super::failure::FailureCause;
use super::objects::{FIELD_MANAGER, ManagedKind, request_error};

/// The operations of a JSON patch, which the API server applies all or not at all.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct JsonPatch(Vec<Value>);

impl JsonPatch {
    /// Requires that a field has this value.
    #[must_use]
    pub(crate) fn test(self, path: &str, value: impl Into<Value>) -> Self {
        self.push("test", path, value.into())
    }

    /// Sets a field that exists.
    #[must_use]
    pub(crate) fn replace(self, path: &str, value: impl Into<Value>) -> Self {
        self.push("replace", path, value.into())
    }

    /// Sets a field of an object that exists.
    #[must_use]
    pub(crate) fn add(self, path: &str, value: impl Into<Value>) -> Self {
        self.push("add", path, value.into())
    }

    /// Removes a field that exists.
    #[must_use]
    pub(crate) fn remove(mut self, path: &str) -> Self {
        self.0.push(json!({"op": "remove", "path": path}));
        self
    }

    fn push(mut self, operation: &str, path: &str, value: Value) -> Self {
        self.0
            .push(json!({"op": operation, "path": path, "value": value}));
        self
    }
}

/// Returns the path of a label.
pub(crate) fn label(key: &str) -> String {
    format!("/metadata/labels/{}", escape(key))
}

/// Returns the path of an annotation.
pub(crate) fn annotation(key: &str) -> String {
    format!("/metadata/annotations/{}", escape(key))
}

/// Escapes a key as part of a path (RFC 6901).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// What a JSON patch has done.
#[derive(Debug)]
pub(crate) enum Patched<K> {
    /// It was applied, and this is the object.
    Applied(Box<K>),
    /// The object was not in the expected state when it was last tried. An earlier attempt whose response was lost
    /// may have been applied, so the caller has to read the object.
    NotApplied,
    /// There is no object of this name.
    Missing,
}

impl ApiClient {
    /// Applies a JSON patch. A `test` that fails is a 422, and a concurrent change may be a 409.
    pub(crate) async fn json_patch<K: ManagedKind>(
        &self,
        key: &K::Key,
        patch: &JsonPatch,
        deadline: Deadline,
    ) -> Result<Patched<K>> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        // kube's own type of JSON patches would bring a crate that this one does not need.
        let mut request = self
            .url::<K>()
            .patch(&K::name_for(key), &params, &Patch::Merge(patch))
            .map_err(request_error)?;
        request.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/json-patch+json"),
        );
        let operation = Operation {
            intent: Intent::Patch,
            verb: "patch",
            resource: K::RESOURCE,
            id: Some(K::id_of(key)),
        };
        match self.call(&operation, &request, deadline).await {
            Ok(Outcome::Success(object, _)) => Ok(Patched::Applied(Box::new(object))),
            Ok(Outcome::Exists | Outcome::Missing | Outcome::Conflict | Outcome::Expired) => {
                Ok(Patched::NotApplied)
            }
            Err(failure) if failure.cause == FailureCause::NoObject => Ok(Patched::Missing),
            Err(failure) => Err(failure.error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_written_as_in_the_rfc() {
        let patch = JsonPatch::default()
            .test("/metadata/uid", "u")
            .replace(&label("a.dev/x"), "y")
            .add(&annotation("a~b/c"), 3);
        assert_eq!(
            serde_json::to_value(patch).unwrap(),
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u"},
                {"op": "replace", "path": "/metadata/labels/a.dev~1x", "value": "y"},
                {"op": "add", "path": "/metadata/annotations/a~0b~1c", "value": 3},
            ])
        );
    }
}
