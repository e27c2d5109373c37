//! The rules for what describes a sandbox: labels and annotations.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// Labels and annotations under this domain are reserved for the SDK.
pub const RESERVED_LABEL_DOMAIN: &str = "sandbox.dev";

/// How many bytes the annotations of a sandbox may have, keys and values together: a quarter of what Kubernetes stores
/// with an object.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/>
pub const MAX_ANNOTATIONS: usize = 64 << 10;

/// The longest prefix of an annotation's key, in bytes. It leaves room for a backend's own prefix.
const MAX_ANNOTATION_PREFIX: usize = 200;

/// Checks Kubernetes' rules for label keys and values. They apply to every backend, so that the
/// same labels work on a laptop and on a cluster.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>
pub(super) fn check_label(key: &str, value: &str) -> Result<()> {
    check_key("label", key)?;
    if !value.is_empty() && !is_word(value) {
        return Err(Error::invalid(
            "value of a label",
            format!("{key}={value}"),
            "a value has at most 63 letters, digits, '-', '_' or '.', and begins and ends with a letter or digit",
        ));
    }
    Ok(())
}

/// Checks the annotations of a sandbox: their keys, and the size of all together.
///
/// ```
/// use std::collections::BTreeMap;
/// use sandbox_core::check_annotations;
///
/// let fact = |key: &str| BTreeMap::from([(key.to_owned(), "any text, also \u{1f600}".to_owned())]);
/// assert!(check_annotations(&fact("example.com/metadata")).is_ok());
/// assert!(check_annotations(&fact("not a key")).is_err());
/// ```
///
/// # Errors
///
/// [`Error::Invalid`] naming the invalid key, or the size.
pub fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<()> {
    for key in annotations.keys() {
        check_key("annotation", key)?;
        let prefix = key.rsplit_once('/').map_or("", |(prefix, _)| prefix);
        if prefix.len() > MAX_ANNOTATION_PREFIX {
            return Err(Error::invalid(
                "annotation",
                key,
                format!("its prefix may have at most {MAX_ANNOTATION_PREFIX} bytes"),
            ));
        }
    }
    let size: usize = annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if size > MAX_ANNOTATIONS {
        return Err(Error::invalid(
            "annotations",
            format!("{size} bytes"),
            format!(
                "all keys and values together may have at most {MAX_ANNOTATIONS}; store more in a file of the sandbox"
            ),
        ));
    }
    Ok(())
}

/// Checks the key of a label or an annotation; `what` names it in the error.
fn check_key(what: &str, key: &str) -> Result<()> {
    let (prefix, name) = key
        .rsplit_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let reserved = |prefix: &str| {
        prefix
            .strip_suffix(RESERVED_LABEL_DOMAIN)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            || prefix == "kubernetes.io"
            || prefix.ends_with(".kubernetes.io")
            || prefix.ends_with("k8s.io")
    };
    if prefix.is_some_and(reserved) {
        return Err(Error::invalid(
            what,
            key,
            "this prefix is reserved; choose another",
        ));
    }
    let prefix_ok = prefix.is_none_or(|prefix| {
        !prefix.is_empty()
            && prefix.len() <= 253
            && prefix.split('.').all(|part| {
                is_word(part)
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    });
    if !prefix_ok || !is_word(name) {
        return Err(Error::invalid(
            what,
            key,
            "a key has at most 63 letters, digits, '-', '_' or '.', begins and ends with a letter or digit, and may have a DNS prefix and '/'",
        ));
    }
    Ok(())
}

fn is_word(text: &str) -> bool {
    let alphanumeric = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && alphanumeric(text.bytes().next())
        && alphanumeric(text.bytes().last())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, value: &str) -> Result<(), String> {
        let annotations = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        check_annotations(&annotations).map_err(|error| error.to_string())
    }

    #[test]
    fn annotations_have_keys_as_labels_and_any_text_as_value() {
        for value in ["", "a b\n{\"c\": 1}", "\u{0}\u{1f600}"] {
            check("gateway/metadata", value).unwrap();
        }
        for key in ["", "a b", "/x", "a/", "A.b/c", "sandbox.dev/x", "k8s.io/a"] {
            assert!(check(key, "v").unwrap_err().contains("annotation"), "{key}");
        }
        let long = format!("{}/a", ["a".repeat(50).as_str(); 4].join("."));
        assert!(check(&long, "v").unwrap_err().contains("200 bytes"));
    }

    #[test]
    fn annotations_are_limited_together() {
        let fits = "x".repeat(MAX_ANNOTATIONS - 1);
        check("a", &fits).unwrap();
        let error = check("a", &(fits + "x")).unwrap_err();
        assert!(error.contains("65537 bytes"), "{error}");
    }
}
