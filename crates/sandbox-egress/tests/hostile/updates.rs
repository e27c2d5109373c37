//! Rules that are replaced while connections are open.

use super::support::World;
use sandbox_egress::{Egress, EgressOutcome};

#[tokio::test]
async fn connections_that_the_new_rules_refuse_are_closed_and_others_stay() {
    let world = World::new();
    world.name("stays.example", &["93.184.216.34"]);
    world.name("goes.example", &["93.184.216.35"]);
    let _stays = world.serve("93.184.216.34:22", b"hello").await;
    let _goes = world.serve("93.184.216.35:22", b"hello").await;
    let mut proxy = world.proxy("none +stays.example:22 +goes.example:22");
    let (mut stays, _) = proxy.tunnel("stays.example:22").await;
    let (mut goes, _) = proxy.tunnel("goes.example:22").await;
    for inside in [&mut stays, &mut goes] {
        inside.send(b"hi").await;
        assert_eq!(inside.read(5).await, b"hello");
        assert_eq!(proxy.event().await.outcome, EgressOutcome::Opened);
    }
    let rules: Egress = "none +stays.example:22".parse().unwrap();
    proxy.proxy.update(rules.clone()).unwrap();
    assert_eq!(proxy.proxy.rules(), rules);
    goes.rest_bytes().await;
    let revoked = proxy.event().await;
    assert_eq!(
        (revoked.outcome, &*revoked.host),
        (EgressOutcome::Revoked, "goes.example")
    );
    stays.send(b"hi").await;
    assert_eq!(stays.read(5).await, b"hello");
    let (_inside, line) = proxy.tunnel("goes.example:22").await;
    assert!(line.starts_with("HTTP/1.1 403"), "{line}");
}

#[tokio::test]
async fn a_kept_connection_is_not_used_against_the_new_rules() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut server = world.serve("93.184.216.34:80", ok).await;
    let proxy = world.proxy("none +good.example");
    let mut inside = proxy.connect();
    let get = b"GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n";
    inside.send(get).await;
    assert!(inside.head().await.starts_with("HTTP/1.1 200"));
    inside.read(2).await;
    server.next().await;
    // The name is still allowed, its address is not.
    proxy
        .proxy
        .update("none +good.example -93.184.216.0/24".parse().unwrap())
        .unwrap();
    inside.send(get).await;
    assert!(inside.head().await.starts_with("HTTP/1.1 403"));
    assert!(server.is_empty());
}
