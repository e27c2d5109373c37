//! Hosts with a transform: which connections are intercepted, and what is done in them.

use std::time::Duration;

use sandbox_egress::EgressOutcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::intercepted::{
    OK, RULES, SECRET, api, ask, get, open, placeholder, read_until, rest, speak_tls, start,
    transform, world,
};
use super::support::{World, client_hello};

/// A fatal alert, "access denied".
const DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

#[tokio::test]
async fn a_header_is_set_in_place_of_what_the_sandbox_sends() {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    let (mut server, authority) = world
        .serve_tls("93.184.216.34:443", "api.example", OK)
        .await;
    let transform = transform("api.example", &authority)
        .bearer(SECRET)
        .unwrap()
        .header("x-corp-token", "other")
        .unwrap();
    let mut proxy = start(&world, RULES, [transform], []);
    let head = "POST /v1/../x?a=b HTTP/1.1\r\nHost: api.example:443\r\nConnection: close, X-Named\r\nX-Named: own\r\n\
        Authorization: Bearer own\r\nauthorization: Basic own\r\nX_Corp_Token: own\r\nX-Forwarded-Host: own\r\n\
        X-Original-URL: /own\r\nAccept: */*\r\nContent-Length: 4\r\n\r\nbody";
    let response = ask(&proxy, head).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let mut received = server.next().await;
    if !received.ends_with("body") {
        received += &server.next().await;
    }
    assert!(
        received.starts_with("POST /v1/../x?a=b HTTP/1.1\r\n"),
        "{received}"
    );
    for part in [
        "host: api.example\r\n".to_owned(),
        format!("authorization: Bearer {SECRET}\r\n"),
        "x-corp-token: other\r\n".into(),
        "accept: */*\r\n".into(),
    ] {
        assert_eq!(received.matches(&part).count(), 1, "{part}: {received}");
    }
    assert!(
        !received.contains("own") && !received.contains("connection: "),
        "{received}"
    );
    let event = proxy.event().await;
    assert_eq!(
        (event.outcome, event.rule.as_deref(), event.port),
        (
            EgressOutcome::Opened,
            Some("allow api.example (with its transform)"),
            443
        )
    );
}

#[tokio::test]
async fn only_hosts_with_a_transform_are_intercepted() {
    let (world, mut server, proxy) = world(OK).await;
    // The client sees the certificate of the real host, which is by another authority.
    let (_good, _) = world
        .serve_tls("93.184.216.36:443", "good.example", OK)
        .await;
    let (inside, line) = proxy.tunnel("good.example:443").await;
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let error = speak_tls(&proxy, inside, "good.example", &[])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    // The bytes are those that the client has sent.
    let mut plain = world.serve("93.184.216.36:443", b"hello").await;
    let (mut inside, _) = proxy.tunnel("good.example:443").await;
    inside.send(&client_hello("good.example")).await;
    assert_eq!(inside.read(5).await, b"hello");
    assert!(plain.next().await.contains("good.example"));
    // Another port of the same host is not intercepted, either.
    proxy
        .proxy
        .update("none +api.example:8443".parse().unwrap())
        .unwrap();
    let mut other = world.serve("93.184.216.34:8443", b"hello").await;
    let (mut inside, _) = proxy.tunnel("api.example:8443").await;
    inside.send(&client_hello("api.example")).await;
    assert_eq!(inside.read(5).await, b"hello");
    other.next().await;
    assert!(server.is_empty());
}

#[tokio::test]
async fn each_request_is_for_the_host_of_the_tunnel() {
    let (_world, mut server, mut proxy) = world(OK).await;
    for head in [
        "GET / HTTP/1.1\r\nHost: good.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api.example:8443\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api.example\r\nHost: good.example\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET https://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
        "GET https://good.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
        "GET http://api.example/ HTTP/1.1\r\nHost: api.example\r\n\r\n",
        "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: api.example\r\n\r\n",
        "TRACK / HTTP/1.1\r\nHost: api.example\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api.example\r\nX-HTTP-Method-Override: trace\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n012345",
    ] {
        let response = ask(&proxy, head).await;
        let (_, status) = response.split_once(' ').unwrap();
        assert!(status.starts_with("400"), "{head}: {response}");
    }
    assert!(server.is_empty());
    // Both forms of the address are its own.
    for head in [
        "GET https://api.example/ HTTP/1.1\r\nHost: API.example.:443\r\nConnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n",
    ] {
        let response = ask(&proxy, head).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{head}: {response}");
        assert!(server.next().await.contains("host: api.example\r\n"));
    }
    while proxy.event().await.outcome != EgressOutcome::Closed {}
}

#[tokio::test]
async fn requests_cannot_be_smuggled() {
    let (_world, mut server, proxy) = world(OK).await;
    let second = "GET /smuggled HTTP/1.1\r\nHost: api.example\r\n\r\n";
    let both = format!(
        "POST /first HTTP/1.1\r\nHost: api.example\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}"
    );
    let response = ask(&proxy, &both).await;
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
}

