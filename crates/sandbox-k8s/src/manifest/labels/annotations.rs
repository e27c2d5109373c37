//! The annotations that the user gave, under a domain of their own among those of a Pod.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_core::{MAX_ANNOTATIONS, check_annotations};

use crate::names::ANNOTATIONS;

/// Returns the key of a user's annotation among those of the Pod.
pub fn annotation_key(key: &str) -> String {
    match key.rsplit_once('/') {
        Some((prefix, name)) => format!("{prefix}.{ANNOTATIONS}/{name}"),
        None => format!("{ANNOTATIONS}/{key}"),
    }
}

/// Returns the user's annotations as they are stored with the Pod.
pub fn stored_annotations(
    annotations: &BTreeMap<String, String>,
) -> impl Iterator<Item = (String, String)> {
    annotations
        .iter()
        .map(|(key, value)| (annotation_key(key), value.clone()))
}

/// Returns the annotations that the user gave. Others may write Pods: what no sandbox can have, or is beyond the limit,
/// is left out.
pub fn user_annotations(meta: &ObjectMeta) -> BTreeMap<String, String> {
    let mut size = 0;
    let mut found = BTreeMap::new();
    for (stored, value) in meta.annotations.iter().flatten() {
        let Some(key) = user_key(stored) else {
            continue;
        };
        let fact = BTreeMap::from([(key.clone(), String::new())]);
        size += key.len() + value.len();
        if size > MAX_ANNOTATIONS || check_annotations(&fact).is_err() {
            tracing::warn!(
                k8s.pod = meta.name,
                annotation = stored,
                "annotation ignored: its key is not valid, or all together are too long"
            );
            continue;
        }
        found.insert(key, value.clone());
    }
    found
}

/// Returns the user's key of an annotation of a Pod, if it is one.
fn user_key(stored: &str) -> Option<String> {
    let (prefix, name) = stored.split_once('/')?;
    match prefix.strip_suffix(ANNOTATIONS)? {
        "" => Some(name.to_owned()),
        prefix => Some(format!("{}/{name}", prefix.strip_suffix('.')?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stored: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
        user_annotations(&ObjectMeta {
            annotations: Some(stored.into_iter().collect()),
            ..ObjectMeta::default()
        })
    }

    fn owned<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn annotations_are_read_back_and_those_of_others_are_not() {
        let given = owned([("note", "a b"), ("gateway/template", "base"), ("a.b/c", "")]);
        let mut stored: BTreeMap<_, _> = stored_annotations(&given).collect();
        assert_eq!(stored["gateway.annotations.sandbox.dev/template"], "base");
        stored.extend(owned([
            ("note", "foreign"),
            ("sandbox.dev/user", "sandbox"),
            ("xannotations.sandbox.dev/a", "b"),
            ("annotations.sandbox.dev", "b"),
        ]));
        assert_eq!(read(stored), given);
    }

    #[test]
    fn what_no_sandbox_can_have_is_left_out() {
        let long = "x".repeat(MAX_ANNOTATIONS);
        let stored = owned([
            ("annotations.sandbox.dev/a", "kept"),
            ("annotations.sandbox.dev/b", long.as_str()),
            ("annotations.sandbox.dev/-", "key"),
            ("k8s.io.annotations.sandbox.dev/x", "reserved"),
        ]);
        assert_eq!(read(stored), owned([("a", "kept")]));
    }
}
