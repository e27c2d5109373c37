//! Reads the transforms of a template, and the secrets where the file says.

use sandbox::{Egress, HostTransform, NamedUpstream};
use serde_json::Value;

use super::reader::Fields;
use super::secret_fields::{Secret, read_certificates, read_secret};

/// Reads `transforms`, a mapping of hosts. `rules` and `upstreams` are those beside them.
pub(super) fn read_transforms(
    egress: &mut Fields<'_>,
    rules: &Egress,
    upstreams: &[NamedUpstream],
) -> Vec<HostTransform> {
    let mut transforms = Vec::new();
    let entries = egress.entries("transforms");
    if !entries.is_empty() {
        egress.keep("transforms", HostTransform::check_rules(rules));
    }
    for (host, value) in entries {
        let before = egress.mistakes().0.len();
        let path = egress.place(&format!("transforms.{host}"));
        let read = read_transform(&host, value, &path, egress);
        // An incomplete one is left out of the check below, which would report it again.
        let is_right = egress.mistakes().0.len() == before;
        transforms.extend(read.filter(|_| is_right));
    }
    // What is wrong with the upstreams alone is reported where they are.
    let upstreams = match NamedUpstream::check_all(upstreams) {
        Ok(()) => upstreams,
        Err(_) => &[],
    };
    let checked = HostTransform::check_all(&transforms, upstreams);
    egress.keep("transforms", checked);
    transforms
}