#[tokio::test]
async fn what_is_no_tls_for_the_host_is_refused() {
    let (world, mut server, mut proxy) = world(OK).await;
    world.name("other.example", &["93.184.216.34"]);
    for (first, reason) in [
        (
            client_hello("good.example"),
            "names another server, good.example",
        ),
        (client_hello("sub.api.example"), "names another server"),
        (client_hello("93.184.216.34"), "names no server"),
        (
            b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n".to_vec(),
            "it is not TLS",
        ),
        (vec![22, 3, 1, 0, 4, 2, 0, 0, 0], "cannot be read"),
    ] {
        let (mut inside, line) = proxy.tunnel("api.example:443").await;
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        inside.send(&first).await;
        assert_eq!(inside.rest_bytes().await, DENIED, "{reason}");
        let refusal = proxy.refusal().await;
        assert!(refusal.contains(reason), "{refusal}");
    }
    // Nor without a tunnel.
    let plain = "GET http://api.example:443/ HTTP/1.1\r\nHost: api.example:443\r\nConnection: close\r\n\r\n";
    let response = proxy.ask(plain).await;
    assert!(
        response.starts_with("HTTP/1.1 400") && response.contains("use CONNECT and TLS"),
        "{response}"
    );
    proxy.refusal().await;
    // HTTP/2 is not spoken, and a client that insists on it gets an alert.
    let (inside, _) = proxy.tunnel("api.example:443").await;
    let error = speak_tls(&proxy, inside, "api.example", &["h2"])
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
    let event = proxy.event().await;
    assert_eq!(event.outcome, EgressOutcome::Failed, "{event:?}");
    assert!(
        event
            .reason
            .unwrap()
            .contains("TLS with the program in the sandbox failed")
    );
    assert!(server.is_empty());
}

#[tokio::test]
async fn socks_is_intercepted_too() {
    let (_world, mut server, proxy) = world(OK).await;
    let mut inside = proxy.connect();
    inside.send(b"\x05\x01\x00").await;
    inside.read(2).await;
    inside
        .send(b"\x05\x01\x00\x03\x0bapi.example\x01\xbb")
        .await;
    assert_eq!(inside.read(10).await[1], 0);
    let mut stream = speak_tls(&proxy, inside, "api.example", &[]).await.unwrap();
    let fields = format!(
        "Authorization: Bearer {}\r\n",
        placeholder(&proxy, "API_KEY")
    );
    stream
        .write_all(get("/x", &fields).as_bytes())
        .await
        .unwrap();
    assert!(rest(&mut stream).await.ends_with("ok"));
    assert!(
        server
            .next()
            .await
            .contains(&format!("authorization: Bearer {SECRET}\r\n"))
    );
}

#[tokio::test]
async fn the_real_host_is_verified_before_anything_is_sent() {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    let (mut server, own) = world
        .serve_tls("93.184.216.34:443", "other.example", OK)
        .await;
    let stranger = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    // For another name, by an authority that is trusted; and by one that is not.
    for authority in [own, stranger.cert.pem()] {
        let mut proxy = start(&world, RULES, [api(&authority)], []);
        let response = proxy
            .ask("CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n")
            .await;
        assert!(response.starts_with("HTTP/1.1 502"), "{response}");
        assert!(
            response.contains("its certificate is not accepted"),
            "{response}"
        );
        assert_eq!(proxy.event().await.outcome, EgressOutcome::Failed);
    }
    assert!(server.is_empty());
}

#[tokio::test]
async fn bodies_are_streams_and_the_slower_side_holds_the_other_back() {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    let (mut streams, authority) = world.accept_tls("93.184.216.34:443", "api.example").await;
    let proxy = start(&world, RULES, [api(&authority)], []);
    let mut inside = open(&proxy, "api.example:443").await;
    let mut stream = streams.recv().await.unwrap();
    let head = "POST /x HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    inside.write_all(head.as_bytes()).await.unwrap();
    let mut received = String::new();
    for part in ["one", "two"] {
        inside
            .write_all(format!("3\r\n{part}\r\n").as_bytes())
            .await
            .unwrap();
        inside.flush().await.unwrap();
        while !received.contains(part) {
            let mut buffer = vec![0; 4096];
            let read = stream.read(&mut buffer).await.unwrap();
            received += &String::from_utf8_lossy(&buffer[..read]);
        }
    }
    inside.write_all(b"0\r\n\r\n").await.unwrap();
    inside.flush().await.unwrap();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        .await
        .unwrap();
    stream.flush().await.unwrap();
    read_until(&mut inside, "data: 1\n\n").await;
    // Nothing is read inside, so the server cannot write without end.
    let flood = vec![b'x'; 1 << 20];
    let writing = async {
        for _ in 0..64 {
            stream.write_all(&flood).await?;
        }
        std::io::Result::Ok(())
    };
    assert!(timeout(Duration::from_secs(2), writing).await.is_err());
}

#[tokio::test]
async fn websockets_work() {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    let (mut streams, authority) = world.accept_tls("93.184.216.34:443", "api.example").await;
    let proxy = start(&world, RULES, [api(&authority)], []);
    let mut inside = open(&proxy, "api.example:443").await;
    let mut stream = streams.recv().await.unwrap();
    let head = format!(
        "GET /live HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Api-Key: {}\r\n\r\n",
        placeholder(&proxy, "API_KEY")
    );
    inside.write_all(head.as_bytes()).await.unwrap();
    inside.flush().await.unwrap();
    let mut buffer = vec![0; 4096];
    let read = timeout(Duration::from_secs(20), stream.read(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    let received = String::from_utf8_lossy(&buffer[..read]).into_owned();
    for part in [
        "upgrade: websocket\r\n".to_owned(),
        format!("x-api-key: {SECRET}\r\n"),
    ] {
        assert!(received.contains(&part), "{received}");
    }
    let switch = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Echo: {SECRET}\r\n\r\n"
    );
    stream.write_all(switch.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let response = read_until(&mut inside, "\r\n\r\n").await;
    assert!(
        response.starts_with("HTTP/1.1 101") && response.contains("x-echo: [redacted]"),
        "{response}"
    );
    for (text, answer) in [("ping", "pong"), ("more", "less")] {
        inside.write_all(text.as_bytes()).await.unwrap();
        inside.flush().await.unwrap();
        let mut read = vec![0; text.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(read, text.as_bytes());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        read_until(&mut inside, answer).await;
    }
}
