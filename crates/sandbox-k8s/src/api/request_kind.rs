//! What a request is about, in words of which there are few: names of objects are not among them.

use http::{Method, Request};
use sandbox_core::metrics::{self, ApiRequest};

/// Verb and resource, as the rules of RBAC name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestKind {
    pub(crate) verb: &'static str,
    pub(crate) resource: &'static str,
}

const RESOURCES: [&str; 7] = [
    "pods",
    "secrets",
    "events",
    "leases",
    "namespaces",
    "nodes",
    "selfsubjectaccessreviews",
];
const SUBRESOURCES: [(&str, &str); 2] = [("log", "pods/log"), ("portforward", "pods/portforward")];
const OTHER: &str = "other";

impl RequestKind {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        // /api/v1/… or /apis/GROUP/VERSION/…, perhaps namespaces/NAME/, then RESOURCE[/NAME[/SUBRESOURCE]].
        let after = match parts.first() {
            Some(&"api") => parts.get(2..),
            Some(&"apis") => parts.get(3..),
            _ => None,
        };
        let after = match after.unwrap_or_default() {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        let named = after.len() > 1;
        let resource = match after {
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
        let watches = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        Self {
            verb: verb(request.method(), named, watches),
            resource: resource.unwrap_or(OTHER),
        }
    }

    /// Begins to count it and to take its time.
    pub(crate) fn measured(self) -> ApiRequest {
        metrics::start_request(self.verb, self.resource)
    }

    /// The fields are part of the interface.
    pub(super) fn span(self, namespace: &str) -> tracing::Span {
        tracing::debug_span!(
            "k8s.request",
            k8s.verb = self.verb,
            k8s.resource = self.resource,
            k8s.namespace = namespace
        )
    }
}

fn verb(method: &Method, named: bool, watches: bool) -> &'static str {
    match *method {
        Method::GET if watches => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::PUT => "update",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, uri: &str) -> (&'static str, &'static str) {
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let RequestKind { verb, resource } = RequestKind::of(&request);
        (verb, resource)
    }

    #[test]
    fn a_request_is_about_what_rbac_says() {
        let pods = "/api/v1/namespaces/pods/pods";
        assert_eq!(
            of(Method::GET, &format!("{pods}?labelSelector=a%3Db")),
            ("list", "pods")
        );
        assert_eq!(
            of(Method::GET, &format!("{pods}?&watch=true&timeoutSeconds=9")),
            ("watch", "pods")
        );
        assert_eq!(of(Method::GET, &format!("{pods}/secrets")), ("get", "pods"));
        assert_eq!(
            of(Method::GET, &format!("{pods}/x/log?follow=true")),
            ("get", "pods/log")
        );
        assert_eq!(
            of(Method::GET, &format!("{pods}/x/portforward")),
            ("get", "pods/portforward")
        );
        assert_eq!(
            of(Method::POST, "/api/v1/namespaces/n/secrets?"),
            ("create", "secrets")
        );
        assert_eq!(
            of(Method::DELETE, "/api/v1/namespaces/n/secrets/x"),
            ("delete", "secrets")
        );
        let leases = "/apis/coordination.k8s.io/v1/namespaces/n/leases/x";
        assert_eq!(of(Method::PATCH, leases), ("patch", "leases"));
        assert_eq!(
            of(Method::GET, "/api/v1/namespaces"),
            ("list", "namespaces")
        );
        assert_eq!(
            of(Method::GET, "/api/v1/namespaces/n"),
            ("get", "namespaces")
        );
        let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        assert_eq!(
            of(Method::POST, review),
            ("create", "selfsubjectaccessreviews")
        );
    }

    #[test]
    fn what_is_not_known_is_no_label_of_its_own() {
        assert_eq!(
            of(Method::GET, "/api/v1/namespaces/n/widgets/x"),
            ("get", "other")
        );
        assert_eq!(of(Method::GET, "/"), ("list", "other"));
        assert_eq!(of(Method::OPTIONS, "/api"), ("other", "other"));
    }
}
