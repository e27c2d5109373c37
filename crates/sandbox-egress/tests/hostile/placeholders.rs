//! Placeholders: exchanged for their own host alone, and secrets that come back nowhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sandbox_egress::{EgressOutcome, NamedUpstream, Proxy, UpstreamKind};
use tokio::io::AsyncWriteExt;

use super::intercepted::{
    LIFETIME, OK, SECRET, api, ask, get, open, placeholder, rest, start, transform, world,
};
use super::log;
use super::support::World;

#[tokio::test]
async fn a_placeholder_is_exchanged_in_headers_for_credentials() {
    let (_world, mut server, proxy) = world(OK).await;
    let own = placeholder(&proxy, "API_KEY");
    assert!(
        own.starts_with("sbx-placeholder-") && own.len() == 48,
        "{own}"
    );
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("user:{password}")));
    for (sent, expected) in [
        (
            format!("Authorization: Bearer {own}"),
            format!("authorization: Bearer {SECRET}\r\n"),
        ),
        (
            format!("X-Api-Key: {own}"),
            format!("x-api-key: {SECRET}\r\n"),
        ),
        (
            format!("Authorization: {}", basic(&own)),
            format!("authorization: {}\r\n", basic(SECRET)),
        ),
    ] {
        let response = ask(&proxy, &get("/x", &format!("{sent}\r\n"))).await;
        assert!(response.ends_with("ok"), "{response}");
        let received = server.next().await;
        assert!(received.contains(&expected), "{received}");
        assert!(!received.contains(&own), "{received}");
    }
    // In an address and in content it stays what it is.
    let message = format!(
        "POST /?key={own} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nContent-Length: 48\r\n\r\n{own}"
    );
    ask(&proxy, &message).await;
    let mut received = server.next().await;
    while !received.ends_with(&own) {
        received += &server.next().await;
    }
    assert_eq!(received.matches(&own).count(), 2, "{received}");
    assert!(!received.contains(SECRET), "{received}");
}

#[tokio::test]
async fn a_placeholder_in_another_header_is_refused() {
    let (_world, mut server, mut proxy) = world(OK).await;
    let own = placeholder(&proxy, "API_KEY");
    for name in [
        "X-Request-Id",
        "User-Agent",
        "Idempotency-Key",
        "Referer",
        "Cookie",
    ] {
        let response = ask(&proxy, &get("/x", &format!("{name}: a{own}b\r\n"))).await;
        assert!(response.starts_with("HTTP/1.1 403"), "{response}");
        let refusal = proxy.refusal().await;
        assert!(
            refusal.contains("the placeholder in API_KEY is not for the header"),
            "{refusal}"
        );
        assert!(response.contains(&refusal), "{response}");
    }
    assert!(server.is_empty());
}

