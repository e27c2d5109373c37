//! Where an upstream is, and which paths are below it.

use http::uri::{PathAndQuery, Scheme, Uri};
use percent_encoding::percent_decode_str;
use sandbox_core::{Error, Result};

use crate::rules::name::{Host, Target};

/// The port of `https` (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;
/// How often a path may be encoded. Servers behind others decode a path more than once.
const MAX_ENCODINGS: usize = 4;

const FORM: &str = "write https://HOST[:PORT][/PATH], without a user, a query or a fragment";

/// An HTTPS origin, and the path that everything asked of it is below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) target: Target,
    /// Without a slash at its end; empty for the whole origin.
    path: String,
}

impl Origin {
    /// Reads `https://HOST[:PORT][/PATH]`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the form.
    pub(super) fn parse(text: &str) -> Result<Self> {
        // An address may have a password in it.
        let shown = if text.contains('@') { "…" } else { text };
        let invalid = |reason: &str| {
            let reason = format!("it {reason}; {FORM}");
            Error::invalid("address of an upstream", shown, reason)
        };
        // The parser drops a fragment.
        if text.contains(['#', '\\']) {
            return Err(invalid("has a fragment or a backslash"));
        }
        let uri: Uri = text.parse().map_err(|_| invalid("is no address"))?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(invalid("is not https"));
        }
        if uri.query().is_some() {
            return Err(invalid("has a query"));
        }
        let authority = uri.authority().ok_or_else(|| invalid("has no host"))?;
        let target = Target::parse(authority.as_str(), Some(HTTPS_PORT)).map_err(&invalid)?;
        let path = uri.path().trim_end_matches('/').to_owned();
        if !is_confined(&path) {
            return Err(invalid("has dot segments in its path"));
        }
        Ok(Self { target, path })
    }

    /// The same origin, without this at the end of its path.
    pub(super) fn without_suffix(&self, suffix: &str) -> Self {
        let path = self.path.strip_suffix(suffix).unwrap_or(&self.path);
        Self {
            target: self.target.clone(),
            path: path.to_owned(),
        }
    }

    /// Its address, without a slash at its end.
    pub(super) fn base(&self) -> String {
        format!("https://{}{}", self.authority(), self.path)
    }

    /// Its host, and its port if it is not the usual one: as in `Host`.
    pub(super) fn authority(&self) -> String {
        match self.target.port {
            HTTPS_PORT => self.target.host.to_string(),
            _ => self.target.to_string(),
        }
    }

    pub(super) fn host(&self) -> &Host {
        &self.target.host
    }

    /// Adds the rest of a path, which is empty or starts with a slash, to the path of this origin.
    ///
    /// # Errors
    ///
    /// What is wrong, if the path leads out of it, in any spelling that a server might read so.
    pub(super) fn join(
        &self,
        rest: &str,
        query: Option<&str>,
    ) -> Result<PathAndQuery, &'static str> {
        if !is_confined(rest) {
            return Err("the path has dot segments, control characters or unusual encodings");
        }
        let mut path = format!("{}{rest}", self.path);
        if path.is_empty() {
            path.push('/');
        }
        if let Some(query) = query {
            path.push('?');
            path.push_str(query);
        }
        PathAndQuery::try_from(path).map_err(|_| "the path has unusual characters")
    }

    /// Where a redirect leads, as programs in the sandbox have to ask for it: below `place` if it is below this origin, and
    /// otherwise with its host, because they take an address without one to be on the proxy's port. `None` if it needs no
    /// change.
    pub(super) fn map_location(&self, location: &str, place: &str) -> Option<String> {
        let is_path = location.starts_with('/') && !location.starts_with("//");
        let rest = if is_path {
            location.strip_prefix(&self.path)
        } else {
            location.strip_prefix(&self.base())
        };
        match rest {
            Some(rest) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => {
                Some(format!("{place}{rest}"))
            }
            Some(_) | None if is_path => Some(format!("https://{}{location}", self.authority())),
            Some(_) | None => location
                .starts_with("//")
                .then(|| format!("https:{location}")),
        }
    }
}

