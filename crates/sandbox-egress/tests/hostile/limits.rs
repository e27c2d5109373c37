//! Long, slow, half-open and many.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::support::World;
use sandbox_egress::{EgressOutcome, Limits};
use tokio::io::AsyncWriteExt;

fn short_limits() -> Limits {
    let mut limits = Limits::default();
    limits.handshake = Duration::from_millis(200);
    limits.idle = Duration::from_millis(400);
    limits.half_closed = Duration::from_millis(200);
    limits.connections = 4;
    limits.wait = Duration::from_millis(200);
    limits
}

#[tokio::test]
async fn heads_are_limited() {
    let world = World::new();
    let proxy = world.proxy("open");
    let start = "GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\n";
    let long = format!("{start}X: {}\r\n\r\n", "a".repeat(64 * 1024));
    let many = format!("{start}{}\r\n", "X: 1\r\n".repeat(200));
    let path = format!(
        "GET http://good.example/{} HTTP/1.1\r\n\r\n",
        "a".repeat(80 * 1024)
    );
    for head in [long, many, path] {
        let mut inside = proxy.connect();
        // The proxy may close before it has read everything.
        drop(inside.0.write_all(head.as_bytes()).await);
        let response = inside.rest().await;
        assert!(
            response.starts_with("HTTP/1.1 431") || response.starts_with("HTTP/1.1 414"),
            "{response}"
        );
    }
    assert!(world.questions.lock().unwrap().is_empty());
}

#[tokio::test]
async fn slow_clients_are_closed() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let _server = world.serve("93.184.216.34:443", b"hello").await;
    let proxy = world.proxy_with("none +good.example", short_limits());
    // Nothing, half of a head, half of a SOCKS handshake.
    for first in [
        &b""[..],
        b"GET http://good.exam",
        b"CONNECT",
        &[5],
        &[5, 1, 0],
        &[5, 200, 0],
    ] {
        let mut inside = proxy.connect();
        inside.send(first).await;
        inside.rest_bytes().await;
    }
    // No ClientHello, or half of one.
    for first in [&b""[..], &[22, 3, 1, 2, 0, 1, 0]] {
        let (mut inside, line) = proxy.tunnel("good.example:443").await;
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        inside.send(first).await;
        inside.rest_bytes().await;
    }
}

#[tokio::test]
async fn connections_that_carry_nothing_are_closed() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let _server = world.serve("93.184.216.34:22", b"hello").await;
    let mut proxy = world.proxy_with("none +good.example:22", short_limits());
    // Open on both sides, and ended by the client alone.
    for ends in [false, true] {
        let (mut inside, _) = proxy.tunnel("good.example:22").await;
        inside.send(b"hi").await;
        assert_eq!(inside.read(5).await, b"hello");
        if ends {
            inside.0.shutdown().await.unwrap();
        }
        inside.rest_bytes().await;
        assert_eq!(proxy.event().await.outcome, EgressOutcome::Opened);
        let closed = proxy.event().await;
        assert_eq!(
            (closed.outcome, closed.sent, closed.received),
            (EgressOutcome::Closed, 2, 5)
        );
    }
}

#[tokio::test]
async fn there_are_only_so_many_connections_at_once() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let _server = world.serve("93.184.216.34:22", b"hello").await;
    let mut limits = short_limits();
    limits.idle = Duration::from_secs(60);
    let mut proxy = world.proxy_with("none +good.example:22", limits);
    let mut open = Vec::new();
    for _ in 0..4 {
        let (inside, line) = proxy.tunnel("good.example:22").await;
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        assert_eq!(proxy.event().await.outcome, EgressOutcome::Opened);
        open.push(inside);
    }
    let (_refused, line) = proxy.tunnel("good.example:22").await;
    assert_eq!(line, "");
    assert!(proxy.refusal().await.contains("too many connections"));
    open.pop();
    assert_eq!(proxy.event().await.outcome, EgressOutcome::Closed);
    let (_inside, line) = proxy.tunnel("good.example:22").await;
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
}

#[tokio::test]
async fn many_connections_all_get_through_in_the_end_and_few_at_once() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let _server = world.serve("93.184.216.34:80", ok).await;
    let mut limits = Limits::default();
    limits.connections = 16;
    let proxy = world.proxy_with("none +good.example", limits);
    let get =
        "GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n";
    let mut connections: Vec<_> = (0..2000).map(|_| proxy.connect()).collect();
    for inside in &mut connections {
        inside.send(get.as_bytes()).await;
    }
    for inside in &mut connections {
        assert!(inside.rest().await.ends_with("ok"));
    }
    assert!(world.most_open.load(Ordering::SeqCst) <= 16);
    assert_eq!(world.dials.lock().unwrap().len(), 2000);
}

/// Nothing, and halves of what each protocol begins with.
const HALVES: [&[u8]; 5] = [
    b"",
    b"GET http://good.exam",
    b"CONNECT good.example:443 HTTP/1.1\r\n",
    &[5],
    &[5, 1, 0, 5, 1],
];

#[tokio::test]
async fn ten_thousand_slow_connections_are_closed_and_the_next_is_served() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let _server = world.serve("93.184.216.34:22", b"hello").await;
    let mut limits = short_limits();
    limits.connections = 64;
    let proxy = world.proxy_with("none +good.example:22", limits);
    let mut flood: Vec<_> = (0..10_000).map(|_| proxy.connect()).collect();
    for (inside, half) in flood.iter_mut().zip(HALVES.iter().cycle()) {
        // Some are closed already.
        drop(inside.0.write_all(half).await);
    }
    for inside in &mut flood {
        inside.rest_bytes().await;
    }
    assert!(world.dials.lock().unwrap().is_empty());
    let (_inside, line) = proxy.tunnel("good.example:22").await;
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
}

#[tokio::test]
async fn a_connection_waits_while_all_slots_are_taken() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let _server = world.serve("93.184.216.34:22", b"hello").await;
    let mut limits = Limits::default();
    limits.connections = 2;
    let mut proxy = world.proxy_with("none +good.example:22", limits);
    let (first, _) = proxy.tunnel("good.example:22").await;
    let (second, _) = proxy.tunnel("good.example:22").await;
    let mut third = Box::pin(proxy.tunnel("good.example:22"));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut third).await;
    assert!(early.is_err(), "served beyond the limit");
    drop(first);
    let (_third, line) = third.await;
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    drop(second);
    // No connection was refused.
    for _ in 0..3 {
        assert_ne!(proxy.event().await.outcome, EgressOutcome::Refused);
    }
}

#[tokio::test]
async fn without_descriptors_connections_fail_and_the_proxy_goes_on() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let _server = world.serve("93.184.216.34:22", b"hello").await;
    let mut proxy = world.proxy("none +good.example:22");
    // EMFILE, as from socket(2).
    world.failures.lock().unwrap().extend([24; 3]);
    for _ in 0..3 {
        let (_inside, line) = proxy.tunnel("good.example:22").await;
        assert!(line.starts_with("HTTP/1.1 502"), "{line}");
        assert_eq!(proxy.event().await.outcome, EgressOutcome::Failed);
    }
    let (mut inside, line) = proxy.tunnel("good.example:22").await;
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    inside.send(b"hi").await;
    assert_eq!(inside.read(5).await, b"hello");
}
