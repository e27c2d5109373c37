//! What upstreams are known, and what programs expect of them.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use http::header::HeaderName;
use sandbox_core::{Error, Result};

use crate::credential::Scheme;

/// The names of the kinds.
pub const UPSTREAM_KINDS: &[&str] = &["openai", "anthropic", "pypi", "npm", "git", "plain"];

/// What an upstream is, which decides how a secret is sent and which variables commands get.
///
/// | kind | secret | address in | placeholder in |
/// |---|---|---|---|
/// | `OpenAi` | `Authorization: Bearer` | `OPENAI_BASE_URL` | `OPENAI_API_KEY` |
/// | `Anthropic` | `x-api-key` | `ANTHROPIC_BASE_URL` | `ANTHROPIC_API_KEY` |
/// | `PyPi` | Basic, user `__token__` | `PIP_INDEX_URL`, `UV_DEFAULT_INDEX` | |
/// | `Npm` | `Authorization: Bearer` | `NPM_CONFIG_REGISTRY` | |
/// | `Git` | Basic, user `x-access-token` | git's `url.….insteadOf`, by `GIT_CONFIG_COUNT` | |
/// | `Plain` | `Authorization: Bearer` | none | |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamKind {
    /// OpenAI's API, or another with its form. The address ends with `/v1` where theirs does.
    OpenAi,
    /// Anthropic's API, or another with its form.
    Anthropic,
    /// An index of Python packages ([PEP 503](https://peps.python.org/pep-0503/)). Its address ends with `/simple`, and what is
    /// next to that can be reached as well, because the files are there.
    PyPi,
    /// A registry of JavaScript packages.
    Npm,
    /// Repositories of git over HTTPS, all those below the address.
    Git,
    /// Anything else.
    Plain,
}

impl UpstreamKind {
    /// Returns its name, one of [`UPSTREAM_KINDS`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::PyPi => "pypi",
            Self::Npm => "npm",
            Self::Git => "git",
            Self::Plain => "plain",
        }
    }

    /// Returns the address of the public service.
    pub fn default_base(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::PyPi => Some("https://pypi.org/simple"),
            Self::Npm => Some("https://registry.npmjs.org"),
            Self::Git => Some("https://github.com"),
            Self::Plain => None,
        }
    }

    /// Returns the variable in which programs look for its key.
    pub fn key_variable(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("OPENAI_API_KEY"),
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
            Self::PyPi | Self::Npm | Self::Git | Self::Plain => None,
        }
    }

    pub(super) fn find(name: &str) -> Option<Self> {
        const ALL: [UpstreamKind; 6] = [
            UpstreamKind::OpenAi,
            UpstreamKind::Anthropic,
            UpstreamKind::PyPi,
            UpstreamKind::Npm,
            UpstreamKind::Git,
            UpstreamKind::Plain,
        ];
        ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// How its secret is sent.
    pub(super) fn usual_scheme(self) -> Scheme {
        match self {
            Self::OpenAi | Self::Npm | Self::Plain => Scheme::Bearer,
            // https://docs.anthropic.com/en/api/overview#authentication
            Self::Anthropic => Scheme::Header(HeaderName::from_static("x-api-key")),
            // https://pypi.org/help/#apitoken
            Self::PyPi => Scheme::Basic("__token__".into()),
            // https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/about-authentication-with-a-github-app
            Self::Git => Scheme::Basic("x-access-token".into()),
        }
    }

    /// Variables with the address inside.
    pub(super) fn address_variables(self) -> &'static [&'static str] {
        match self {
            // The second is read by older clients and by LangChain.
            Self::OpenAi => &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
            Self::Anthropic => &["ANTHROPIC_BASE_URL"],
            Self::PyPi => &["PIP_INDEX_URL", "UV_DEFAULT_INDEX"],
            Self::Npm => &["NPM_CONFIG_REGISTRY"],
            Self::Git | Self::Plain => &[],
        }
    }

    /// What is at the end of the address that programs are given, and not of that which requests are confined to: files are
    /// next to an index, and its pages link to them.
    pub(super) fn index_path(self) -> &'static str {
        match self {
            Self::PyPi => "/simple",
            Self::OpenAi | Self::Anthropic | Self::Npm | Self::Git | Self::Plain => "",
        }
    }

    /// Whether its pages have the address of the origin in them, for programs to follow.
    pub(super) fn links_to_itself(self) -> bool {
        match self {
            Self::PyPi | Self::Npm => true,
            Self::OpenAi | Self::Anthropic | Self::Git | Self::Plain => false,
        }
    }
}

impl Display for UpstreamKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for UpstreamKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::find(name).ok_or_else(|| {
            let reason = format!("there are {}", UPSTREAM_KINDS.join(", "));
            Error::invalid("kind of an upstream", name, reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderMap;

    use super::super::NamedUpstream;
    use super::*;
    use crate::credential::{Injection, Secret};

    #[test]
    fn each_kind_sends_its_secret_in_its_way() {
        let secret = Secret::new("upstream", "a", "key".into()).unwrap();
        for (kind, expected) in [
            (UpstreamKind::OpenAi, "authorization: Bearer key"),
            (UpstreamKind::Anthropic, "x-api-key: key"),
            // printf %s __token__:key | base64
            (
                UpstreamKind::PyPi,
                "authorization: Basic X190b2tlbl9fOmtleQ==",
            ),
            (UpstreamKind::Npm, "authorization: Bearer key"),
            (
                UpstreamKind::Git,
                "authorization: Basic eC1hY2Nlc3MtdG9rZW46a2V5",
            ),
            (UpstreamKind::Plain, "authorization: Bearer key"),
        ] {
            let mut sent = HeaderMap::new();
            Injection::new(&kind.usual_scheme(), &secret)
                .add_to(&mut sent)
                .unwrap();
            let (name, value) = sent.iter().next().unwrap();
            assert_eq!(format!("{name}: {}", value.to_str().unwrap()), expected);
        }
    }

    #[test]
    fn each_kind_has_its_name_and_a_usable_address() {
        for name in UPSTREAM_KINDS {
            let kind: UpstreamKind = name.parse().unwrap();
            assert_eq!(kind.to_string(), *name);
            match kind.default_base() {
                Some(_) => assert_eq!(NamedUpstream::from_kind(kind).unwrap().kind, kind),
                None => assert!(NamedUpstream::from_kind(kind).is_err()),
            }
        }
        assert!("OpenAI".parse::<UpstreamKind>().is_err());
    }
}
