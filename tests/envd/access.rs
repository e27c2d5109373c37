//! Who may do what: tokens, signed URLs, and nothing for anybody else.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::client::{Gateway, Guest};

crate::tests! {
    everything_but_health_needs_the_token,
    expired_and_altered_urls_are_refused,
    unknown_sandboxes_are_gone,
    files_are_those_of_the_user,
}

const PATHS: &[(&str, &str)] = &[
    ("GET", "/files?path=/etc/passwd"),
    ("POST", "/files?path=/tmp/x"),
    ("GET", "/metrics"),
    ("GET", "/envs"),
    ("POST", "/process.Process/List"),
    ("POST", "/filesystem.Filesystem/Stat"),
];

async fn everything_but_health_needs_the_token(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let other = gateway.create().await;
    for token in [
        None,
        Some(""),
        Some("x"),
        Some(&other.token[..]),
        Some("\u{e9}"),
    ] {
        let send = async |method: &str, path: &str| {
            let mut request = Request::builder()
                .method(method)
                .uri(path)
                .header("e2b-sandbox-id", &guest.id)
                .header("content-type", "application/json");
            if let Some(token) = token {
                request = request.header("x-access-token", token);
            }
            gateway.send(request.body(Full::from("{}")).unwrap()).await
        };
        for (method, path) in PATHS {
            let answer = send(method, path).await;
            assert_eq!(answer.status, 401, "{path} {token:?}: {answer:?}");
        }
        assert_eq!(send("GET", "/health").await.status, 204);
    }
    // A stream says so in its last frame.
    let request = Request::post("/process.Process/Start")
        .header("e2b-sandbox-id", &guest.id)
        .header("content-type", "application/connect+json")
        .body(Full::from("\0\0\0\0\x02{}"));
    let answer = gateway.send(request.unwrap()).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .body
            .windows(15)
            .any(|part| part == b"unauthenticated")
    );
}

/// Signs a URL as E2B's SDKs do.
fn sign(guest: &Guest, operation: &str, path: &str, expiration: Option<u64>) -> String {
    let mut raw = format!("{path}:{operation}::{}", guest.token);
    let mut query = format!("/files?path={path}");
    if let Some(expiration) = expiration {
        raw.push_str(&format!(":{expiration}"));
        query.push_str(&format!("&signature_expiration={expiration}"));
    }
    let hash = Sha256::digest(raw.as_bytes());
    let signature = base64::engine::general_purpose::STANDARD_NO_PAD.encode(hash);
    let signature = signature.replace('+', "%2B").replace('/', "%2F");
    format!("{query}&signature=v1_{signature}")
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

async fn expired_and_altered_urls_are_refused(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let get = async |url: &str| {
        let request = Request::get(url).body(Full::default()).unwrap();
        let answer = gateway.send(request).await;
        (
            answer.status,
            answer.json()["message"].as_str().unwrap_or("").to_owned(),
        )
    };
    let expired = sign(&guest, "read", "/tmp/f", Some(now() - 10));
    let request = Request::get(&expired).body(Full::default()).unwrap();
    let answer = gateway.send(request).await;
    let exact = json!({"code": 401, "message": "signature is already expired"});
    assert_eq!((answer.status, answer.json()), (401, exact));
    let good = sign(&guest, "read", "/tmp/f", Some(now() + 60));
    let invalid = (401, "invalid signature".to_owned());
    for altered in [
        good.replace("/tmp/f", "/tmp/g"),
        good.replace("signature_expiration=1", "signature_expiration=2"),
        good.clone() + "&username=root",
        sign(&guest, "write", "/tmp/f", None),
        "/files?path=/tmp/f&signature=v1_x".to_owned(),
    ] {
        // `username` is part of what is signed, wherever it is in the query.
        let altered = altered.replace("&username=root", "&username=root&x=y");
        assert_eq!(get(&altered).await, invalid, "{altered}");
    }
    let missing = (401, "missing signature query parameter".to_owned());
    assert_eq!(get("/files?path=/tmp/f").await, missing);
    // A token that is there must be the right one, whatever is signed; and a signature is for its sandbox only.
    let other = gateway.create().await;
    for (name, value) in [("x-access-token", "x"), ("e2b-sandbox-id", &other.id[..])] {
        let request = Request::get(&good)
            .header(name, value)
            .body(Full::default());
        assert_eq!(gateway.send(request.unwrap()).await.status, 401, "{name}");
    }
}

async fn unknown_sandboxes_are_gone(gateway: Arc<Gateway>) {
    let answer_to = async |path: &str, method: Method| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("e2b-sandbox-id", "unknown0000000000000")
            .header("x-access-token", "x")
            .header("content-type", "application/json")
            .body(Full::from("{}"));
        gateway.send(request.unwrap()).await
    };
    for path in ["/health", "/metrics", "/files?path=x"] {
        let answer = answer_to(path, Method::GET).await;
        assert_eq!(answer.status, 502, "{path}");
        assert_eq!(answer.json()["message"], "The sandbox was not found");
    }
    let answer = answer_to("/process.Process/List", Method::POST).await;
    assert_eq!(answer.status, 502);
}

async fn files_are_those_of_the_user(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let get = async |gateway: &Gateway, path: &str| {
        let request = Request::get(path)
            .header("e2b-sandbox-id", &guest.id)
            .header("x-access-token", &guest.token)
            .body(Full::default());
        gateway.send(request.unwrap()).await
    };
    let environment = get(&gateway, "/envs").await.json();
    let own = environment["USER"].as_str().unwrap();
    for (user, status) in [("", 404), (own, 404), ("no-such-user", 401)] {
        let answer = get(&gateway, &format!("/files?path=none&username={user}")).await;
        assert_eq!(answer.status, status, "{user:?}: {answer:?}");
    }
    // The template's user is that of requests without one.
    let replica = gateway
        .start_replica(|config| {
            for template in config.templates.values_mut() {
                template.user = Some("no-such-user".to_owned());
            }
        })
        .await;
    assert_eq!(get(&replica, "/files?path=none").await.status, 401);
    let named = format!("/files?path=none&username={own}");
    assert_eq!(get(&replica, &named).await.status, 404);
}
