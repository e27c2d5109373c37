//! Headers of a file's content.

use http::header::{self, HeaderMap};
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::content_type::content_type;

/// What `filename*` leaves as it is ([RFC 8187](https://www.rfc-editor.org/rfc/rfc8187#section-3.2.1)).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The headers of a file with this name.
///
/// A browser that shows the file must not let it act for the gateway's own origin, where other pages may be open: the
/// content was made in a sandbox.
pub(super) fn file_headers(name: &[u8]) -> HeaderMap {
    HeaderMap::from_iter([
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(content_type(name)),
        ),
        (header::CONTENT_DISPOSITION, disposition(name)),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("sandbox"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("same-origin"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ])
}

/// Shows the file, and names it for those who save it.
fn disposition(name: &[u8]) -> HeaderValue {
    let name = String::from_utf8_lossy(name);
    let is_plain = name
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    let text = if is_plain {
        format!("inline; filename=\"{name}\"")
    } else {
        let encoded = utf8_percent_encode(&name, ENCODED);
        format!("inline; filename*=UTF-8''{encoded}")
    };
    // Both forms are ASCII.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("inline"))
}

/// Whether the client refuses content that is not compressed
/// ([RFC 9110, section 12.5.3](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3)).
pub(super) fn refuses_identity(headers: &HeaderMap) -> bool {
    let mut identity = None;
    let mut any = None;
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = parameters.trim().strip_prefix("q=");
            let is_zero = weight
                .and_then(|weight| weight.trim().parse::<f32>().ok())
                .is_some_and(|weight| weight == 0.0);
            match name.trim() {
                "identity" => identity = Some(is_zero),
                "*" => any = Some(is_zero),
                _other => {}
            }
        }
    }
    identity.or(any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_header() {
        let cases: [(&[u8], &str); 4] = [
            (b"a b.txt", "inline; filename=\"a b.txt\""),
            (b"a\"b\r\nc", "inline; filename*=UTF-8''a%22b%0D%0Ac"),
            ("é.txt".as_bytes(), "inline; filename*=UTF-8''%C3%A9.txt"),
            (b"\xff", "inline; filename*=UTF-8''%EF%BF%BD"),
        ];
        for (name, expected) in cases {
            assert_eq!(file_headers(name)["content-disposition"], expected);
        }
    }

    #[test]
    fn uncompressed_content_is_refused_only_in_words() {
        let refuses = |value: &str| {
            let value = value.parse::<HeaderValue>().unwrap();
            refuses_identity(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value)]))
        };
        for value in [
            "gzip",
            "gzip, deflate",
            "identity",
            "*",
            "identity;q=0.5, *;q=0",
        ] {
            assert!(!refuses(value), "{value}");
        }
        for value in [
            "identity;q=0",
            "gzip, identity; q=0.0",
            "*;q=0",
            "gzip;q=1, *;q=0",
        ] {
            assert!(refuses(value), "{value}");
        }
        assert!(!refuses_identity(&HeaderMap::new()));
    }
}