#[tokio::test]
async fn a_placeholder_is_refused_for_other_hosts() {
    let world = World::new();
    for (name, address) in [
        ("api.example", "93.184.216.34"),
        ("b.example", "93.184.216.35"),
        ("good.example", "93.184.216.36"),
    ] {
        world.name(name, &[address]);
    }
    let (mut server, authority) = world
        .serve_tls("93.184.216.34:443", "api.example", OK)
        .await;
    let (mut other, other_authority) = world.serve_tls("93.184.216.35:443", "b.example", OK).await;
    let mut good = world.serve("93.184.216.36:80", OK).await;
    let mut plain = world.serve("93.184.216.34:80", OK).await;
    let transforms = [
        api(&authority),
        transform("b.example", &other_authority)
            .placeholder("B_KEY", "key-of-b")
            .unwrap(),
    ];
    let upstream = NamedUpstream::new("up", "https://b.example")
        .unwrap()
        .authorities(other_authority.as_bytes())
        .unwrap()
        .secret("x")
        .unwrap();
    let mut proxy = start(
        &world,
        "none +api.example +b.example +good.example",
        transforms,
        [upstream],
    );
    let (a, b) = (placeholder(&proxy, "API_KEY"), placeholder(&proxy, "B_KEY"));
    let basic = format!("Basic {}", STANDARD.encode(format!("{a}:")));
    let reason = "the placeholder in API_KEY is only for api.example:443, over TLS";
    // Over plain HTTP, also to its own host, and to an upstream.
    for (address, host) in [
        ("http://good.example/", "good.example"),
        ("http://api.example/", "api.example"),
        ("/up/x", "127.0.0.1:9"),
    ] {
        for field in [
            format!("Authorization: Bearer {a}"),
            format!("X-Any: {a}"),
            format!("Authorization: {basic}"),
        ] {
            let head = format!(
                "GET {address} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{field}\r\n\r\n"
            );
            let response = proxy.ask(&head).await;
            assert!(
                response.starts_with("HTTP/1.1 403") && response.contains(reason),
                "{address}: {response}"
            );
            assert_eq!(proxy.refusal().await, reason);
        }
    }
    let (mut inside, _) = proxy.tunnel("good.example:80").await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\nAuthorization: {a}\r\n\r\n"
    );
    inside.send(head.as_bytes()).await;
    let response = inside.rest().await;
    assert!(
        response.starts_with("HTTP/1.1 403") && response.contains(reason),
        "{response}"
    );
    // To another host that is intercepted, also besides its own.
    let mut stream = open(&proxy, "b.example:443").await;
    let head = format!(
        "GET / HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\nAuthorization: {b}\r\nX-Api-Key: {a}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let response = rest(&mut stream).await;
    assert!(
        response.starts_with("HTTP/1.1 403") && response.contains(reason),
        "{response}"
    );
    for received in [&mut server, &mut other, &mut good, &mut plain] {
        assert!(received.is_empty());
    }
    assert!(
        proxy
            .proxy
            .authority()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
}

#[tokio::test]
async fn a_secret_that_comes_back_is_redacted_outside_of_content() {
    // Parts of the secret are written out, so that the test is not what has it in its answer.
    let answer = b"HTTP/1.1 200 sk-live-5up3r+s3cr3t/0123\r\nX-Echo: Bearer sk-live-5up3r+s3cr3t/0123\r\n\
        X-Escaped: sk%2Dlive%2D5up3r%2Bs3cr3t%2F0123\r\nLocation: https://evil.example/?k=sk-live-5up3r+s3cr3t/0123\r\n\
        X-Basic: dXNlcjpzay1saXZlLTV1cDNyK3MzY3IzdC8wMTIz\r\n\
        Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n\
        2\r\nok\r\n0\r\nX-Late: sk-live-5up3r+s3cr3t/0123\r\n\r\n";
    let (_world, _server, proxy) = world(answer).await;
    let own = placeholder(&proxy, "API_KEY");
    let basic = STANDARD.encode(format!("user:{own}"));
    let response = ask(
        &proxy,
        &get("/x", &format!("Authorization: Basic {basic}\r\n")),
    )
    .await;
    for part in [
        "HTTP/1.1 200 OK\r\n",
        "x-echo: Bearer [redacted]\r\n",
        "x-escaped: [redacted]\r\n",
        "location: https://evil.example/?k=[redacted]\r\n",
        "x-basic: [redacted]\r\n",
    ] {
        assert!(response.contains(part), "{part}: {response}");
    }
    assert!(!response.contains("5up3r"), "{response}");
}

#[tokio::test]
async fn no_log_event_or_error_has_the_secret_or_the_placeholder() {
    let ((mut seen, own), log) = log::collect(ask_and_fail).await;
    assert!(log.contains("egress"), "{log}");
    seen.push(log);
    for text in seen {
        assert!(!text.contains("5up3r") && !text.contains(&own), "{text}");
    }
}

/// Returns what is seen of requests that succeed and that fail, and a placeholder.
async fn ask_and_fail() -> (Vec<String>, String) {
    let answer =
        b"HTTP/1.1 200 OK\r\nX-Echo: sk-live-5up3r+s3cr3t/0123\r\nContent-Length: 2\r\n\r\nok";
    let (world, mut server, mut proxy) = world(answer).await;
    let own = placeholder(&proxy, "API_KEY");
    let fields = format!("Authorization: Bearer {own}\r\n");
    let mut seen = vec![ask(&proxy, &get("/x", &fields)).await];
    assert!(server.next().await.contains(SECRET));
    seen.push(ask(&proxy, &get("/x", &format!("X-Odd: {own}\r\n"))).await);
    // A response that cannot be read.
    let (_broken, authority) = world
        .serve_tls(
            "93.184.216.34:443",
            "api.example",
            b"sk-live-5up3r+s3cr3t/0123\r\n\r\n",
        )
        .await;
    let mut broken = start(&world, "none +api.example", [api(&authority)], []);
    let fields = format!(
        "Authorization: Bearer {}\r\n",
        placeholder(&broken, "API_KEY")
    );
    seen.push(ask(&broken, &get("/x", &fields)).await);
    for _ in 0..3 {
        seen.push(format!("{:?}", proxy.event().await));
    }
    let failed = loop {
        let event = broken.event().await;
        seen.push(format!("{event:?}"));
        if event.outcome == EgressOutcome::Failed {
            break event;
        }
    };
    assert!(failed.reason.is_some());
    seen.push(format!("{:?} {:?}", proxy.proxy, broken.proxy));
    seen.push(format!("{:?}", api(&authority)));
    (seen, own)
}

#[tokio::test]
async fn an_upstream_and_a_transform_do_not_set_the_same_variable() {
    let certified = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    let authority = certified.cert.pem();
    let transform = transform("api.example", &authority)
        .placeholder("OPENAI_API_KEY", SECRET)
        .unwrap();
    let upstream = NamedUpstream::from_kind(UpstreamKind::OpenAi)
        .unwrap()
        .authorities(authority.as_bytes())
        .unwrap();
    let builder = || Proxy::builder("none".parse().unwrap());
    let one = builder()
        .upstreams([upstream.clone()])
        .unwrap()
        .transforms([transform.clone()], LIFETIME);
    let other = builder()
        .transforms([transform], LIFETIME)
        .unwrap()
        .upstreams([upstream]);
    for refused in [one, other] {
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("OPENAI_API_KEY") && error.contains("an upstream sets it"),
            "{error}"
        );
    }
}
