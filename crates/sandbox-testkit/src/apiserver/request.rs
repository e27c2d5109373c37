//! Parses requests.

use std::collections::BTreeMap;
use std::fmt;

/// A request that the server has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    /// The verb as in RBAC: `create`, `list`, `watch`.
    pub verb: &'static str,
    /// The resource as in RBAC: `pods`, `pods/log`.
    pub resource: String,
    /// The name, if the request is for one object.
    pub name: Option<String>,
    /// Whether the request changes nothing because it is a dry run.
    pub dry_run: bool,
    /// Whether the response has only the metadata of the objects.
    pub metadata_only: bool,
}

impl RecordedRequest {
    /// Returns the verb and the resource, such as `create pods`.
    pub fn kind(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }

    /// Returns whether the verb changes objects.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }
}

impl fmt::Display for RecordedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        self.name.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

/// A parsed request for an object or a list of them.
#[derive(Debug, Clone)]
pub(super) struct ParsedRequest {
    pub(super) record: RecordedRequest,
    pub(super) namespace: String,
    pub(super) query: BTreeMap<String, String>,
    /// The program and arguments of a request for `pods/exec`.
    pub(super) command: Vec<String>,
    /// The header `Sec-WebSocket-Key`.
    pub(super) websocket_key: Option<String>,
    /// Whether the body is a JSON patch. Any other patch is a merge patch.
    pub(super) is_json_patch: bool,
}

/// The supported resources: the API's path, the plural and the kind.
const RESOURCES: [(&str, &str, &str); 7] = [
    ("/api/v1/", "pods", "Pod"),
    ("/api/v1/", "secrets", "Secret"),
    ("/api/v1/", "events", "Event"),
    ("/api/v1/", "configmaps", "ConfigMap"),
    (
        "/api/v1/",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
    ),
    ("/apis/coordination.k8s.io/v1/", "leases", "Lease"),
    (
        "/apis/networking.k8s.io/v1/",
        "networkpolicies",
        "NetworkPolicy",
    ),
];

impl ParsedRequest {
    /// Parses a request; `None` if the resource or method is not supported.
    pub(super) fn parse(method: &http::Method, uri: &http::Uri) -> Option<Self> {
        let path = uri.path();
        let (_, rest) = RESOURCES.iter().find_map(|(root, plural, _)| {
            let rest = path.strip_prefix(root)?.strip_prefix("namespaces/")?;
            (rest.split('/').nth(1) == Some(plural)).then_some((root, rest))
        })?;
        let parts: Vec<&str> = rest.split('/').collect();
        let query = parse_query(uri.query().unwrap_or_default());
        let name = parts.get(2).map(|name| (*name).to_owned());
        let is_set = |key: &str| {
            query
                .get(key)
                .is_some_and(|value| value == "true" || value == "1")
        };
        let verb = match (method.as_str(), &name) {
            ("GET", None) if is_set("watch") => "watch",
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
        let record = RecordedRequest {
            verb,
            resource,
            name,
            dry_run,
            metadata_only: false,
        };
        Some(Self {
            record,
            namespace: (*parts.first()?).to_owned(),
            query,
            command: parse_pairs(uri.query().unwrap_or_default())
                .filter_map(|(key, value)| (key == "command").then_some(value))
                .collect(),
            websocket_key: None,
            is_json_patch: false,
        })
    }

    /// Returns the API version and kind of the object.
    pub(super) fn object_type(&self) -> (&'static str, &'static str) {
        let resource = RESOURCES
            .iter()
            .find(|(_, plural, _)| *plural == self.record.resource);
        resource.map_or(("v1", "Status"), |(root, _, kind)| {
            (
                root.trim_start_matches("/apis/")
                    .trim_start_matches("/api/")
                    .trim_end_matches('/'),
                kind,
            )
        })
    }
}

fn parse_query(text: &str) -> BTreeMap<String, String> {
    parse_pairs(text).collect()
}

fn parse_pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(key, value)| (unescape(key), unescape(value)))
}

fn unescape(text: &str) -> String {
    let bytes = text.replace('+', " ").into_bytes();
    let mut decoded_bytes = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let hex = bytes
            .get(index + 1..index + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match hex
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|_| *byte == b'%')
        {
            Some(decoded) => {
                decoded_bytes.push(decoded);
                index += 3;
            }
            None => {
                decoded_bytes.push(*byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded_bytes).into_owned()
}
