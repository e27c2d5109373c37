//! Creating and deleting against an API server of a few lines, with answers that go astray.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use sandbox_core::{
    CreationReason, DeleteOptions, Error, Freshness, Lifetime, SandboxBackend, SandboxId, SandboxSpec,
};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{Injection, KubernetesOptions};
use serde_json::{Value, json};

/// What goes wrong with a request.
#[derive(Clone, Copy)]
enum Fault {
    /// It is refused so, and nothing happens.
    Refuse(u16, &'static str),
    /// It is carried out, and the answer is an error.
    Lose,
    /// It is carried out after a while.
    Slow,
}

#[derive(Default)]
struct Server {
    /// By plural and name.
    objects: BTreeMap<(String, String), Value>,
    /// For a method and a plural, once.
    faults: Vec<(Method, &'static str, Fault)>,
    seen: Vec<String>,
    uids: u32,
}

type Shared = Arc<Mutex<Server>>;

fn backend(server: &Shared) -> KubernetesBackend {
    let server = Arc::clone(server);
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(answer(&server, request).await) }
    });
    let mut options = KubernetesOptions::default();
    options.injection = Injection::baked();
    KubernetesBackend::new(Client::new(service, "boxes"), options)
}

async fn answer(server: &Shared, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await.unwrap();
    let parts: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
    assert_eq!(parts[..4], ["api", "v1", "namespaces", "boxes"]);
    let plural = parts[4];
    let query = head.uri.query().unwrap_or_default();
    if query.contains("watch=") {
        std::future::pending::<()>().await;
    }
    let fault = {
        let mut server = server.lock().unwrap();
        server.seen.push(format!("{} {}", head.method, parts[4..].join("/")));
        let at = server.faults.iter().position(|(method, of, _)| *method == head.method && *of == plural);
        at.map(|at| server.faults.remove(at).2)
    };
    match fault {
        Some(Fault::Refuse(code, message)) => return status(code, "Forbidden", message),
        Some(Fault::Slow) => tokio::time::sleep(Duration::from_secs(1)).await,
        Some(Fault::Lose) | None => {}
    }
    let done = server.lock().unwrap().act(&head.method, plural, parts.get(5).copied(), &body);
    if matches!(fault, Some(Fault::Lose)) { status(503, "ServiceUnavailable", "lost") } else { done }
}