/// Whether no server can read a path as one that leads upwards, however often it decodes it: no dot segment, with a slash
/// or a backslash in any encoding, with parameters, or in an overlong form (which is not UTF-8).
fn is_confined(path: &str) -> bool {
    let mut text = path.to_owned();
    for _ in 0..=MAX_ENCODINGS {
        let is_dots = |segment: &str| {
            let name = segment.split([';', '?', '#']).next().unwrap_or_default();
            matches!(name.trim(), "." | "..")
        };
        if text.chars().any(char::is_control) || text.split(['/', '\\']).any(is_dots) {
            return false;
        }
        let Ok(decoded) = percent_decode_str(&text).decode_utf8() else {
            return false;
        };
        if decoded == text {
            return true;
        }
        text = decoded.into_owned();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form() {
        for (text, base) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://API.example.com:443/", "https://api.example.com"),
            ("https://a.example:8443/v1/", "https://a.example:8443/v1"),
            ("https://10.0.0.1/x", "https://10.0.0.1/x"),
            ("https://[::1]:8443", "https://[::1]:8443"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().base(), base);
        }
        for text in [
            "",
            "a.example",
            "http://a.example",
            "ftp://a.example",
            "https://",
            "https:///x",
            "https://a.example/?q",
            "https://a.example/#f",
            "https://a.example/../x",
            "https://a.example/%2e%2e/x",
            "https://a.example\\@b.example",
            "https://127.1/",
            "https://2130706433",
            "https://a.example:0/",
            "https://*.example",
        ] {
            let error = Origin::parse(text).unwrap_err().to_string();
            assert!(error.contains("https://HOST"), "{text}: {error}");
        }
        let error = Origin::parse("https://user:hunter22@a.example/").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter22"));
    }

    #[test]
    fn paths_stay_below_the_base() {
        let origin = Origin::parse("https://a.example/v1").unwrap();
        for (rest, query, path) in [
            ("", None, "/v1"),
            ("/", None, "/v1/"),
            ("/chat", Some("a=../b"), "/v1/chat?a=../b"),
            ("/@scope%2fname", None, "/v1/@scope%2fname"),
            ("/a...b/..c/d../...", None, "/v1/a...b/..c/d../..."),
            ("//b.example/", None, "/v1//b.example/"),
            ("/100%25", None, "/v1/100%25"),
        ] {
            assert_eq!(origin.join(rest, query).unwrap(), path);
        }
        for rest in [
            "/..",
            "/../admin",
            "/./x",
            "/a/../../admin",
            "/%2e%2e/admin",
            "/%2E./admin",
            "/.%2e/admin",
            "/..%2fadmin",
            "/..%5cadmin",
            "/..\\admin",
            "/%252e%252e/admin",
            "/%25252e%25252e%25252fadmin",
            "/..;/admin",
            "/..;a=b/admin",
            "/%2e%2e%3b/admin",
            "/..%3fx",
            "/..%23x",
            "/..%20/admin",
            "/%c0%ae%c0%ae/admin",
            "/%e0%80%ae%e0%80%ae/admin",
            "/..%00/admin",
            "/a%0d%0aX: y",
            "/a%7f",
            "/%2525252525252e",
        ] {
            assert!(origin.join(rest, None).is_err(), "{rest}");
        }
        let whole = Origin::parse("https://a.example").unwrap();
        assert_eq!(whole.join("", None).unwrap(), "/");
        assert!(whole.join("/%2e%2e", None).is_err());
    }

    #[test]
    fn redirects_lead_to_where_programs_can_ask() {
        let origin = Origin::parse("https://a.example/v1").unwrap();
        let map = |location| origin.map_location(location, "http://127.0.0.1:9/a");
        for (location, mapped) in [
            ("/v1/x?y", Some("http://127.0.0.1:9/a/x?y")),
            ("https://a.example/v1/x", Some("http://127.0.0.1:9/a/x")),
            ("https://a.example/v1", Some("http://127.0.0.1:9/a")),
            ("/v1beta/x", Some("https://a.example/v1beta/x")),
            ("/login", Some("https://a.example/login")),
            ("https://a.example/v1beta", None),
            ("https://a.example.evil.example/v1/", None),
            ("https://b.example/v1/x", None),
            ("//b.example/v1/x", Some("https://b.example/v1/x")),
            ("x/y", None),
        ] {
            assert_eq!(map(location).as_deref(), mapped, "{location}");
        }
        let whole = Origin::parse("https://a.example").unwrap();
        let map = |location| whole.map_location(location, "http://127.0.0.1:9/a");
        assert_eq!(map("/x").as_deref(), Some("http://127.0.0.1:9/a/x"));
        assert_eq!(map("https://a.example.evil.example/"), None);
        assert_eq!(map("https://a.example:8443/"), None);
        assert_eq!(map("//b.example/").as_deref(), Some("https://b.example/"));
    }
}
