//! Several namespaces of one cluster, over one connection.

use kube::Client;
use kube::client::Body;
use sandbox_core::{Error, ListFilter, SandboxBackend};
use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::{ApiServer, Fault};
use tower::ServiceExt;

use crate::support::{create_sandbox, named_spec, options, start_watch};

/// A client of a cluster with the namespaces of both servers.
fn client(one: &ApiServer, two: &ApiServer) -> Client {
    let (one, two) = (one.clone(), two.clone());
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let is_two = request.uri().path().contains("/namespaces/two/");
        if is_two { two.clone() } else { one.clone() }.oneshot(request)
    });
    Client::new(service, "one")
}

#[tokio::test(start_paused = true)]
async fn namespaces_share_a_client_but_no_sandboxes() {
    let (one, two) = (ApiServer::new("one"), ApiServer::new("two"));
    let in_one = KubernetesBackend::new(client(&one, &two), options());
    let in_two = in_one.in_namespace("two").unwrap();
    assert_eq!((in_one.namespace(), in_two.namespace()), ("one", "two"));
    // The same id is another sandbox in each.
    let (id, spec) = named_spec("worker");
    in_one.create(spec.clone()).await.unwrap();
    in_two.create(spec).await.unwrap();
    create_sandbox(&in_two).await;
    for (server, backend, count) in [(&one, &in_one, 1), (&two, &in_two, 2)] {
        start_watch(server, backend).await;
        let listed = backend.list(ListFilter::default()).await.unwrap();
        assert_eq!(listed.len(), count);
        assert_eq!(server.count_requests("watch pods"), 1);
    }
    in_one.delete(&id, Default::default()).await.unwrap();
    assert!(one.object_names().is_empty());
    assert_eq!(two.object_names().len(), 4);
    // A failure in one does not concern the other, and neither does its end.
    one.inject_always("list pods", Fault::Forbidden);
    drop(in_one);
    in_two.delete(&id, Default::default()).await.unwrap();
    assert_eq!(two.object_names().len(), 2);
}

#[tokio::test]
async fn a_name_that_no_namespace_can_have_is_refused() {
    let server = ApiServer::new("one");
    let backend = KubernetesBackend::new(Client::new(server, "one"), options());
    let long = "x".repeat(64);
    for name in ["", "a/b", "../b", "A", "a.b", "-a", "a-", "a b", &long] {
        let refused = backend.in_namespace(name);
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{name:?}");
    }
    assert!(backend.in_namespace(&"x".repeat(63)).is_ok());
}