impl Server {
    fn act(&mut self, method: &Method, plural: &str, name: Option<&str>, body: &[u8]) -> Response<Body> {
        let key = |name: &str| (plural.to_owned(), name.to_owned());
        match (method.as_str(), name) {
            ("POST", None) => {
                let mut object: Value = serde_json::from_slice(body).unwrap();
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                if self.objects.contains_key(&key(&name)) {
                    return status(409, "AlreadyExists", "it exists");
                }
                self.uids += 1;
                object["metadata"]["uid"] = json!(format!("u{}", self.uids));
                object["metadata"]["resourceVersion"] = json!(self.uids.to_string());
                object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
                self.objects.insert(key(&name), object.clone());
                response(201, &object)
            }
            ("GET", None) => {
                let items: Vec<_> = self
                    .objects
                    .iter()
                    .filter(|((of, _), _)| of == plural)
                    .map(|(_, object)| object)
                    .collect();
                let kind = if plural == "pods" { "PodList" } else { "SecretList" };
                response(
                    200,
                    &json!({"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": "1"}, "items": items}),
                )
            }
            ("GET", Some(name)) => match self.objects.get(&key(name)) {
                Some(object) => response(200, object),
                None => status(404, "NotFound", &format!("{plural} \"{name}\" not found")),
            },
            ("DELETE", Some(name)) => {
                let options: Value = serde_json::from_slice(body).unwrap();
                let wanted = &options["preconditions"]["uid"];
                assert!(wanted.is_string(), "a delete without a uid: {options}");
                match self.objects.get(&key(name)) {
                    None => status(404, "NotFound", "gone"),
                    Some(object) if object["metadata"]["uid"] != *wanted => {
                        status(409, "Conflict", "the UID in the precondition does not match")
                    }
                    Some(_) => response(200, &self.objects.remove(&key(name)).unwrap()),
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn response(code: u16, body: &Value) -> Response<Body> {
    Response::builder().status(code).body(Body::from(serde_json::to_vec(body).unwrap())).unwrap()
}

fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    response(
        code,
        &json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

fn spec() -> (SandboxId, SandboxSpec) {
    let id = SandboxId::generate().unwrap();
    let mut spec = SandboxSpec::default();
    spec.id = Some(id.clone());
    spec.image = Some("busybox".into());
    (id, spec)
}

fn server(faults: Vec<(Method, &'static str, Fault)>) -> Shared {
    Arc::new(Mutex::new(Server { faults, ..Server::default() }))
}

fn names(server: &Shared) -> Vec<String> {
    server.lock().unwrap().objects.keys().map(|(plural, name)| format!("{plural}/{name}")).collect()
}

fn writes(server: &Shared) -> usize {
    let server = server.lock().unwrap();
    server.seen.iter().filter(|line| !line.starts_with("GET")).count()
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_takes_two_writes_and_is_seen_at_once() {
    let server = server(Vec::new());
    let backend = backend(&server);
    let (id, spec) = spec();
    let info = backend.create(spec).await.unwrap();
    assert_eq!((&info.id, info.port), (&id, Some(2222)));
    assert_eq!(names(&server), [format!("pods/{id}"), format!("secrets/{id}-keys")]);
    assert_eq!(backend.get(&id, Freshness::Cached).await.unwrap().uid, info.uid);
    backend.access(&id).await.unwrap();
    assert_eq!(writes(&server), 2);
    let reads = |server: &Shared| {
        let server = server.lock().unwrap();
        server.seen.iter().filter(|line| line.contains(id.as_str()) && line.starts_with("GET")).count()
    };
    assert_eq!(reads(&server), 0, "nothing is read that is known");
    backend.delete(&id, unwaited()).await.unwrap();
    assert_eq!((names(&server).len(), writes(&server)), (0, 4));
}

fn unwaited() -> DeleteOptions {
    let mut options = DeleteOptions::default();
    options.wait = false;
    options
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_is_recognised() {
    for plural in ["secrets", "pods"] {
        let server = server(vec![(Method::POST, plural, Fault::Lose)]);
        let (id, spec) = spec();
        backend(&server).create(spec).await.unwrap();
        assert_eq!(names(&server), [format!("pods/{id}"), format!("secrets/{id}-keys")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_create_leaves_nothing() {
    let quota =
        "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4";
    let server = server(vec![(Method::POST, "pods", Fault::Refuse(403, quota))]);
    let (_, spec) = spec();
    match backend(&server).create(spec).await.unwrap_err() {
        Error::Creation(error) => assert_eq!(error.reason, CreationReason::Quota),
        other => panic!("{other:?}"),
    }
    assert!(names(&server).is_empty(), "{:?}", names(&server));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_create_leaves_nothing() {
    for plural in ["secrets", "pods"] {
        let server = server(vec![(Method::POST, plural, Fault::Slow)]);
        let backend = backend(&server);
        let (_, spec) = spec();
        let creation = backend.create(spec);
        assert!(tokio::time::timeout(Duration::from_millis(500), creation).await.is_err());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(names(&server).is_empty(), "{plural}: {:?}", names(&server));
    }
}

#[tokio::test(start_paused = true)]
async fn anothers_sandbox_of_that_name_stays() {
    let server = server(Vec::new());
    let (id, first) = spec();
    let backend = backend(&server);
    backend.create(first.clone()).await.unwrap();
    let before = server.lock().unwrap().objects.clone();
    assert!(matches!(backend.create(first).await, Err(Error::AlreadyExists { .. })));
    assert_eq!(server.lock().unwrap().objects, before);
    // Its Secret was removed by hand: the Pod still has the name.
    server.lock().unwrap().objects.retain(|(plural, _), _| plural == "pods");
    let (_, mut second) = spec();
    second.id = Some(id.clone());
    assert!(matches!(backend.create(second).await, Err(Error::AlreadyExists { .. })));
    assert_eq!(names(&server), [format!("pods/{id}")]);
}

#[tokio::test(start_paused = true)]
async fn only_a_detached_sandbox_is_taken_up_by_others() {
    for (timeout, taken_up) in [(None, true), (Some(Lifetime::DEFAULT_ATTACH), false)] {
        let server = server(Vec::new());
        let (id, mut spec) = spec();
        spec.lifetime.attach_timeout = timeout;
        let maker = backend(&server);
        maker.create(spec).await.unwrap();
        let known = maker.access(&id).await.unwrap();
        match backend(&server).access(&id).await {
            Ok(access) => {
                assert!(taken_up);
                assert_eq!((access.host_key, access.uid), (known.host_key, known.uid));
            }
            Err(error) => assert!(!taken_up && matches!(error, Error::Unsupported { .. }), "{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_instance_is_not_deleted() {
    let server = server(Vec::new());
    let (id, spec) = spec();
    let info = backend(&server).create(spec).await.unwrap();
    let mut options = unwaited();
    options.uid = Some(sandbox_core::Uid::new("former"));
    backend(&server).delete(&id, options).await.unwrap();
    assert_eq!(names(&server).len(), 2);
    let mut options = unwaited();
    options.uid = Some(info.uid);
    backend(&server).delete(&id, options).await.unwrap();
    assert!(names(&server).is_empty());
    backend(&server).delete(&id, unwaited()).await.unwrap();
}
