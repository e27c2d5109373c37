//! The names, labels and annotations of the objects of a sandbox.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_core::{RESERVED_LABEL_DOMAIN, SandboxId};

use crate::names::{ID, MANAGED_BY, MANAGER, NONCE};

/// Returns the selector of all managed objects.
pub fn selector() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// Returns the selector of the managed objects of one id.
pub fn selector_of(id: &SandboxId) -> String {
    format!("{},{ID}={id}", selector())
}

/// Returns the selector of the managed objects that also have these labels. It only narrows the response:
/// a label with a character that no label can have is left out, because it would change the meaning of
/// the selector. So the caller has to compare the labels itself.
pub fn selector_with(labels: &BTreeMap<String, String>) -> String {
    let plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
    };
    let labels = labels
        .iter()
        .filter(|(key, value)| !key.is_empty() && plain(key) && plain(value));
    labels.fold(selector(), |all, (key, value)| {
        format!("{all},{key}={value}")
    })
}

/// Returns the name of the Lease with this id.
pub fn lease_name(id: &SandboxId) -> String {
    format!("{id}-owner")
}

/// Returns the labels of an object of this sandbox: those of the user and those of the SDK, which win.
pub fn object_labels(id: &SandboxId, user: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let managed = [(MANAGED_BY, MANAGER), (ID, id.as_str())];
    user.iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .chain(managed.map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect()
}

/// Returns the labels that the user gave, without those of the SDK.
pub fn user_labels(meta: &ObjectMeta) -> BTreeMap<String, String> {
    let labels = meta
        .labels
        .iter()
        .flatten()
        .filter(|(key, _)| !is_reserved(key));
    labels
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Whether a label or annotation is in the SDK's domain.
pub fn is_reserved(key: &str) -> bool {
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    prefix
        .strip_suffix(RESERVED_LABEL_DOMAIN)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether an object with the expected name is the one that this client sent.
pub fn has_nonce(meta: &ObjectMeta, nonce: &str) -> bool {
    annotation(meta, NONCE) == Some(nonce)
}

/// Returns when the API server stored an object.
pub fn creation_time(meta: &ObjectMeta) -> Option<SystemTime> {
    let time = meta.creation_timestamp.as_ref()?;
    Some(SystemTime::from(time.0))
}

/// Returns the value of an annotation.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_sdk_win_and_are_recognised() {
        let own = BTreeMap::from([
            (ID.to_owned(), "other".to_owned()),
            ("a".to_owned(), "b".to_owned()),
        ]);
        let all = object_labels(&"sbx-a".parse().unwrap(), &own);
        assert_eq!(all[ID], "sbx-a");
        assert_eq!(all["a"], "b");
        let requested = [
            ("a", "b"),
            ("x", "1,sandbox.dev/managed-by!=sandbox-sdk"),
            ("y in (z)", ""),
        ];
        let requested = requested.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(
            selector_with(&BTreeMap::from(requested)),
            "sandbox.dev/managed-by=sandbox-sdk,a=b"
        );
        for (key, reserved) in [
            ("sandbox.dev/x", true),
            ("a.sandbox.dev/x", true),
            ("notsandbox.dev/x", false),
            ("sandbox.dev", false),
        ] {
            assert_eq!(is_reserved(key), reserved, "{key}");
        }
    }
}
