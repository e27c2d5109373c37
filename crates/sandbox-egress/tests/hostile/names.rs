//! Which names and addresses lead where.

use super::support::World;
use sandbox_egress::EgressOutcome;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(host: &str) -> String {
    format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn an_allowed_name_is_reached_at_the_address_that_was_checked() {
    let world = World::new();
    world.name("good.example", &["93.184.216.34"]);
    let mut server = world.serve("93.184.216.34:80", OK).await;
    let mut proxy = world.proxy("none +good.example");
    assert!(
        proxy
            .ask(&get("GOOD.example."))
            .await
            .ends_with("\r\n\r\nok")
    );
    assert!(
        server
            .next()
            .await
            .starts_with("GET / HTTP/1.1\r\nhost: good.example\r\n")
    );
    let opened = proxy.event().await;
    assert_eq!(opened.outcome, EgressOutcome::Opened);
    assert_eq!(opened.rule.as_deref(), Some("allow good.example"));
    let closed = proxy.event().await;
    assert_eq!(
        (closed.outcome, closed.received),
        (EgressOutcome::Closed, 2)
    );
}

#[tokio::test]
async fn a_name_that_is_not_allowed_is_never_resolved() {
    let world = World::new();
    world.name("secret-data.evil.example", &["93.184.216.34"]);
    let mut proxy = world.proxy("none +good.example");
    let response = proxy.ask(&get("secret-data.evil.example")).await;
    assert!(
        response.starts_with("HTTP/1.1 403 Forbidden by the egress rules of the sandbox"),
        "{response}"
    );
    assert!(
        response.contains("--egress-allow secret-data.evil.example:80"),
        "{response}"
    );
    assert_eq!(proxy.refusal().await, "no rule allows it (preset none)");
    assert!(world.questions.lock().unwrap().is_empty());
    assert!(world.dialled().is_empty());
}

/// DNS rebinding: the second answer is never asked for within one connection, and is checked within the next one.
#[tokio::test]
async fn an_answer_that_changes_is_checked_each_time() {
    let world = World::new();
    world.name(
        "rebind.example",
        &["93.184.216.34", "127.0.0.1", "169.254.169.254", "10.0.0.1"],
    );
    let _server = world.serve("93.184.216.34:80", OK).await;
    let proxy = world.proxy("internet");
    assert!(proxy.ask(&get("rebind.example")).await.ends_with("ok"));
    assert_eq!(world.questions.lock().unwrap().len(), 1);
    for _ in 0..3 {
        let response = proxy.ask(&get("rebind.example")).await;
        assert!(response.starts_with("HTTP/1.1 403"), "{response}");
    }
    assert_eq!(world.dialled(), ["93.184.216.34:80"]);
}

#[tokio::test]
async fn names_that_lead_to_special_addresses_are_refused_without_telling_the_address() {
    let world = World::new();
    let proxy = world.proxy("internet");
    for address in [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "fe80::1",
        "fd00:ec2::254",
        "ff02::1",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "203.0.114.9",
    ] {
        world.name("odd.example", &[address]);
        let response = proxy.ask(&get("odd.example")).await;
        assert!(
            response.starts_with("HTTP/1.1 403"),
            "{address}: {response}"
        );
        assert!(!response.contains(address), "{response}");
    }
    assert!(world.dialled().is_empty());
}

#[tokio::test]
async fn of_several_addresses_only_allowed_ones_are_dialled() {
    let world = World::new();
    world.name(
        "mixed.example",
        &["127.0.0.1,10.0.0.1,93.184.216.35,93.184.216.34"],
    );
    let _server = world.serve("93.184.216.34:80", OK).await;
    let proxy = world.proxy("internet");
    assert!(proxy.ask(&get("mixed.example")).await.ends_with("ok"));
    assert_eq!(world.dialled(), ["93.184.216.35:80", "93.184.216.34:80"]);
}

#[tokio::test]
async fn addresses_in_odd_spellings_are_refused() {
    let world = World::new();
    let _server = world.serve("127.0.0.1:443", OK).await;
    let proxy = world.proxy("open +127.0.0.1 -127.0.0.2/32");
    for target in [
        "2130706433:443",
        "0x7f000001:443",
        "0177.0.0.1:443",
        "127.1:443",
        "127.0.1:443",
        "0x7f.0.0.1:443",
        "017700000001:443",
        "127.0.0.01:443",
        "127.0.0.1.:443",
        "[::1%25lo]:443",
        "%31%32%37.0.0.1:443",
        "127%2e0.0.1:443",
        "user@127.0.0.1:443",
        "127.0.0.1:0443",
        "127.0.0.1:+443",
        "localhost%00:443",
        "127.0.0.1",
        "[127.0.0.1]:443",
        "*.example:443",
        "a..example:443",
    ] {
        let (mut inside, line) = proxy.tunnel(target).await;
        assert!(line.starts_with("HTTP/1.1 400"), "{target}: {line}");
        inside.rest().await;
    }
    assert!(world.dialled().is_empty());
    // One spelling of each address is accepted, and IPv4 in IPv6 is IPv4.
    for target in [
        "127.0.0.1:443",
        "[::ffff:127.0.0.1]:443",
        "[::FFFF:7f00:1]:443",
    ] {
        let (_inside, line) = proxy.tunnel(target).await;
        assert!(line.starts_with("HTTP/1.1 200"), "{target}: {line}");
    }
    let (_inside, line) = proxy.tunnel("[::ffff:127.0.0.2]:443").await;
    assert!(line.starts_with("HTTP/1.1 403"), "{line}");
}

#[tokio::test]
async fn literals_need_a_rule_about_their_network() {
    let world = World::new();
    let _server = world.serve("1.1.1.1:443", OK).await;
    let (_inside, line) = world.proxy("internet").tunnel("1.1.1.1:443").await;
    assert!(line.starts_with("HTTP/1.1 403"), "{line}");
    let (_inside, line) = world.proxy("none +1.1.1.0/24").tunnel("1.1.1.1:443").await;
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let (_inside, line) = world
        .proxy("none +1.1.1.0/24 -1.1.1.1")
        .tunnel("1.1.1.1:443")
        .await;
    assert!(line.starts_with("HTTP/1.1 403"), "{line}");
}

#[tokio::test]
async fn what_fails_is_said_to_have_failed() {
    let world = World::new();
    world.name("down.example", &["93.184.216.34"]);
    let mut proxy = world.proxy("internet");
    for host in ["down.example", "nowhere.example"] {
        let response = proxy.ask(&get(host)).await;
        assert!(response.starts_with("HTTP/1.1 502"), "{response}");
        assert!(
            response.contains(&format!("egress to {host}:80 failed")),
            "{response}"
        );
        assert_eq!(proxy.event().await.outcome, EgressOutcome::Failed);
    }
}
