//! Reads the settings from a file in YAML.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use http::HeaderValue;
use sandbox::SandboxId;
use serde_json::Value;

use super::reader::{Fields, Mistakes};
use super::template_fields::read_templates;
use super::{ConfigOverrides, GatewayConfig, KeyLimits, Limits, PreviewConfig, TlsFiles};
use crate::bounded_file::read_text;
use crate::error::GatewayError;

/// The address that is listened on unless another is chosen: only this machine reaches it.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);
/// The largest file that is read.
const MAX_FILE: u64 = 4 * 1024 * 1024;

impl GatewayConfig {
    /// Reads the settings from a file in YAML, if there is one, and from what flags and variables say, which takes
    /// precedence. `docs/GATEWAY.md` describes the file.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Config`] with every mistake, or [`GatewayError::File`] if the file cannot be read.
    pub fn load(file: Option<&Path>, overrides: ConfigOverrides) -> Result<Self, GatewayError> {
        let Some(path) = file else {
            return Self::parse("", overrides).map_err(GatewayError::Config);
        };
        let content = read_text(path, MAX_FILE).map_err(|source| GatewayError::File {
            action: "read the configuration in",
            path: path.to_owned(),
            source,
        })?;
        let in_file = |mistakes: Vec<String>| {
            let place = path.display();
            GatewayError::Config(
                mistakes
                    .into_iter()
                    .map(|mistake| format!("{place}: {mistake}"))
                    .collect(),
            )
        };
        Self::parse(&content, overrides).map_err(in_file)
    }

    /// Reads the settings from the content of a file.
    fn parse(content: &str, overrides: ConfigOverrides) -> Result<Self, Vec<String>> {
        let root = match serde_saphyr::from_str::<Option<Value>>(content) {
            Ok(root) => root.unwrap_or(Value::Null),
            Err(error) => return Err(vec![format!("it is not valid YAML: {error}")]),
        };
        let mut mistakes = Mistakes::default();
        let config = read_root(Fields::new(String::new(), root, &mut mistakes), overrides);
        match config {
            Some(config) if mistakes.0.is_empty() => Ok(config),
            Some(_) | None => Err(mistakes.0),
        }
    }
}

fn read_root(mut root: Fields<'_>, overrides: ConfigOverrides) -> Option<GatewayConfig> {
    let listen = root.parsed("listen");
    let keys = root.text("keys").map(Into::into);
    let keys_file = overrides.keys_file.or(keys);
    if keys_file.is_none() {
        root.refuse::<()>(
            "keys",
            "it is not set; name a file with --keys, SANDBOX_GATEWAY_KEYS or here",
        );
    }
    let mut config = GatewayConfig::new(
        overrides.listen.or(listen).unwrap_or(DEFAULT_LISTEN),
        keys_file.unwrap_or_default(),
    );
    let metrics_listen = root.parsed("metrics-listen");
    config.metrics_listen = overrides.metrics_listen.or(metrics_listen);
    let signing_key = root.text("signing-key").map(Into::into);
    config.signing_key_file = overrides.signing_key_file.or(signing_key);
    let domain = root.text("domain");
    config.domain = overrides.domain.or(domain);
    if let Some(domain) = &config.domain
        && !is_domain(domain)
    {
        let mistake =
            format!("{domain:?} is no domain, such as sandboxes.example.com or sbx.test:8443");
        root.refuse::<()>("domain", &mistake);
    }

    // Both files of TLS, or none.
    let (mut certificate, mut key) = (None, None);
    if let Some(mut tls) = root.fields("tls") {
        certificate = tls.text("certificate").map(Into::into);
        key = tls.text("key").map(Into::into);
        tls.finish();
    }
    config.tls = match (
        overrides.tls_certificate.or(certificate),
        overrides.tls_key.or(key),
    ) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
        (None, None) => None,
        (Some(_), None) => root.refuse("tls", "there is a certificate, but no key; set both"),
        (None, Some(_)) => root.refuse("tls", "there is a key, but no certificate; set both"),
    };

    if let Some(name) = root.text("name") {
        // It is the value of a label, too.
        if name.parse::<SandboxId>().is_ok() {
            config.name = name;
        } else {
            root.refuse::<()>(
                "name",
                "use up to 40 lower-case letters, digits and dashes, beginning with a letter",
            );
        }
    }
    let page = root.boolean("page");
    config.page = overrides.page.or(page).unwrap_or(config.page);
    config.cors = root.texts("cors").unwrap_or_default();
    if let Some(origin) = config.cors.iter().find(|origin| !is_origin(origin)) {
        let mistake =
            format!("{origin:?} is neither an origin, such as https://app.example.com, nor \"*\"");
        root.refuse::<()>("cors", &mistake);
    }
    if let Some(fields) = root.fields("limits") {
        read_limits(fields, &mut config.limits, &mut config.key_limits);
    }
    if let Some(fields) = root.fields("preview") {
        read_preview(fields, &mut config.preview);
    }
    read_templates(&mut root, &mut config);
    for template in config.templates.values_mut() {
        template.backend_network |= overrides.backend_network && template.egress.is_none();
    }
    root.finish();
    Some(config)
}

