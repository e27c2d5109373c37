//! What a request asks for.

use std::collections::BTreeMap;
use std::fmt;

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// As RBAC has it: `create`, `list`, `watch`.
    pub verb: &'static str,
    /// As RBAC has it: `pods`, `pods/log`.
    pub resource: String,
    /// Of one object.
    pub name: Option<String>,
    /// Nothing was to be changed.
    pub dry_run: bool,
}

impl Seen {
    /// Verb and resource.
    pub fn what(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }

    /// Whether it changes anything.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        self.name.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

/// A request, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) seen: Seen,
    pub(super) namespace: String,
    pub(super) query: BTreeMap<String, String>,
}

/// Which resources there are, with the kind of each.
const RESOURCES: [(&str, &str, &str); 4] = [
    ("/api/v1/", "pods", "Pod"),
    ("/api/v1/", "secrets", "Secret"),
    ("/api/v1/", "events", "Event"),
    ("/apis/coordination.k8s.io/v1/", "leases", "Lease"),
];

impl Call {
    /// `None` for what there is not.
    pub(super) fn of(method: &http::Method, uri: &http::Uri) -> Option<Self> {
        let path = uri.path();
        let (_, rest) = RESOURCES.iter().find_map(|(root, plural, _)| {
            let rest = path.strip_prefix(root)?.strip_prefix("namespaces/")?;
            (rest.split('/').nth(1) == Some(plural)).then_some((root, rest))
        })?;
        let parts: Vec<&str> = rest.split('/').collect();
        let query = query(uri.query().unwrap_or_default());
        let name = parts.get(2).map(|name| (*name).to_owned());
        let is = |key: &str| {
            query
                .get(key)
                .is_some_and(|value| value == "true" || value == "1")
        };
        let verb = match (method.as_str(), &name) {
            ("GET", None) if is("watch") => "watch",
            ("GET", None) => "list",
            ("GET", Some(_)) => "get",
            ("POST", _) => "create",
            ("PUT", Some(_)) => "update",
            ("PATCH", Some(_)) => "patch",
            ("DELETE", Some(_)) => "delete",
            _ => return None,
        };
        let resource = match parts.get(3) {
            Some(sub) => format!("{}/{sub}", parts.get(1)?),
            None => (*parts.get(1)?).to_owned(),
        };
        let dry_run = query.get("dryRun").is_some_and(|value| value == "All");
        let seen = Seen {
            verb,
            resource,
            name,
            dry_run,
        };
        Some(Self {
            seen,
            namespace: (*parts.first()?).to_owned(),
            query,
        })
    }

    pub(super) fn kind(&self) -> (&'static str, &'static str) {
        let found = RESOURCES
            .iter()
            .find(|(_, plural, _)| *plural == self.seen.resource);
        found.map_or(("v1", "Status"), |(root, _, kind)| {
            (
                root.trim_start_matches("/apis/")
                    .trim_start_matches("/api/")
                    .trim_end_matches('/'),
                kind,
            )
        })
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .map(|(key, value)| (unescaped(key), unescaped(value)))
        .collect()
}

fn unescaped(text: &str) -> String {
    let bytes = text.replace('+', " ").into_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match hex
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|_| *byte == b'%')
        {
            Some(decoded) => {
                plain.push(decoded);
                at += 3;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}
