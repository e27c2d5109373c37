//! The content types of files, by their extensions.

/// The content type of a file with this name.
pub(super) fn content_type(name: &[u8]) -> &'static str {
    let extension = name
        .rsplit(|byte| *byte == b'.')
        .next()
        .filter(|extension| extension.len() < name.len());
    let known = extension.and_then(|extension| {
        TYPES
            .iter()
            .find(|(known, _)| extension.eq_ignore_ascii_case(known.as_bytes()))
    });
    known.map_or("application/octet-stream", |(_, content_type)| content_type)
}

/// Those that browsers show, and common archives.
const TYPES: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xml", "text/xml; charset=utf-8"),
    ("zip", "application/zip"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_extension_decides() {
        let cases = [
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.tar.GZ", "application/gzip"),
            ("txt", "application/octet-stream"),
            ("a.", "application/octet-stream"),
            ("", "application/octet-stream"),
            ("a.unknown", "application/octet-stream"),
        ];
        for (name, expected) in cases {
            assert_eq!(content_type(name.as_bytes()), expected, "{name}");
        }
    }
}