/// Reads one transform. All of its mistakes are reported.
fn read_transform(
    host: &str,
    value: Value,
    path: &str,
    egress: &mut Fields<'_>,
) -> Option<HostTransform> {
    let mut fields = Fields::new(path.to_owned(), value, egress.mistakes());
    let variables = fields.texts("variables").unwrap_or_default();
    let certificates = read_certificates(&mut fields);
    let (header, user) = (fields.text("header"), fields.text("user"));
    let secret = match read_secret(&mut fields) {
        Secret::Found(secret) => Some(secret),
        Secret::Unset | Secret::Nowhere => fields.refuse(
            "secret",
            "there is none, and nothing else to be sent; write env:VARIABLE or file:PATH",
        ),
        Secret::Mistaken => None,
    };
    if header.is_some() && user.is_some() {
        fields.refuse::<()>("user", "there is a header, too; leave one out");
    }
    let plain = HostTransform::new(host)
        .map_err(|error| fields.mistakes().add(path, &error.to_string()))
        .ok();
    // A secret that cannot be sent is one mistake, however many headers and variables it is for.
    let secret = match (&plain, secret) {
        (Some(plain), Some(secret)) => fields
            .keep("secret", plain.clone().bearer(secret.as_str()))
            .map(|_| secret),
        _ => None,
    };
    let mut transform = plain;
    if let Some(pem) = &certificates {
        fields.change(&mut transform, "ca", |transform| {
            transform.authorities(pem.as_bytes())
        });
    }
    if let Some(secret) = secret.as_deref() {
        for variable in &variables {
            fields.change(&mut transform, "variables", |transform| {
                transform.placeholder(variable, secret)
            });
        }
        match (&header, &user) {
            (Some(header), None) => fields.change(&mut transform, "header", |transform| {
                transform.header(header, secret)
            }),
            (None, Some(user)) => fields.change(&mut transform, "user", |transform| {
                transform.basic(user, secret)
            }),
            (None, None) if variables.is_empty() => {
                fields.change(&mut transform, "secret", |transform| {
                    transform.bearer(secret)
                })
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
    fields.finish();
    transform
}

#[cfg(test)]
mod tests {
    use super::super::reader::Mistakes;
    use super::super::upstream_fields::read_upstreams;
    use super::*;

    fn read(yaml: &str, rules: &str) -> (Vec<HostTransform>, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let value = serde_saphyr::from_str(yaml).unwrap();
        let mut egress = Fields::new("egress".to_owned(), value, &mut mistakes);
        let upstreams = read_upstreams(&mut egress);
        let transforms = read_transforms(&mut egress, &rules.parse().unwrap(), &upstreams);
        egress.finish();
        (transforms, mistakes.0)
    }

    /// Writes a secret and an authority. Returns their paths, which last as long as the directory.
    fn write_files() -> (tempfile::TempDir, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("secret"), "sk-live-0123\r\n").unwrap();
        let authority = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        std::fs::write(path("ca"), authority.cert.pem()).unwrap();
        let (secret, ca) = (path("secret"), path("ca"));
        (directory, secret, ca)
    }

    #[test]
    fn transforms_are_read_with_their_secrets() {
        let (_directory, secret, ca) = write_files();
        let (transforms, mistakes) = read(
            &format!(
                "transforms:
  a.example: {{ca: {ca}, secret: 'file:{secret}'}}
  b.example:8443: {{ca: {ca}, variables: [B, C], secret: 'file:{secret}'}}
  c.example: {{ca: {ca}, variables: [D], header: X-Key, secret: 'env:CARGO_PKG_NAME'}}
  d.example: {{ca: {ca}, user: me, secret: 'env:CARGO_PKG_NAME'}}
"
            ),
            "packages",
        );
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let shown = format!("{transforms:?}");
        for part in [
            r#"host: "a.example:443", headers: ["authorization"], placeholders: []"#,
            r#"host: "b.example:8443", headers: [], placeholders: ["B", "C"]"#,
            r#"host: "c.example:443", headers: ["x-key"], placeholders: ["D"]"#,
            r#"host: "d.example:443", headers: ["authorization"], placeholders: []"#,
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("0123"), "{shown}");
        let none = read("transforms: {}", "open");
        assert!(none.0.is_empty() && none.1.is_empty(), "{none:?}");
    }

    #[test]
    fn all_mistakes_are_reported_without_secrets() {
        let directory = tempfile::tempdir().unwrap();
        let odd = directory.path().join("odd");
        std::fs::write(&odd, "sk-live-0123\u{e4}").unwrap();
        let (_, mistakes) = read(
            &format!(
                "transforms:
  10.0.0.1: {{secret: 'env:CARGO_PKG_NAME', colour: red}}
  b.example: {{}}
  c.example: {{secret: sk-live-0123, ca: /nonexistent}}
  d.example: {{secret: 'env:CARGO_PKG_NAME', variables: [1A, B], header: Host, ca: {odd}}}
  e.example: {{secret: 'file:/nonexistent', header: x, user: me}}
  f.example: {{secret: 'file:{odd}', header: x, variables: [F, G]}}
  g.example: {{secret: 'env:CARGO_PKG_NAME', variables: one, user: 'a:b'}}
  h.example: {{secret: none}}
  i.example: 1
",
                odd = odd.display()
            ),
            "internet",
        );
        for (place, part) in [
            (".10.0.0.1", "is an address"),
            (".10.0.0.1.colour", "no such setting"),
            (".b.example.secret", "write env:VARIABLE"),
            (".c.example.secret", "write env:VARIABLE"),
            (".c.example.ca", "o such file"),
            (".d.example.variables", "variable of the transform"),
            (".d.example.header", "header"),
            (".d.example.ca", "PEM"),
            (".e.example.secret", "o such file"),
            (".e.example.user", "leave one out"),
            (".f.example.secret", "visible ASCII"),
            (".g.example.variables", "list of texts"),
            (".g.example.user", "colon"),
            (".h.example.secret", "write env:VARIABLE"),
            (".i.example", "mapping of names"),
            (".i.example.secret", "write env:VARIABLE"),
            ("", "nearly every host"),
        ] {
            let place = format!("egress.transforms{place}: ");
            let found: Vec<_> = mistakes
                .iter()
                .filter(|mistake| mistake.starts_with(&place))
                .collect();
            assert_eq!(found.len(), 1, "{place}: {mistakes:#?}");
            assert!(found[0].contains(part), "{found:?}");
        }
        assert_eq!(mistakes.len(), 17, "{mistakes:#?}");
        assert!(!mistakes.concat().contains("0123"), "{mistakes:#?}");
    }

    #[test]
    fn transforms_exclude_each_other_and_upstreams() {
        let (_directory, secret, ca) = write_files();
        let one = |host: &str, variable: &str| {
            format!("  {host}: {{ca: {ca}, variables: [{variable}], secret: 'file:{secret}'}}\n")
        };
        let upstream = format!(
            "upstreams:\n  m: {{url: 'https://m.example', ca: {ca}, key-variables: [A]}}\ntransforms:\n"
        );
        for (yaml, part) in [
            (
                "transforms:\n".to_owned() + &one("a.example", "A") + &one("A.example:443", "B"),
                "two for this host",
            ),
            (
                "transforms:\n".to_owned() + &one("a.example", "A") + &one("b.example", "A"),
                "placeholder already",
            ),
            (upstream + &one("a.example", "A"), "an upstream sets it"),
        ] {
            let (_, mistakes) = read(&yaml, "none");
            assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
            assert!(
                mistakes[0].starts_with("egress.transforms: "),
                "{mistakes:#?}"
            );
            assert!(mistakes[0].contains(part), "{mistakes:#?}");
        }
    }
}
