//! Reads the upstreams of a template, and the secrets where the file says.

use sandbox::{NamedUpstream, UpstreamKind};
use serde_json::Value;

use super::reader::Fields;
use super::secret_fields::{SECRET_FORM, Secret, read_certificates, read_secret};

/// Reads `upstreams`, a mapping of their names.
pub(super) fn read_upstreams(egress: &mut Fields<'_>) -> Vec<NamedUpstream> {
    let mut upstreams = Vec::new();
    for (name, value) in egress.entries("upstreams") {
        let path = egress.place(&format!("upstreams.{name}"));
        upstreams.extend(read_upstream(&name, value, &path, egress));
    }
    if let Err(error) = NamedUpstream::check_all(&upstreams) {
        egress.refuse::<()>("upstreams", &error.to_string());
    }
    upstreams
}

/// Reads one upstream. All of its mistakes are reported.
fn read_upstream(
    name: &str,
    value: Value,
    path: &str,
    egress: &mut Fields<'_>,
) -> Option<NamedUpstream> {
    let mut fields = Fields::new(path.to_owned(), value, egress.mistakes());
    let kind = fields.parsed("kind").or_else(|| name.parse().ok());
    let base = fields.text("url");
    let variables = fields.texts("variables").unwrap_or_default();
    let key_variables = fields.texts("key-variables").unwrap_or_default();
    let certificates = read_certificates(&mut fields);
    let (header, user) = (fields.text("header"), fields.text("user"));
    let secret = match read_secret(&mut fields) {
        Secret::Found(secret) => Some(secret),
        Secret::Unset if kind.and_then(UpstreamKind::key_variable).is_some() => {
            fields.refuse("secret", &format!("it is not set; {SECRET_FORM}"))
        }
        Secret::Unset | Secret::Nowhere | Secret::Mistaken => None,
    };

    let usual = kind.and_then(UpstreamKind::default_base);
    let described = match base.as_deref().or(usual) {
        Some(base) => fields.keep("url", NamedUpstream::new(name, base)),
        None => fields.refuse("url", "it is not set; write https://HOST[:PORT][/PATH]"),
    };
    let mut upstream = match (described, kind) {
        (Some(upstream), Some(kind)) => Some(upstream.kind(kind)),
        (described, _) => described,
    };
    for variable in &variables {
        fields.change(&mut upstream, "variables", |upstream| {
            upstream.variable(variable)
        });
    }
    for variable in &key_variables {
        fields.change(&mut upstream, "key-variables", |upstream| {
            upstream.key_variable(variable)
        });
    }
    if let Some(pem) = &certificates {
        fields.change(&mut upstream, "ca", |upstream| {
            upstream.authorities(pem.as_bytes())
        });
    }
    match (&secret, &header, &user) {
        (_, Some(_), Some(_)) => {
            fields.refuse::<()>("user", "there is a header, too; leave one out");
        }
        (Some(secret), Some(header), None) => fields.change(&mut upstream, "secret", |upstream| {
            upstream.header(header, secret.as_str())
        }),
        (Some(secret), None, Some(user)) => fields.change(&mut upstream, "secret", |upstream| {
            upstream.basic(user, secret.as_str())
        }),
        (Some(secret), None, None) => {
            fields.change(&mut upstream, "secret", |upstream| {
                upstream.secret(secret.as_str())
            });
        }
        (None, _, _) => {}
    }
    fields.finish();
    upstream
}

#[cfg(test)]
mod tests {
    use super::super::reader::Mistakes;
    use super::*;

    fn read(yaml: &str) -> (Vec<NamedUpstream>, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let value = serde_saphyr::from_str(yaml).unwrap();
        let mut egress = Fields::new("egress".to_owned(), value, &mut mistakes);
        let upstreams = read_upstreams(&mut egress);
        egress.finish();
        (upstreams, mistakes.0)
    }

    #[test]
    fn upstreams_are_read_with_their_secrets() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("secret"), "sk-live-0123\r\n").unwrap();
        let authority = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        std::fs::write(path("ca"), authority.cert.pem()).unwrap();
        let (secret, ca) = (path("secret"), path("ca"));
        let (upstreams, mistakes) = read(&format!(
            "upstreams:
  models: {{url: 'https://m.example:8443/v2', kind: openai, header: x-key, variables: [M_URL], key-variables: [M_KEY],
    ca: {ca}, secret: 'file:{secret}'}}
  work: {{url: 'https://git.example', kind: git, ca: {ca}, user: me, secret: 'env:CARGO_PKG_NAME'}}
  npm: {{ca: {ca}}}
  anthropic: {{ca: {ca}, secret: none}}
"
        ));
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let shown = format!("{upstreams:?}");
        for part in [
            "https://m.example:8443/v2",
            "https://api.anthropic.com",
            "kind: Git",
            "kind: OpenAi",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        let names: Vec<_> = upstreams
            .iter()
            .map(|one| (one.name(), one.has_credential()))
            .collect();
        assert_eq!(
            names,
            [
                ("anthropic", false),
                ("models", true),
                ("npm", false),
                ("work", true)
            ]
        );
        assert!(!shown.contains("0123"), "{shown}");
    }

    #[test]
    fn all_mistakes_are_reported_without_secrets() {
        let (_, mistakes) = read(
            "upstreams:
  A: {url: 'https://a.example'}
  b: {}
  c: {url: 'http://c.example', secret: sk-live-0123, colour: red}
  d: {url: 'https://d.example', kind: red, ca: /nonexistent, variables: [1A], key-variables: one}
  e: {url: 'https://e.example', header: x, user: me, secret: 'file:/nonexistent'}
  f: {url: 'https://f.example', secret: 'env:SANDBOX_TEST_UNSET'}
  g: {url: 'https://g.example', secret: 'env:'}
  h: {url: 'https://h.example', header: Host, secret: 'env:CARGO_PKG_NAME'}
  openai: {url: 'https://o.example'}
  pypi: {}
  other: {url: 'https://i.example', kind: pypi}
",
        );
        for (place, part) in [
            ("A.url", "name of an upstream"),
            ("b.url", "it is not set"),
            ("c.url", "not https"),
            ("c.secret", "write env:VARIABLE"),
            ("c.colour", "no such setting"),
            ("d.kind", "there are openai"),
            ("d.ca", "o such file"),
            ("d.variables", "variable"),
            ("d.key-variables", "list of texts"),
            ("e.user", "leave one out"),
            ("e.secret", "o such file"),
            ("f.secret", "SANDBOX_TEST_UNSET is not set"),
            ("g.secret", "write env:VARIABLE"),
            ("h.secret", "header"),
            ("openai.secret", "it is not set"),
        ] {
            let place = format!("egress.upstreams.{place}: ");
            let found: Vec<_> = mistakes
                .iter()
                .filter(|mistake| mistake.starts_with(&place))
                .collect();
            assert_eq!(found.len(), 1, "{place}: {mistakes:#?}");
            assert!(found[0].contains(part), "{found:?}");
        }
        let both = mistakes.last().unwrap();
        assert!(both.starts_with("egress.upstreams: "), "{mistakes:#?}");
        assert_eq!(mistakes.len(), 16, "{mistakes:#?}");
        assert!(!mistakes.concat().contains("0123"), "{mistakes:#?}");
    }
}
