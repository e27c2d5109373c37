//! Finds the places where a Pod names a Secret with the keys of a sandbox.
//!
//! Kubernetes lets any Pod of a namespace use any Secret in it. So a user who may create sandboxes could read the
//! keys of another one, or its own sandbox's host key, through a volume, a variable or a driver.

use serde_json::Value;

use crate::manifest::labels::is_key_secret_name;

/// A reference to a Secret with keys: the place in the specification, and the Secret's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyReference {
    pub(super) place: String,
    pub(super) secret: String,
}

/// Returns all references to Secrets with the keys of any sandbox, in the text form of a Pod's specification.
///
/// Every text beneath a field whose name contains "secret" counts, whatever the version of Kubernetes and the
/// driver of a volume call it: `secretName`, `secretRef`, `imagePullSecrets`, `nodePublishSecretRef`.
pub(super) fn find(spec: &Value) -> Vec<KeyReference> {
    let mut found = Vec::new();
    collect(spec, "spec", false, &mut found);
    found
}

fn collect(value: &Value, place: &str, names_secrets: bool, found: &mut Vec<KeyReference>) {
    match value {
        Value::String(text) if names_secrets && is_key_secret_name(text) => {
            found.push(KeyReference {
                place: place.to_owned(),
                secret: text.clone(),
            });
        }
        Value::Array(list) => {
            for value in list {
                collect(value, place, names_secrets, found);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                let names_secrets = names_secrets || field.to_ascii_lowercase().contains("secret");
                collect(value, &format!("{place}.{field}"), names_secrets, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