fn read_limits(mut fields: Fields<'_>, limits: &mut Limits, keys: &mut KeyLimits) {
    let set_size = |target: &mut usize, value: Option<u32>| {
        if let Some(value) = value {
            *target = value as usize;
        }
    };
    set_size(&mut keys.sandboxes, fields.count("sandboxes-per-key"));
    if let Some(rate) = fields.count("requests-per-second") {
        keys.requests_per_second = rate;
    }
    set_size(&mut limits.connections, fields.count("connections"));
    set_size(&mut limits.body_bytes, fields.count("body-bytes"));
    if let Some(bytes) = fields.count("header-bytes") {
        // hyper's buffer has this size at least.
        if bytes < 8192 {
            fields.refuse::<()>("header-bytes", "it must be at least 8192");
        }
        limits.header_bytes = bytes as usize;
    }
    if let Some(streams) = fields.count("streams-per-connection") {
        limits.streams_per_connection = streams;
    }
    for (name, target) in [
        ("header-timeout", &mut limits.header_timeout),
        ("idle-timeout", &mut limits.idle_timeout),
        ("body-timeout", &mut limits.body_timeout),
        ("write-timeout", &mut limits.write_timeout),
        ("drain", &mut limits.drain),
    ] {
        if let Some(duration) = fields.duration(name) {
            *target = duration;
        }
    }
    fields.finish();
}

fn read_preview(mut fields: Fields<'_>, preview: &mut PreviewConfig) {
    if let Some(keep_host) = fields.boolean("keep-host") {
        preview.keep_host = keep_host;
    }
    if let Some(timeout) = fields.duration("response-timeout") {
        preview.response_timeout = timeout;
    }
    fields.finish();
}

