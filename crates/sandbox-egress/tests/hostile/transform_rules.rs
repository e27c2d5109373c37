//! Hosts with a transform and the rules.

use sandbox_egress::{Egress, EgressOutcome, Proxy};
use tokio::io::AsyncWriteExt;

use super::intercepted::{LIFETIME, OK, RULES, api, open, read_until, rest, start};
use super::support::World;

#[tokio::test]
async fn the_rules_hold_for_it_as_for_any_host() {
    let world = World::new();
    world.name("api.example", &["10.1.2.3"]);
    let (mut server, authority) = world.serve_tls("10.1.2.3:443", "api.example", OK).await;
    for (rules, status) in [
        ("none", "403"),
        ("none +api.example", "403"),
        ("none +10.1.0.0/16", "403"),
        ("none +api.example +10.1.0.0/16", "200"),
        ("none +api.example:8443 +10.1.0.0/16", "403"),
        ("none +api.example +10.1.0.0/16 -*.example", "403"),
    ] {
        let proxy = start(&world, rules, [api(&authority)], []);
        let (_inside, line) = proxy.tunnel("api.example:443").await;
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status}")),
            "{rules}: {line}"
        );
    }
    assert!(server.is_empty());
}

/// Whoever may ask every host can send what the secret gives to any.
#[tokio::test]
async fn rules_that_allow_every_host_exclude_transforms() {
    let certified = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    let authority = certified.cert.pem();
    for rules in [
        "open",
        "internet",
        "none +*",
        "none +*:8443",
        "none +0.0.0.0/0:*",
    ] {
        let refused =
            Proxy::builder(rules.parse().unwrap()).transforms([api(&authority)], LIFETIME);
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("nearly every host") && error.contains("--egress-allow HOST"),
            "{error}"
        );
        // Without any they may.
        Proxy::builder(rules.parse().unwrap())
            .transforms([], LIFETIME)
            .unwrap();
        let world = World::new();
        let proxy = start(&world, RULES, [api(&authority)], []);
        assert!(proxy.proxy.update(rules.parse().unwrap()).is_err());
        assert_eq!(proxy.proxy.rules(), RULES.parse::<Egress>().unwrap());
    }
}

#[tokio::test]
async fn new_rules_without_the_host_close_it() {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    let (mut streams, authority) = world.accept_tls("93.184.216.34:443", "api.example").await;
    let mut proxy = start(&world, RULES, [api(&authority)], []);
    let mut inside = open(&proxy, "api.example:443").await;
    let mut idle = open(&proxy, "api.example:443").await;
    let mut stream = streams.recv().await.unwrap();
    let request = "GET /events HTTP/1.1\r\nHost: api.example\r\n\r\n";
    inside.write_all(request.as_bytes()).await.unwrap();
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        .await
        .unwrap();
    stream.flush().await.unwrap();
    read_until(&mut inside, "data: 1\n\n").await;
    proxy.event().await;
    proxy
        .proxy
        .update("none +good.example".parse().unwrap())
        .unwrap();
    rest(&mut inside).await;
    assert_eq!(proxy.event().await.outcome, EgressOutcome::Revoked);
    // A connection that carried nothing is of no use any more.
    idle.write_all(request.as_bytes()).await.unwrap();
    let response = read_until(&mut idle, "\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 403"), "{response}");
    let (_inside, line) = proxy.tunnel("api.example:443").await;
    assert!(line.starts_with("HTTP/1.1 403"), "{line}");
}
