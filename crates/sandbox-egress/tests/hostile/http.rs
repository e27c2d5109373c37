//! Requests that different servers could read in different ways.

use super::support::World;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn world() -> (std::sync::Arc<World>, super::support::Received) {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    world.name("evil.example", &["93.184.216.35"]);
    let server = world.serve("93.184.216.34:80", OK).await;
    (world, server)
}

#[tokio::test]
async fn host_and_address_have_to_agree() {
    let (world, mut server) = world().await;
    let mut proxy = world.proxy("none +good.example");
    for head in [
        "GET http://good.example/ HTTP/1.1\r\nHost: evil.example\r\n",
        "GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\nHost: evil.example\r\n",
        "GET http://good.example/ HTTP/1.1\r\nHost: good.example, evil.example\r\n",
        "GET http://good.example/ HTTP/1.1\r\nHost: good.example:8080\r\n",
        "GET http://good.example/ HTTP/1.1\r\n",
        "GET http://good.example@evil.example/ HTTP/1.1\r\nHost: good.example\r\n",
        "GET http://good.example\\@evil.example/ HTTP/1.1\r\nHost: good.example\r\n",
        "GET http://good.example%00.evil.example/ HTTP/1.1\r\nHost: good.example\r\n",
        "GET / HTTP/1.1\r\nHost: good.example\r\n",
        "GET https://good.example/ HTTP/1.1\r\nHost: good.example\r\n",
        "GET gopher://good.example/ HTTP/1.1\r\nHost: good.example\r\n",
        "CONNECT good.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n",
        "CONNECT good.example:443 HTTP/1.1\r\nHost: good.example:443\r\nContent-Length: 3\r\n",
    ] {
        let response = proxy.ask(&format!("{head}\r\n")).await;
        assert!(response.starts_with("HTTP/1.1 400"), "{head}: {response}");
    }
    assert!(server.is_empty());
    proxy.refusal().await;
}

/// Whatever follows a request is a request of its own, and checked as such.
#[tokio::test]
async fn every_request_of_a_connection_is_checked() {
    let (world, mut server) = world().await;
    let proxy = world.proxy("none +good.example");
    let response = proxy
        .ask(concat!(
            "GET http://good.example/1 HTTP/1.1\r\nHost: good.example\r\n\r\n",
            "GET http://good.example/2 HTTP/1.1\r\nHost: good.example\r\n\r\n",
            "GET http://evil.example/3 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        ))
        .await;
    assert_eq!(response.matches("HTTP/1.1 200 OK").count(), 2, "{response}");
    assert_eq!(response.matches("HTTP/1.1 403").count(), 1, "{response}");
    assert!(server.next().await.starts_with("GET /1 "));
    assert!(server.next().await.starts_with("GET /2 "));
    assert_eq!(world.dialled(), ["93.184.216.34:80"]);
}

/// What follows a request whose end is ambiguous is not read at all, and its content is framed anew.
#[tokio::test]
async fn requests_cannot_be_smuggled() {
    let (world, mut server) = world().await;
    let proxy = world.proxy("none +good.example");
    let second = "GET http://good.example/smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n";
    for framing in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
    ] {
        let head = "POST http://good.example/first HTTP/1.1\r\nHost: good.example\r\n";
        let response = proxy.ask(&format!("{head}{framing}{second}")).await;
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{response}");
        let mut received = server.next().await;
        while !received.contains("0\r\n\r\n") {
            received += &server.next().await;
        }
        assert!(
            !received.to_lowercase().contains("content-length"),
            "{received}"
        );
        assert!(!received.contains("smuggled"), "{received}");
    }
    for framing in [
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n012345",
        "Content-Length: +5\r\n\r\n01234",
        "Content-Length: 5, 5\r\n\r\n01234",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "X: a\0b\r\n\r\n",
        "X: a\r\r\n\r\n",
    ] {
        let head = "POST http://good.example/first HTTP/1.1\r\nHost: good.example\r\n";
        let response = proxy.ask(&format!("{head}{framing}{second}")).await;
        assert!(
            response.starts_with("HTTP/1.1 400"),
            "{framing:?}: {response}"
        );
    }
    let old = "POST http://good.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(proxy.ask(old).await.contains(" 400 "));
    assert!(server.is_empty());
}

#[tokio::test]
async fn redirects_are_the_clients_business() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let redirect =
        b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n";
    let _server = world.serve("93.184.216.34:80", redirect).await;
    let proxy = world.proxy("none +good.example");
    let get =
        "GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n";
    assert!(
        proxy
            .ask(get)
            .await
            .contains("location: http://evil.example/")
    );
    assert_eq!(*world.questions.lock().unwrap(), ["good.example"]);
}

#[tokio::test]
async fn only_web_sockets_change_the_protocol() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let switch =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut server = world.serve("93.184.216.34:80", switch).await;
    let proxy = world.proxy("none +good.example");
    let ask = |upgrade| {
        format!(
            "GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
        )
    };
    let mut inside = proxy.connect();
    inside.send(ask("websocket").as_bytes()).await;
    let head = inside.head().await;
    assert!(
        head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket"),
        "{head}"
    );
    server.next().await;
    inside.send(b"frame").await;
    assert_eq!(server.next().await, "frame");
    // HTTP/2 would name a host in each request.
    let mut inside = proxy.connect();
    inside.send(ask("h2c").as_bytes()).await;
    assert!(inside.head().await.starts_with("HTTP/1.1 502"));
    assert!(!server.next().await.contains("h2c"));
}

#[tokio::test]
async fn what_is_about_the_proxy_does_not_reach_the_server() {
    let (world, mut server) = world().await;
    let proxy = world.proxy("none +good.example");
    let get = concat!(
        "GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\nProxy-Authorization: Basic c2VjcmV0\r\n",
        "Proxy-Connection: keep-alive\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nTE: trailers\r\nAccept: */*\r\n\r\n",
    );
    assert!(proxy.ask(get).await.ends_with("ok"));
    assert_eq!(
        server.next().await,
        "GET / HTTP/1.1\r\nhost: good.example\r\naccept: */*\r\n\r\n"
    );
}
