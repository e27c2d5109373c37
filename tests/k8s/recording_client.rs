//! A client of the API server that records its requests.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use http::{Method, Request};
use kube::client::Body;

/// A resource and a verb of RBAC.
pub(crate) type Right = (String, String);

/// The requests of its clients, in order.
#[derive(Clone, Default)]
pub(crate) struct RequestLog(Arc<Mutex<Vec<Right>>>);

impl RequestLog {
    /// The same client, which records each request.
    pub(crate) fn record(&self, client: kube::Client) -> kube::Client {
        let log = self.clone();
        let namespace = client.default_namespace().to_owned();
        let service = tower::service_fn(move |request: Request<Body>| {
            log.0.lock().unwrap().push(required_right(&request));
            let client = client.clone();
            async move { client.send(request).await }
        });
        kube::Client::new(service, namespace)
    }

    /// The rights that the recorded requests need.
    pub(crate) fn rights(&self) -> BTreeSet<Right> {
        self.0.lock().unwrap().iter().cloned().collect()
    }
}

/// The right that a request needs. Its path is
/// `/api/v1/namespaces/NAMESPACE/RESOURCE/NAME/SUBRESOURCE`.
fn required_right(request: &Request<Body>) -> Right {
    let uri = request.uri();
    let mut parts = uri
        .path()
        .split('/')
        .skip_while(|part| *part != "namespaces")
        .skip(2);
    let (resource, name, sub) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let resource = sub.map_or_else(|| resource.to_owned(), |sub| format!("{resource}/{sub}"));
    let watches = uri
        .query()
        .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
    let verb = match *request.method() {
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ if watches => "watch",
        _ if name.is_some() => "get",
        _ => "list",
    };
    (resource, verb.to_owned())
}
