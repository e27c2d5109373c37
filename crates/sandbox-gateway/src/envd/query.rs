//! Query strings of `/files`.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// What a query string says. Values are bytes, because paths are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FilesQuery {
    /// The file.
    pub(super) path: Option<Vec<u8>>,
    /// The user to act as.
    pub(super) username: Option<Vec<u8>>,
    /// The signature of a signed URL.
    pub(super) signature: Option<Vec<u8>>,
    /// When the signature expires, in seconds since the Unix epoch.
    pub(super) signature_expiration: Option<Vec<u8>>,
}

impl FilesQuery {
    /// Parses a query string. If a name is there twice, the first one counts, for the signature and for the file alike.
    pub(super) fn parse(query: &str) -> Self {
        let mut parsed = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let field = match &decode(name)[..] {
                b"path" => &mut parsed.path,
                b"username" => &mut parsed.username,
                b"signature" => &mut parsed.signature,
                b"signature_expiration" => &mut parsed.signature_expiration,
                _unknown => continue,
            };
            if field.is_none() {
                *field = Some(decode(value).into_owned());
            }
        }
        parsed
    }
}

/// Decodes one name or value of a form.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        Cow::Owned(percent_decode(spaced.as_bytes()).collect())
    } else {
        percent_decode(text.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_bytes_and_the_first_one_counts() {
        let parsed = FilesQuery::parse(
            "path=%2Fa+b%2Bc%E9&x=1&username=&signature=v1_a%2Bb&path=other&signature_expiration=7&&",
        );
        assert_eq!(parsed.path.unwrap(), b"/a b+c\xe9");
        assert_eq!(parsed.username.unwrap(), b"");
        assert_eq!(parsed.signature.unwrap(), b"v1_a+b");
        assert_eq!(parsed.signature_expiration.unwrap(), b"7");
        assert_eq!(FilesQuery::parse(""), FilesQuery::default());
    }
}
