//! Another site behind the same address than the one that is allowed.

use super::support::{World, client_hello};

const HELLO_OK: &[u8] = b"server hello";

async fn world() -> std::sync::Arc<World> {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    world.name("other.example", &["93.184.216.34"]);
    world
}

#[tokio::test]
async fn the_server_name_of_tls_has_to_be_the_name_of_the_tunnel() {
    let world = world().await;
    let mut server = world.serve("93.184.216.34:443", HELLO_OK).await;
    let mut proxy = world.proxy("none +good.example +other.example");

    let (mut inside, line) = proxy.tunnel("good.example:443").await;
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let hello = client_hello("good.example");
    // In small parts, as a slow client sends it.
    for part in hello.chunks(50) {
        inside.send(part).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(inside.read(HELLO_OK.len()).await, HELLO_OK);
    let mut received = 0;
    while received < hello.len() {
        // Not all of it is UTF-8, so its length changes, but never to less.
        received += server.next().await.len();
    }
    drop(inside);
    proxy.event().await;
    proxy.event().await;

    // Even if the other name is allowed: the rule that was applied is not about it.
    for name in ["other.example", "evil.example", "good.example.evil.example"] {
        let (mut inside, line) = proxy.tunnel("good.example:443").await;
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        inside.send(&client_hello(name)).await;
        assert_eq!(inside.rest_bytes().await, [21, 3, 3, 0, 2, 2, 49]);
        let reason = proxy.refusal().await;
        assert!(reason.contains("names another server"), "{reason}");
    }
    assert!(server.is_empty());
}

#[tokio::test]
async fn port_443_is_for_tls_with_a_server_name() {
    let world = world().await;
    let mut server = world.serve("93.184.216.34:443", HELLO_OK).await;
    let mut proxy = world.proxy("none +good.example");
    // rustls sends no name for an address (RFC 6066 §3).
    for first in [
        client_hello("93.184.216.34"),
        b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n".to_vec(),
        b"SSH-2.0-x\r\n".to_vec(),
        vec![22, 3, 1, 0, 4, 2, 0, 0, 0],
        vec![22, 3, 1, 0xff, 0xff],
        vec![0x80, 0x2e, 1, 0, 2],
    ] {
        let (mut inside, _) = proxy.tunnel("good.example:443").await;
        inside.send(&first).await;
        inside.rest_bytes().await;
        proxy.refusal().await;
    }
    assert!(server.is_empty());
}

#[tokio::test]
async fn tls_on_another_port_has_to_be_for_the_name_too() {
    let world = world().await;
    let mut server = world.serve("93.184.216.34:8443", HELLO_OK).await;
    let mut proxy = world.proxy("none +good.example:*");
    let (mut inside, _) = proxy.tunnel("good.example:8443").await;
    inside.send(&client_hello("evil.example")).await;
    inside.rest_bytes().await;
    assert!(proxy.event().await.reason.is_none());
    assert!(proxy.refusal().await.contains("names another server"));
    assert!(server.is_empty());

    let (mut inside, _) = proxy.tunnel("good.example:8443").await;
    inside.send(&client_hello("good.example")).await;
    assert_eq!(inside.read(HELLO_OK.len()).await, HELLO_OK);
    // What is no TLS passes: there are many protocols.
    let (mut inside, _) = proxy.tunnel("good.example:8443").await;
    inside.send(b"SSH-2.0-x\r\n").await;
    assert_eq!(inside.read(HELLO_OK.len()).await, HELLO_OK);
}

#[tokio::test]
async fn requests_in_a_tunnel_to_port_80_are_for_its_name() {
    let world = world().await;
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut server = world.serve("93.184.216.34:80", ok).await;
    let mut proxy = world.proxy("none +good.example +other.example");
    let (mut inside, _) = proxy.tunnel("good.example:80").await;
    for _ in 0..2 {
        inside
            .send(b"GET /a HTTP/1.1\r\nHost: good.example\r\n\r\n")
            .await;
        assert!(inside.head().await.starts_with("HTTP/1.1 200"));
        assert_eq!(inside.read(2).await, b"ok");
        assert!(server.next().await.starts_with("GET /a HTTP/1.1\r\n"));
    }
    assert_eq!(
        world.dialled().len(),
        1,
        "the connection is kept for the next request"
    );
    inside
        .send(b"GET /b HTTP/1.1\r\nHost: other.example\r\n\r\n")
        .await;
    assert!(inside.rest().await.starts_with("HTTP/1.1 400"));
    for request in [
        "GET /b HTTP/1.1\r\n\r\n",
        "GET http://other.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
        "CONNECT other.example:443 HTTP/1.1\r\nHost: good.example\r\n\r\n",
        "CONNECT good.example:80 HTTP/1.1\r\nHost: good.example:80\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let (mut inside, _) = proxy.tunnel("good.example:80").await;
        inside.send(request.as_bytes()).await;
        let response = inside.rest().await;
        assert!(!response.contains(" 200 "), "{request}: {response}");
    }
    assert!(server.is_empty());
    while proxy.event().await.host != "/b" {}
}
