//! SOCKS 5.

use super::support::{Inside, TestProxy, World, client_hello};

const GREETING: &[u8] = &[5, 1, 0];

async fn request(
    proxy: &TestProxy,
    command: u8,
    kind: u8,
    address: &[u8],
    port: u16,
) -> (Inside, u8) {
    let mut inside = proxy.connect();
    inside.send(GREETING).await;
    assert_eq!(inside.read(2).await, [5, 0]);
    let mut request = vec![5, command, 0, kind];
    request.extend(address);
    request.extend(port.to_be_bytes());
    inside.send(&request).await;
    let reply = inside.read(10).await;
    assert_eq!(reply[0], 5);
    (inside, reply[1])
}

fn name(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

#[tokio::test]
async fn names_follow_the_same_rules_as_with_http() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    world.name("private.example", &["10.0.0.1"]);
    let mut server = world.serve("93.184.216.34:443", b"hello").await;
    let mut proxy = world.proxy("none +good.example +private.example");

    let (mut inside, reply) = request(&proxy, 1, 3, &name("Good.Example."), 443).await;
    assert_eq!(reply, 0);
    inside.send(&client_hello("good.example")).await;
    assert_eq!(inside.read(5).await, b"hello");
    server.next().await;
    drop(inside);
    proxy.event().await;
    proxy.event().await;

    let (mut inside, _) = request(&proxy, 1, 3, &name("good.example"), 443).await;
    inside.send(&client_hello("evil.example")).await;
    inside.rest_bytes().await;
    assert!(proxy.refusal().await.contains("names another server"));

    for refused in [
        "evil.example",
        "private.example",
        "2130706433",
        "0x7f.1",
        "127.1",
        "::1",
        "good.example\0",
        "",
        "*",
    ] {
        let (mut inside, reply) = request(&proxy, 1, 3, &name(refused), 443).await;
        assert_eq!(reply, 2, "{refused}");
        inside.rest_bytes().await;
        proxy.refusal().await;
    }
    assert!(server.is_empty());
}

#[tokio::test]
async fn addresses_need_a_rule_about_their_network() {
    let world = World::new();
    let _server = world.serve("1.1.1.1:443", b"hello").await;
    let open = world.proxy("none +1.1.1.0/24");
    let mapped = "::ffff:1.1.1.1"
        .parse::<std::net::Ipv6Addr>()
        .unwrap()
        .octets();
    assert_eq!(request(&open, 1, 1, &[1, 1, 1, 1], 443).await.1, 0);
    assert_eq!(request(&open, 1, 4, &mapped, 443).await.1, 0);
    let closed = world.proxy("internet");
    let loopback = "::ffff:127.0.0.1"
        .parse::<std::net::Ipv6Addr>()
        .unwrap()
        .octets();
    for proxy in [&open, &closed] {
        assert_eq!(request(proxy, 1, 1, &[127, 0, 0, 1], 443).await.1, 2);
        assert_eq!(request(proxy, 1, 1, &[169, 254, 169, 254], 80).await.1, 2);
        assert_eq!(request(proxy, 1, 4, &loopback, 443).await.1, 2);
    }
    assert_eq!(request(&closed, 1, 1, &[1, 1, 1, 1], 443).await.1, 2);
}

#[tokio::test]
async fn nothing_but_connections_is_served() {
    let world = World::new();
    let proxy = world.proxy("open");
    for command in [2, 3, 0, 255] {
        assert_eq!(request(&proxy, command, 1, &[1, 1, 1, 1], 443).await.1, 7);
    }
    assert_eq!(request(&proxy, 1, 9, &[], 0).await.1, 8);
    assert_eq!(request(&proxy, 1, 3, &name("a.example"), 0).await.1, 2);
    // Only with authentication.
    let mut inside = proxy.connect();
    inside.send(&[5, 1, 2]).await;
    assert_eq!(inside.rest_bytes().await, [5, 0xff]);
    // SOCKS 4, TLS to the proxy itself, nonsense.
    for first in [
        &[4, 1, 0, 80, 1, 1, 1, 1, 0][..],
        &client_hello("a.example"),
        b"\0\0\0",
        b"\xff",
    ] {
        let mut inside = proxy.connect();
        inside.send(first).await;
        assert!(inside.rest_bytes().await.is_empty());
    }
    assert!(world.dialled().is_empty());
}
