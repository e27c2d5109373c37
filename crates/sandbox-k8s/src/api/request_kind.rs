//! Verb and resource of a request, as labels of metrics and fields of spans. Both come from a small fixed
//! set; names of objects are not part of them.

use http::{Method, Request};
use sandbox_core::metrics::{self, ApiRequest};

/// Verb and resource, named as in RBAC rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestKind {
    pub(crate) verb: &'static str,
    pub(crate) resource: &'static str,
}

const RESOURCES: [&str; 9] = [
    "pods",
    "secrets",
    "events",
    "leases",
    "namespaces",
    "networkpolicies",
    "nodes",
    "services",
    "selfsubjectaccessreviews",
];
const SUBRESOURCES: [(&str, &str); 4] = [
    ("exec", "pods/exec"),
    ("log", "pods/log"),
    ("portforward", "pods/portforward"),
    ("resize", "pods/resize"),
];
const OTHER: &str = "other";

impl RequestKind {
    /// Derives the kind from method and path.
    pub(crate) fn from_request<B>(request: &Request<B>) -> Self {
        let parts: Vec<&str> = request
            .uri()
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        // /api/v1/… or /apis/GROUP/VERSION/…, optionally namespaces/NAME/, then RESOURCE[/NAME[/SUBRESOURCE]].
        let path = match parts.first() {
            Some(&"api") => parts.get(2..),
            Some(&"apis") => parts.get(3..),
            _ => None,
        };
        let path = match path.unwrap_or_default() {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        let is_named = path.len() > 1;
        let resource = match path {
            [_, _, sub] => SUBRESOURCES
                .iter()
                .find(|(name, _)| name == sub)
                .map(|(_, whole)| *whole),
            [kind, ..] => RESOURCES.iter().find(|name| *name == kind).copied(),
            [] => parts
                .first()
                .filter(|first| **first == "version")
                .map(|_| "version"),
        };
        let is_watch = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        Self {
            verb: verb(request.method(), is_named, is_watch),
            resource: resource.unwrap_or(OTHER),
        }
    }

    /// Starts the metrics of one request.
    pub(crate) fn start_measurement(self) -> ApiRequest {
        metrics::start_request(self.verb, self.resource)
    }

    /// The span of one request. Its fields are a stable interface.
    pub(super) fn span(self, namespace: &str) -> tracing::Span {
        tracing::debug_span!(
            "k8s.request",
            k8s.verb = self.verb,
            k8s.resource = self.resource,
            k8s.namespace = namespace
        )
    }
}

fn verb(method: &Method, is_named: bool, is_watch: bool) -> &'static str {
    match *method {
        Method::GET if is_watch => "watch",
        Method::GET if is_named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::PUT => "update",
        Method::DELETE if is_named => "delete",
        Method::DELETE => "deletecollection",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(method: Method, uri: &str) -> (&'static str, &'static str) {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let RequestKind { verb, resource } = RequestKind::from_request(&request);
        (verb, resource)
    }

    #[test]
    fn verbs_and_resources_are_those_of_rbac() {
        let pods = "/api/v1/namespaces/pods/pods";
        assert_eq!(
            kind(Method::GET, &format!("{pods}?labelSelector=a%3Db")),
            ("list", "pods")
        );
        assert_eq!(
            kind(Method::GET, &format!("{pods}?&watch=true&timeoutSeconds=9")),
            ("watch", "pods")
        );
        assert_eq!(
            kind(Method::GET, &format!("{pods}/secrets")),
            ("get", "pods")
        );
        assert_eq!(
            kind(Method::GET, &format!("{pods}/x/log?follow=true")),
            ("get", "pods/log")
        );
        assert_eq!(
            kind(Method::GET, &format!("{pods}/x/portforward")),
            ("get", "pods/portforward")
        );
        assert_eq!(
            kind(Method::GET, &format!("{pods}/x/exec?command=sh")),
            ("get", "pods/exec")
        );
        assert_eq!(
            kind(Method::POST, "/api/v1/namespaces/n/secrets?"),
            ("create", "secrets")
        );
        assert_eq!(
            kind(Method::DELETE, "/api/v1/namespaces/n/secrets/x"),
            ("delete", "secrets")
        );
        let leases = "/apis/coordination.k8s.io/v1/namespaces/n/leases/x";
        assert_eq!(kind(Method::PATCH, leases), ("patch", "leases"));
        assert_eq!(
            kind(Method::GET, "/api/v1/namespaces"),
            ("list", "namespaces")
        );
        assert_eq!(
            kind(Method::GET, "/api/v1/namespaces/n"),
            ("get", "namespaces")
        );
        let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        assert_eq!(
            kind(Method::POST, review),
            ("create", "selfsubjectaccessreviews")
        );
    }

    #[test]
    fn unknown_resources_share_one_label() {
        assert_eq!(
            kind(Method::GET, "/api/v1/namespaces/n/widgets/x"),
            ("get", "other")
        );
        assert_eq!(kind(Method::GET, "/"), ("list", "other"));
        assert_eq!(kind(Method::OPTIONS, "/api"), ("other", "other"));
    }
}
