//! What a client wants to keep with a file: headers of an upload, extended attributes in the sandbox.

use std::collections::BTreeMap;

use http::HeaderMap;

/// The prefix of the headers.
const HEADER: &str = "x-metadata-";
/// The prefix of the extended attributes, after `user.`.
pub(in crate::envd) const ATTRIBUTE: &str = "e2b.";
/// The longest key: with the prefix, a name of an extended attribute has at most 255 bytes.
const MAX_KEY: usize = 246;
/// The most bytes of all keys and values: what file systems such as ext4 have room for.
const MAX_TOTAL: usize = 4096;

/// Reads the metadata of an upload.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn parse(headers: &HeaderMap) -> Result<BTreeMap<String, String>, String> {
    let mut metadata = BTreeMap::new();
    let mut total = 0;
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(HEADER) else {
            continue;
        };
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(format!("a key of metadata must have 1 to {MAX_KEY} bytes"));
        }
        let value = value
            .to_str()
            .ok()
            .filter(|value| value.bytes().all(|byte| matches!(byte, b' '..=b'~')))
            .ok_or_else(|| format!("the metadata {key:?} must be printable ASCII"))?;
        total += key.len() + value.len();
        if total > MAX_TOTAL {
            return Err(format!("the metadata has more than {MAX_TOTAL} bytes"));
        }
        if metadata.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("the metadata {key:?} is there twice"));
        }
    }
    Ok(metadata)
}

/// The extended attributes, without `user.`, that keep this metadata.
pub(super) fn to_attributes(metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let named = |(key, value): (&String, &String)| (format!("{ATTRIBUTE}{key}"), value.clone());
    metadata.iter().map(named).collect()
}

/// The metadata that extended attributes keep.
pub(in crate::envd) fn from_attributes(
    attributes: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let kept = attributes.iter().filter_map(|(name, value)| {
        let key = name.strip_prefix(ATTRIBUTE)?;
        Some((key.to_owned(), value.clone()))
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn metadata_survives_being_an_attribute() {
        let sent = headers(&[
            ("X-Metadata-Author", b"me"),
            ("x-metadata-b", b""),
            ("x", b"y"),
        ]);
        let metadata = parse(&sent).unwrap();
        assert_eq!(metadata["author"], "me");
        assert_eq!(metadata.len(), 2);
        let mut attributes = to_attributes(&metadata);
        assert_eq!(attributes["e2b.author"], "me");
        attributes.insert("other".to_owned(), "z".to_owned());
        assert_eq!(from_attributes(&attributes), metadata);
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let long_key = format!("x-metadata-{}", "k".repeat(MAX_KEY + 1));
        let long_value = [b'v'; MAX_TOTAL];
        for sent in [
            &[("x-metadata-", &b"v"[..])][..],
            &[(&long_key, b"v")],
            &[("x-metadata-a", &long_value)],
            &[("x-metadata-a", b"\xe9")],
            &[("x-metadata-a", b"a\tb")],
            &[("x-metadata-a", b"1"), ("x-metadata-a", b"2")],
        ] {
            assert!(parse(&headers(sent)).is_err(), "{sent:?}");
        }
    }
}