fn is_domain(domain: &str) -> bool {
    let (name, port) = domain
        .rsplit_once(':')
        .map_or((domain, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 190
        && name.split('.').all(is_label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// `*`, or a scheme and an authority without anything behind it.
fn is_origin(origin: &str) -> bool {
    let authority = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    let is_valid =
        |authority: &str| !authority.is_empty() && !authority.contains(['/', '?', '#', '@', ' ']);
    origin == "*" || (authority.is_some_and(is_valid) && HeaderValue::from_str(origin).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::TemplatePool;
    use super::*;
    use std::time::Duration;

    fn with_keys() -> ConfigOverrides {
        ConfigOverrides {
            keys_file: Some("/k".into()),
            ..ConfigOverrides::default()
        }
    }

    #[test]
    fn without_a_file_there_are_the_default_templates() {
        let config = GatewayConfig::parse("", with_keys()).unwrap();
        let default = GatewayConfig::new(DEFAULT_LISTEN, "/k".into());
        assert_eq!(format!("{config:?}"), format!("{default:?}"));
        assert!(
            config.template("base").is_some() && config.template("code-interpreter-v1").is_some()
        );
        let missing = GatewayConfig::parse("", ConfigOverrides::default()).unwrap_err();
        assert!(missing[0].starts_with("keys: it is not set"), "{missing:?}");
    }

    #[test]
    fn everything_can_be_set_and_flags_win() {
        let content = r#"
listen: 0.0.0.0:8080
metrics-listen: 127.0.0.1:9090
keys: /etc/keys
signing-key: /etc/signing
domain: sbx.test:8443
tls: {certificate: /c, key: /k}
name: team
page: false
cors: ["https://app.example.com"]
limits: {sandboxes-per-key: 3, requests-per-second: 5, connections: 10, header-bytes: 16384, body-bytes: 1000,
  streams-per-connection: 20, header-timeout: 5s, idle-timeout: 90s, body-timeout: 6s, write-timeout: 7s, drain: 1m}
preview: {keep-host: true, response-timeout: 20m}
templates:
  base:
    image: python:3.12-slim
    cpu: 500m
    memory: 512Mi
    disk: 1Gi
    pids: 100
    env: {A: 1, B: text, C: true}
    user: user
    egress: {preset: packages, allow: ["api.example.com:443"], deny: ["*.example.net"]}
    timeout: 10m
    max-lifetime: 2h
    pool: {size: 4}
    aliases: [python]
    kubernetes: {node_selector: {disk: ssd}}
  shared: {pool: {name: ci}, egress: backend}
"#;
        let mut overrides = with_keys();
        overrides.listen = Some("127.0.0.1:1".parse().unwrap());
        let config = GatewayConfig::parse(content, overrides).unwrap();
        assert_eq!(
            (config.listen.port(), config.keys_file.to_str()),
            (1, Some("/k"))
        );
        assert_eq!(config.metrics_listen.unwrap().port(), 9090);
        assert_eq!((config.name.as_str(), config.page), ("team", false));
        assert_eq!(config.key_limits.sandboxes, 3);
        assert_eq!(
            (config.limits.idle_timeout, config.limits.drain),
            (Duration::from_secs(90), Duration::from_secs(60))
        );
        assert_eq!(
            (config.preview.keep_host, config.preview.response_timeout),
            (true, Duration::from_secs(1200))
        );
        let (name, base) = config.template("python").unwrap();
        assert_eq!(
            (name, base.pool.clone()),
            ("base", Some(TemplatePool::Own { size: 4 }))
        );
        assert_eq!(
            (base.env["A"].as_str(), base.env["C"].as_str()),
            ("1", "true")
        );
        assert_eq!(
            (base.timeout, base.user.as_deref()),
            (Duration::from_secs(600), Some("user"))
        );
        let egress = base.egress.as_ref().map(ToString::to_string);
        assert_eq!(
            egress.as_deref(),
            Some("packages +api.example.com:443 -*.example.net")
        );
        let shared = config.template("shared").unwrap().1;
        assert!(shared.backend_network && !base.backend_network);
        assert_eq!(
            shared.pool,
            Some(TemplatePool::Shared {
                name: "ci".to_owned()
            })
        );
        assert!(
            config.template("code-interpreter-v1").is_some(),
            "defaults stay"
        );
    }

    #[test]
    fn a_flag_leaves_templates_without_rules_their_network() {
        let mut overrides = with_keys();
        overrides.backend_network = true;
        let content = "templates: {ruled: {egress: {preset: none}}}";
        let config = GatewayConfig::parse(content, overrides).unwrap();
        assert!(config.template("base").unwrap().1.backend_network);
        assert!(!config.template("ruled").unwrap().1.backend_network);
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let content = r#"
listen: here
domian: x
domain: "*.x"
tls: {certificate: /c}
name: Über
page: maybe
cors: [example.com, 1]
limits: {drain: 5, sandboxes-per-key: 0, header-bytes: 10, x: 1}
preview: {keep-host: 1, response-timeout: 0s, y: 1}
templates:
  a b: {}
  base: {memory: lots, timeout: 2h, max-lifetime: 1h, pool: {}, env: {"A=B": x}, aliases: [code-interpreter-v1]}
  reach: {egress: {preset: most, allow: [a.example, a/b], deny: 1, x: 1, upstreams: {b: {}}, transforms: {c.example: {}}}}
  word: {egress: network}
  named: {pool: {name: ci}, egress: {}}
  other: [1]
  both: {pool: {size: 1, name: ci}, kubernetes: 1}
"#;
        let mistakes = GatewayConfig::parse(content, ConfigOverrides::default()).unwrap_err();
        for place in [
            "listen",
            "keys",
            "domian",
            "domain",
            "tls",
            "name",
            "page",
            "cors",
            "limits.drain",
            "limits.sandboxes-per-key",
            "limits.header-bytes",
            "limits.x",
            "preview.keep-host",
            "preview.response-timeout",
            "preview.y",
            "templates.a b",
            "templates.base.memory",
            "templates.base.timeout",
            "templates.base.pool.size",
            "templates.base.env",
            "templates.base.aliases",
            "templates.reach.egress.preset",
            "templates.reach.egress.allow",
            "templates.reach.egress.deny",
            "templates.reach.egress.x",
            "templates.reach.egress.upstreams.b.url",
            "templates.reach.egress.transforms.c.example.secret",
            "templates.word.egress",
            "templates.named.egress",
            "templates.other",
            "templates.both.pool.size",
            "templates.both.kubernetes",
        ] {
            let found = mistakes
                .iter()
                .filter(|mistake| mistake.starts_with(&format!("{place}: ")))
                .count();
            assert_eq!(found, 1, "{place}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 32, "{mistakes:#?}");
        let broken = GatewayConfig::parse("a: [", with_keys()).unwrap_err();
        assert!(broken[0].starts_with("it is not valid YAML"), "{broken:?}");
    }
}
