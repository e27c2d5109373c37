//! Credentials of upstreams: in no response header, log, event or error.

use sandbox_egress::{Limits, NamedUpstream, UpstreamKind};

use super::log;
use super::support::World;
use super::upstreams::{SECRET, api, world};

const GET: &str = "GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_secret_that_comes_back_is_redacted_outside_of_content() {
    // Parts of the secret are written out, so that the test is not what has it in its answer.
    let answer = b"HTTP/1.1 200 sk-live-5up3r+s3cr3t/0123\r\nX-Echo: Bearer sk-live-5up3r+s3cr3t/0123\r\n\
        X-Escaped: sk%2Dlive%2D5up3r%2Bs3cr3t%2F0123\r\nSet-Cookie: a=sk-live-5up3r+s3cr3t/0123; Path=/\r\n\
        Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n\
        2\r\nok\r\n0\r\nX-Late: sk-live-5up3r+s3cr3t/0123\r\n\r\n";
    let (_world, _server, proxy) = world("none", answer).await;
    let response = proxy.ask(GET).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(
        response.contains("x-echo: Bearer [redacted]\r\n"),
        "{response}"
    );
    assert!(response.contains("x-escaped: [redacted]\r\n"), "{response}");
    assert!(
        response.contains("set-cookie: a=[redacted]; Path=/"),
        "{response}"
    );
    assert!(!response.contains("5up3r"), "{response}");
}

/// The program inside follows them, by its own rules; the credential goes only to where the upstream is.
#[tokio::test]
async fn redirects_are_passed_on_and_not_followed() {
    for (answer, expected) in [
        (
            &b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/?k=sk-live-5up3r+s3cr3t/0123\r\nContent-Length: 0\r\n\r\n"[..],
            "location: https://evil.example/?k=[redacted]\r\n",
        ),
        (
            b"HTTP/1.1 301 Moved\r\nLocation: /v1/y\r\nContent-Length: 0\r\n\r\n",
            "location: http://127.0.0.1:9/api/y\r\n",
        ),
        (
            b"HTTP/1.1 307 Moved\r\nLocation: /v2/y\r\nContent-Length: 0\r\n\r\n",
            "location: https://api.example/v2/y\r\n",
        ),
    ] {
        let (world, _server, proxy) = world("open", answer).await;
        world.name("evil.example", &["93.184.216.35"]);
        let response = proxy.ask(GET).await;
        assert!(response.starts_with("HTTP/1.1 30"), "{response}");
        assert!(response.contains(expected), "{response}");
        assert_eq!(*world.questions.lock().unwrap(), ["api.example"]);
    }
}

#[tokio::test]
async fn links_of_an_index_lead_to_the_upstream() {
    let world = World::new();
    world.name("index.example", &["93.184.216.34"]);
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.npm.install-v1+json; charset=utf-8\r\nContent-Length: 60\r\n\r\n\
        {\"tarball\": \"https://index.example/npm/demo/-/demo-1.0.tgz\"}";
    let (mut server, authority) = world
        .serve_tls("93.184.216.34:443", "index.example", page)
        .await;
    let index = NamedUpstream::new("npm", "https://index.example/npm")
        .unwrap()
        .authorities(authority.as_bytes())
        .unwrap();
    let proxy = world.proxy_for("none", Limits::default(), [index]);
    let get = "GET /npm/demo HTTP/1.1\r\nHost: 127.0.0.1:9\r\nAccept-Encoding: gzip, br\r\nConnection: close\r\n\r\n";
    let response = proxy.ask(get).await;
    let link = "{\"tarball\": \"http://127.0.0.1:9/npm/demo/-/demo-1.0.tgz\"}";
    assert!(response.contains(link), "{response}");
    let received = server.next().await;
    assert!(
        received.contains("accept-encoding: identity\r\n"),
        "{received}"
    );
    assert!(!received.contains("authorization"), "{received}");
}

#[tokio::test]
async fn no_log_event_or_error_has_the_secret() {
    let (mut seen, log) = log::collect(ask_and_fail).await;
    assert!(log.contains("egress"), "{log}");
    seen.push(log);
    for text in seen {
        assert!(
            !text.contains("5up3r") && !text.contains("NXVwM3I"),
            "{text}"
        );
    }
}

/// Returns what is seen of requests that succeed and that fail.
async fn ask_and_fail() -> Vec<String> {
    let answer =
        b"HTTP/1.1 200 OK\r\nX-Echo: sk-live-5up3r+s3cr3t/0123\r\nContent-Length: 2\r\n\r\nok";
    let (world, mut server, mut proxy) = world("none", answer).await;
    let mut seen = Vec::new();
    seen.push(proxy.ask(GET).await);
    // A response that cannot be read, and a server that is gone.
    let (_, authority) = world
        .serve_tls(
            "93.184.216.34:443",
            "api.example",
            b"sk-live-5up3r+s3cr3t/0123\r\n\r\n",
        )
        .await;
    let mut broken = world.proxy_for("none", Limits::default(), [api(&authority)]);
    seen.push(broken.ask(GET).await);
    world.put("93.184.216.34:443", "127.0.0.1:1".parse().unwrap());
    seen.push(broken.ask(GET).await);
    assert!(server.next().await.contains(SECRET));
    for _ in 0..2 {
        seen.push(format!("{:?}", proxy.event().await));
    }
    for _ in 0..4 {
        seen.push(format!("{:?}", broken.event().await));
    }
    let upstream = NamedUpstream::from_kind(UpstreamKind::PyPi)
        .unwrap()
        .secret(SECRET)
        .unwrap();
    seen.push(format!("{upstream:?} {:?} {:?}", proxy.proxy, broken.proxy));
    seen
}
