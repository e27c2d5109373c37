//! Upstreams: who may use them, for which paths, and at which addresses.

use std::sync::Arc;
use std::time::Duration;

use sandbox_egress::{EgressOutcome, Limits, NamedUpstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{Received, TestProxy, World};

pub(crate) const SECRET: &str = "sk-live-5up3r+s3cr3t/0123";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HOST: &str = "Host: 127.0.0.1:9";

/// A world with an upstream at a public address, its server, and a proxy.
pub(crate) async fn world(rules: &str, answer: &'static [u8]) -> (Arc<World>, Received, TestProxy) {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    world.name("good.example", &["93.184.216.36"]);
    let (server, authority) = world
        .serve_tls("93.184.216.34:443", "api.example", answer)
        .await;
    let proxy = world.proxy_for(rules, Limits::default(), [api(&authority)]);
    (world, server, proxy)
}

pub(crate) fn api(authority: &str) -> NamedUpstream {
    upstream("https://api.example/v1", authority)
        .secret(SECRET)
        .unwrap()
}

fn upstream(base: &str, authority: &str) -> NamedUpstream {
    NamedUpstream::new("api", base)
        .unwrap()
        .authorities(authority.as_bytes())
        .unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{HOST}\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn the_credential_replaces_what_the_sandbox_sends() {
    let (_world, mut server, mut proxy) = world("none", OK).await;
    let head = format!(
        "POST /api/chat?a=b HTTP/1.1\r\n{HOST}\r\n\
         Authorization: Bearer own\r\nauthorization: Basic own\r\n\
         Connection: close, Authorization, X-Named, Host\r\nX-Named: own\r\n\
         Proxy-Authorization: Basic own\r\nX-Forwarded-Host: own\r\nX-Original-URL: /own\r\n\
         TE: trailers\r\nAccept: */*\r\nContent-Length: 4\r\n\r\nbody"
    );
    let response = proxy.ask(&head).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let mut received = server.next().await;
    if !received.ends_with("body") {
        received += &server.next().await;
    }
    assert!(
        received.starts_with("POST /v1/chat?a=b HTTP/1.1\r\n"),
        "{received}"
    );
    assert_eq!(received.matches("authorization: ").count(), 1, "{received}");
    assert!(
        received.contains(&format!("authorization: Bearer {SECRET}\r\n")),
        "{received}"
    );
    assert!(received.contains("host: api.example\r\n"), "{received}");
    assert!(received.contains("accept: */*\r\n"), "{received}");
    for gone in ["own", "te: ", "connection: ", "127.0.0.1"] {
        assert!(!received.contains(gone), "{gone}: {received}");
    }
    let opened = proxy.event().await;
    assert_eq!(
        (opened.outcome, &*opened.host, opened.rule.as_deref()),
        (EgressOutcome::Opened, "api.example", Some("upstream api"))
    );
}

#[tokio::test]
async fn only_paths_below_the_upstream_are_asked_for() {
    let (_world, mut server, proxy) = world("none", OK).await;
    for path in [
        "/api/../admin",
        "/api/%2e%2e/admin",
        "/api/..%2fadmin",
        "/api/%252e%252e%252fadmin",
        "/api/..\\admin",
        "/api/..;/admin",
        "/api/a/./b",
    ] {
        let response = proxy.ask(&get(path)).await;
        assert!(response.starts_with("HTTP/1.1 400"), "{path}: {response}");
    }
    for path in [
        "/", "/apix", "/API/x", "/%61pi/x", "//api/x", "/v1/x", "/api%2fx", "/../api",
    ] {
        let response = proxy.ask(&get(path)).await;
        assert!(response.starts_with("HTTP/1.1 404"), "{path}: {response}");
        assert!(response.contains("there are: api"), "{path}: {response}");
    }
    assert!(server.is_empty());
    // A slash may be encoded in a name.
    proxy.ask(&get("/api/@scope%2fname")).await;
    assert!(server.next().await.starts_with("GET /v1/@scope%2fname "));
}

/// Only the proxy's own port has upstreams, and only for programs that mean it.
#[tokio::test]
async fn other_ways_to_an_upstream_are_refused() {
    let (world, mut server, proxy) = world("none +good.example", OK).await;
    let mut good = world.serve("93.184.216.36:80", OK).await;
    for (head, status) in [
        (
            "GET http://127.0.0.1:9/api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\n",
            "403",
        ),
        ("GET http://api/x HTTP/1.1\r\nHost: api\r\n", "403"),
        (
            "GET http://api.example/v1 HTTP/1.1\r\nHost: api.example\r\n",
            "403",
        ),
        (
            "GET https://api.example/v1 HTTP/1.1\r\nHost: api.example\r\n",
            "400",
        ),
        ("GET /api/x HTTP/1.1\r\nHost: evil.example\r\n", "400"),
        (
            "GET /api/x HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n",
            "400",
        ),
        (
            "GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nHost: api.example\r\n",
            "400",
        ),
        ("GET /api/x HTTP/1.1\r\n", "400"),
        ("GET /api/x HTTP/1.0\r\n", "400"),
        (
            "GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nOrigin: https://evil.example\r\n",
            "400",
        ),
        (
            "GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nOrigin: null\r\n",
            "400",
        ),
        (
            "GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nSec-Fetch-Site: cross-site\r\n",
            "400",
        ),
        ("TRACE /api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\n", "400"),
        ("TRACK /api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\n", "400"),
        (
            "POST /api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nX-HTTP-Method: TRACE\r\n",
            "400",
        ),
        (
            "POST /api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nX-Method-Override: Track\r\n",
            "400",
        ),
        ("CONNECT /api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\n", "400"),
        (
            "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n",
            "403",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:9\r\n", "400"),
    ] {
        let response = proxy.ask(&format!("{head}Connection: close\r\n\r\n")).await;
        let begin = format!("HTTP/1.1 {status}");
        let old = format!("HTTP/1.0 {status}");
        assert!(
            response.starts_with(&begin) || response.starts_with(&old),
            "{head}: {response}"
        );
    }
    // In a tunnel to port 80, a path is one of that server.
    let (mut inside, line) = proxy.tunnel("good.example:80").await;
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    inside
        .send(b"GET /api/x HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n")
        .await;
    inside.rest().await;
    let received = good.next().await;
    assert!(received.starts_with("GET /api/x ") && !received.contains(SECRET));
    assert!(server.is_empty());
}

#[tokio::test]
async fn requests_cannot_be_smuggled_to_an_upstream() {
    let (_world, mut server, proxy) = world("none", OK).await;
    let second = format!("GET /api/smuggled HTTP/1.1\r\n{HOST}\r\n\r\n");
    let both = format!(
        "POST /api/first HTTP/1.1\r\n{HOST}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}"
    );
    let response = proxy.ask(&both).await;
    assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
    let mut received = server.next().await;
    while !received.contains("0\r\n\r\n") {
        received += &server.next().await;
    }
    assert!(!received.contains("smuggled"), "{received}");
    assert!(
        !received.to_lowercase().contains("content-length"),
        "{received}"
    );
    for framing in [
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n012345",
        "Content-Length: +5\r\n\r\n01234",
    ] {
        let head = format!("POST /api/first HTTP/1.1\r\n{HOST}\r\n{framing}{second}");
        let response = proxy.ask(&head).await;
        assert!(
            response.starts_with("HTTP/1.1 400"),
            "{framing:?}: {response}"
        );
    }
    assert!(server.is_empty());
}

/// A connection without TLS to the same host and port is not used for the next request, which has the credential.
#[tokio::test]
async fn a_credential_is_never_sent_without_tls() {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    let mut plain = world.serve("93.184.216.34:443", OK).await;
    let certified = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    let upstream = api(&certified.cert.pem());
    let proxy = world.proxy_for("none +api.example", Limits::default(), [upstream]);
    let mut inside = proxy.connect();
    inside
        .send(b"GET http://api.example:443/v1/x HTTP/1.1\r\nHost: api.example:443\r\n\r\n")
        .await;
    assert!(inside.head().await.starts_with("HTTP/1.1 200"));
    inside.read(2).await;
    assert!(plain.next().await.starts_with("GET /v1/x "));
    inside.send(get("/api/x").as_bytes()).await;
    let response = inside.rest().await;
    assert!(response.starts_with("HTTP/1.1 502"), "{response}");
    assert_eq!(world.dialled().len(), 2);
    let mut received = plain.next().await;
    while !plain.is_empty() {
        received += &plain.next().await;
    }
    assert!(received.starts_with('\u{16}'), "{received}");
    assert!(!received.contains("sk-live"), "{received}");
}

#[tokio::test]
async fn certificates_are_verified() {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    let (mut server, own) = world
        .serve_tls("93.184.216.34:443", "other.example", OK)
        .await;
    let stranger = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    // For another name, by an authority that is trusted; and by one that is not.
    for authority in [own, stranger.cert.pem()] {
        let mut proxy = world.proxy_for("none", Limits::default(), [api(&authority)]);
        let response = proxy.ask(&get("/api/x")).await;
        assert!(response.starts_with("HTTP/1.1 502"), "{response}");
        assert!(
            response.contains("its certificate is not accepted"),
            "{response}"
        );
        let event = proxy.event().await;
        assert_eq!(event.outcome, EgressOutcome::Failed, "{event:?}");
        assert!(event.reason.unwrap().contains("certificate"));
    }
    assert!(server.is_empty());
}

#[tokio::test]
async fn rules_about_addresses_hold_for_upstreams() {
    let world = World::new();
    world.name("inner.example", &["10.1.2.3"]);
    let (mut server, authority) = world.serve_tls("10.1.2.3:443", "inner.example", OK).await;
    let inner = || [upstream("https://inner.example", &authority)];
    for (rules, status) in [
        ("none", "403"),
        ("internet", "403"),
        ("none +0.0.0.0/0", "403"),
        ("none +10.1.0.0/16", "200"),
        ("none +10.1.0.0/16 -inner.example", "403"),
        ("none +10.1.0.0/16 -10.1.2.0/24", "403"),
    ] {
        let proxy = world.proxy_for(rules, Limits::default(), inner());
        let response = proxy.ask(&get("/api/")).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{rules}: {response}"
        );
        assert!(!response.contains("10.1.2.3"), "{rules}: {response}");
        assert_eq!(server.is_empty(), status == "403", "{rules}");
    }
    // So does loopback, by a name or in numbers: the proxy runs on the client's machine.
    world.name("inner.example", &["127.0.0.1"]);
    let literal = upstream("https://127.0.0.1:8443", &authority);
    for upstreams in [inner(), [literal]] {
        let proxy = world.proxy_for("open", Limits::default(), upstreams);
        let response = proxy.ask(&get("/api/")).await;
        assert!(response.starts_with("HTTP/1.1 403"), "{response}");
    }
}

#[tokio::test]
async fn new_rules_that_deny_an_upstream_close_it() {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    let (mut streams, authority) = world.accept_tls("93.184.216.34:443", "api.example").await;
    let mut proxy = world.proxy_for("none", Limits::default(), [api(&authority)]);
    let mut inside = proxy.connect();
    inside.send(get("/api/events").as_bytes()).await;
    let mut stream = streams.recv().await.unwrap();
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n";
    stream.write_all(head).await.unwrap();
    stream.flush().await.unwrap();
    assert!(inside.head().await.starts_with("HTTP/1.1 200"));
    proxy.event().await;
    // Rules that say nothing about it leave it open.
    proxy.proxy.update("packages".parse().unwrap()).unwrap();
    stream.write_all(b"data: 2\n\n").await.unwrap();
    stream.flush().await.unwrap();
    proxy
        .proxy
        .update("none -api.example".parse().unwrap())
        .unwrap();
    inside.rest_bytes().await;
    assert_eq!(proxy.event().await.outcome, EgressOutcome::Revoked);
    let response = proxy.ask(&get("/api/events")).await;
    assert!(response.starts_with("HTTP/1.1 403"), "{response}");
    assert!(response.contains("(deny api.example)"), "{response}");
}

/// What the server has sent arrives before it sends more, and so does what the sandbox sends.
#[tokio::test]
async fn both_directions_are_streams() {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    let (mut streams, authority) = world.accept_tls("93.184.216.34:443", "api.example").await;
    let proxy = world.proxy_for("none", Limits::default(), [api(&authority)]);
    let mut inside = proxy.connect();
    let head = format!("POST /api/x HTTP/1.1\r\n{HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    inside.send(head.as_bytes()).await;
    let mut stream = streams.recv().await.unwrap();
    let mut received = String::new();
    for part in ["one", "two"] {
        inside.send(format!("3\r\n{part}\r\n").as_bytes()).await;
        while !received.contains(part) {
            let mut buffer = vec![0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            received += &String::from_utf8_lossy(&buffer[..read]);
        }
    }
    inside.send(b"0\r\n\r\n").await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    stream.write_all(head).await.unwrap();
    for part in ["data: 1\n\n", "data: 2\n\n"] {
        stream.write_all(part.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut text = String::new();
        while !text.contains(part) {
            text.push(char::from(inside.read(1).await[0]));
        }
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_costs_a_limited_time() {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    let certified = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    // It accepts connections, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.put("93.184.216.34:443", silent.local_addr().unwrap());
    let mut limits = Limits::default();
    limits.connect = Duration::from_millis(100);
    let proxy = world.proxy_for("none", limits, [api(&certified.cert.pem())]);
    let response = proxy.ask(&get("/api/x")).await;
    assert!(response.starts_with("HTTP/1.1 504"), "{response}");
}
