//! The names, labels and annotations of the objects of a sandbox.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_core::{RESERVED_LABEL_DOMAIN, SandboxId};

use crate::names::{ID, MANAGED_BY, MANAGER, NONCE};

/// What a watch or a list selects by: everything that this SDK made.
pub fn selector() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// The selector of those sandboxes that also have these labels. It narrows what the server
/// sends and no more: a label with a character that no label can have is left out, for it would
/// change the selector's meaning, and is to be compared with what came.
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

/// The name of the Secret with a sandbox's keys.
pub fn secret_name(id: &SandboxId) -> String {
    format!("{id}-keys")
}

/// The name of the Lease with this id.
pub fn lease_name(id: &SandboxId) -> String {
    format!("{id}-owner")
}

/// The labels of an object of this sandbox: its own, and ours, which win.
pub fn object_labels(id: &SandboxId, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = [(MANAGED_BY, MANAGER), (ID, id.as_str())];
    own.iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .chain(ours.map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect()
}

/// The labels that a user gave, without ours.
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

/// Whether a label or annotation is the SDK's own.
pub fn is_reserved(key: &str) -> bool {
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    prefix
        .strip_suffix(RESERVED_LABEL_DOMAIN)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether an object that has our name is the one that we sent: its nonce is ours.
pub fn has_nonce(meta: &ObjectMeta, nonce: &str) -> bool {
    annotation(meta, NONCE) == Some(nonce)
}

/// An annotation's value.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_win_and_are_recognised() {
        let own = BTreeMap::from([
            (ID.to_owned(), "other".to_owned()),
            ("a".to_owned(), "b".to_owned()),
        ]);
        let all = object_labels(&"sbx-a".parse().unwrap(), &own);
        assert_eq!(all[ID], "sbx-a");
        assert_eq!(all["a"], "b");
        let asked = [
            ("a", "b"),
            ("x", "1,sandbox.dev/managed-by!=sandbox-sdk"),
            ("y in (z)", ""),
        ];
        let asked = asked.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(
            selector_with(&BTreeMap::from(asked)),
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
