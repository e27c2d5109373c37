//! The variables by which programs find upstreams.

use std::sync::Arc;

use sandbox_core::{Error, Result};

use super::served::ServedUpstream;
use super::{NamedUpstream, UpstreamKind};

/// What the variables of an upstream are, before its port is known.
pub(super) struct Variables {
    /// What the path of the address inside ends with, after the name.
    suffix: &'static str,
    address: Vec<String>,
    placeholder: Vec<String>,
    /// Further variables, with their values.
    constant: Vec<(&'static str, &'static str)>,
    /// The address that git replaces by the one inside.
    instead_of: Option<String>,
}

pub(super) fn describe_variables(upstream: &NamedUpstream) -> Variables {
    let kind = upstream.kind;
    let own = |names: &[String], kind: &[&str]| {
        let names = names.iter().map(String::as_str).chain(kind.iter().copied());
        names.map(str::to_owned).collect()
    };
    let constant = match kind {
        // npm would replace the host of a package's address, and lose the path of the registry's.
        UpstreamKind::Npm => vec![("NPM_CONFIG_REPLACE_REGISTRY_HOST", "never")],
        UpstreamKind::OpenAi
        | UpstreamKind::Anthropic
        | UpstreamKind::PyPi
        | UpstreamKind::Git
        | UpstreamKind::Plain => Vec::new(),
    };
    let suffix = if upstream.origin.base().ends_with(kind.index_path()) {
        kind.index_path()
    } else {
        ""
    };
    Variables {
        suffix,
        address: own(&upstream.variables, kind.address_variables()),
        placeholder: own(&upstream.key_variables, kind.key_variable().as_slice()),
        constant,
        instead_of: (kind == UpstreamKind::Git).then(|| format!("{}/", upstream.origin.base())),
    }
}

/// Refuses two upstreams that set the same variable.
///
/// # Errors
///
/// [`Error::Invalid`].
pub(super) fn check_distinct<'a>(
    upstreams: impl Iterator<Item = (&'a str, &'a Variables)>,
) -> Result<()> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (upstream, variables) in upstreams {
        for variable in variables.address.iter().chain(&variables.placeholder) {
            if let Some((_, other)) = seen.iter().find(|(name, _)| name == variable) {
                let reason = format!(
                    "{variable} is set for {other} already; give one of them the kind plain, and a variable of its own"
                );
                return Err(Error::invalid("upstream", upstream, reason));
            }
            seen.push((variable, upstream));
        }
    }
    Ok(())
}

/// The variables for all upstreams of a proxy that listens on this port of the sandbox's loopback interface.
pub(crate) fn list_variables(
    upstreams: &[Arc<ServedUpstream>],
    port: u16,
) -> Vec<(String, String)> {
    let mut list = Vec::new();
    let mut replacements = Vec::new();
    for upstream in upstreams {
        let variables = upstream.variables();
        let address = format!(
            "http://127.0.0.1:{port}/{}{}",
            upstream.name(),
            variables.suffix
        );
        for name in &variables.address {
            list.push((name.clone(), address.clone()));
        }
        for name in &variables.placeholder {
            list.push((name.clone(), NamedUpstream::PLACEHOLDER.to_owned()));
        }
        for (name, value) in &variables.constant {
            list.push(((*name).to_owned(), (*value).to_owned()));
        }
        if let Some(instead_of) = &variables.instead_of {
            replacements.push((format!("url.{address}/.insteadOf"), instead_of));
        }
    }
    // https://git-scm.com/docs/git-config#ENVIRONMENT
    if !replacements.is_empty() {
        list.push(("GIT_CONFIG_COUNT".into(), replacements.len().to_string()));
    }
    for (index, (key, value)) in replacements.into_iter().enumerate() {
        list.push((format!("GIT_CONFIG_KEY_{index}"), key));
        list.push((format!("GIT_CONFIG_VALUE_{index}"), value.clone()));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::super::serve_all;
    use super::*;

    fn upstream(name: &str, base: &str) -> NamedUpstream {
        // Authorities of this machine are not needed, and may be missing.
        let certified = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        NamedUpstream::new(name, base)
            .unwrap()
            .authorities(certified.cert.pem().as_bytes())
            .unwrap()
    }

    #[test]
    fn programs_get_addresses_and_placeholders() {
        let served = serve_all([
            upstream("openai", "https://api.openai.com/v1")
                .secret("k")
                .unwrap(),
            upstream("pypi", "https://index.example/team/simple/"),
            upstream("npm", "https://registry.example/"),
            upstream("git", "https://git.example"),
            upstream("work", "https://git.example/team").kind(UpstreamKind::Git),
            upstream("models", "https://m.example")
                .variable("M_URL")
                .unwrap()
                .key_variable("M_KEY")
                .unwrap(),
        ])
        .unwrap();
        let list = list_variables(&served, 9);
        let list: Vec<String> = list
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            list,
            [
                "OPENAI_BASE_URL=http://127.0.0.1:9/openai",
                "OPENAI_API_BASE=http://127.0.0.1:9/openai",
                "OPENAI_API_KEY=held-by-the-client-of-the-sandbox",
                "PIP_INDEX_URL=http://127.0.0.1:9/pypi/simple",
                "UV_DEFAULT_INDEX=http://127.0.0.1:9/pypi/simple",
                "NPM_CONFIG_REGISTRY=http://127.0.0.1:9/npm",
                "NPM_CONFIG_REPLACE_REGISTRY_HOST=never",
                "M_URL=http://127.0.0.1:9/models",
                "M_KEY=held-by-the-client-of-the-sandbox",
                "GIT_CONFIG_COUNT=2",
                "GIT_CONFIG_KEY_0=url.http://127.0.0.1:9/git/.insteadOf",
                "GIT_CONFIG_VALUE_0=https://git.example/",
                "GIT_CONFIG_KEY_1=url.http://127.0.0.1:9/work/.insteadOf",
                "GIT_CONFIG_VALUE_1=https://git.example/team/",
            ]
        );
        // The files of an index are next to it.
        let path = served[1].join("/files/x.whl", None).unwrap();
        assert_eq!(path, "/team/files/x.whl");
    }

    #[test]
    fn two_upstreams_have_neither_name_nor_variable_in_common() {
        let twice = [
            upstream("a", "https://a.example"),
            upstream("a", "https://b.example"),
        ];
        assert!(serve_all(twice).is_err());
        let both = [
            upstream("pypi", "https://a.example/simple"),
            upstream("other", "https://b.example/simple").kind(UpstreamKind::PyPi),
        ];
        let error = serve_all(both).unwrap_err().to_string();
        assert!(error.contains("PIP_INDEX_URL is set for pypi"), "{error}");
        for odd in ["", "A-B", "1A", "A=B", "A B", "ä"] {
            assert!(
                upstream("a", "https://a.example").variable(odd).is_err(),
                "{odd}"
            );
        }
    }
}
