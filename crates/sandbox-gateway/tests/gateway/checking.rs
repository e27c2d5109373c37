//! The check of a gateway, as `sandbox doctor --gateway` runs it.

use std::net::SocketAddr;

use sandbox::{Check, Verdict};
use sandbox_gateway::GatewayCheck;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::cases;
use crate::support::World;

cases![
    everything_is_checked_and_nothing_is_left,
    without_a_key_it_is_only_whether_there_is_a_gateway,
    what_a_key_may_not_do_is_explained,
    what_is_no_gateway_is_explained,
];

fn names(checks: &[Check]) -> Vec<&str> {
    checks.iter().map(|check| check.name.as_str()).collect()
}

/// The last check, which must have failed and say what to do.
#[track_caller]
fn failed(checks: &[Check]) -> (&str, &str) {
    let last = checks.last().unwrap();
    assert_eq!(last.verdict, Verdict::Failed, "{checks:#?}");
    assert!(last.remedy.is_some(), "{checks:#?}");
    let before = &checks[..checks.len() - 1];
    assert!(
        before.iter().all(|check| check.verdict == Verdict::Passed),
        "{checks:#?}"
    );
    (&last.name, &last.detail)
}

async fn everything_is_checked_and_nothing_is_left() {
    let world = World::start().await;
    let url = format!("http://{}", world.address);
    let checks = GatewayCheck::new(&url)
        .key(&world.key)
        .try_template("base")
        .run()
        .await;
    let all = [
        "address",
        "connection",
        "health",
        "key",
        "templates",
        "a sandbox",
        "a command",
        "its end",
    ];
    assert_eq!(names(&checks), all, "{checks:#?}");
    assert!(
        checks.iter().all(|check| check.verdict == Verdict::Passed),
        "{checks:#?}"
    );
    assert!(
        checks[4].detail.contains("base") && checks[4].detail.contains("code-interpreter-v1"),
        "{checks:#?}"
    );
    let left = world.client().await.list(Default::default()).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

async fn without_a_key_it_is_only_whether_there_is_a_gateway() {
    let world = World::start().await;
    let check = GatewayCheck::new(format!("http://{}", world.address)).try_template("base");
    let checks = check.run().await;
    assert_eq!(
        names(&checks),
        ["address", "connection", "health", "key"],
        "{checks:#?}"
    );
    assert_eq!(checks[3].verdict, Verdict::Skipped);
}

async fn what_a_key_may_not_do_is_explained() {
    let world = World::start_with("limits: {sandboxes-per-key: 1}").await;
    let url = format!("http://{}", world.address);
    let check = |key: &str| GatewayCheck::new(&url).key(key);
    let unknown = format!("e2b_{}", "0".repeat(40));
    for key in [unknown.as_str(), "no key", "e2b_\u{7f}", "\u{1f511}"] {
        let checks = check(key).run().await;
        let (name, detail) = failed(&checks);
        assert_eq!(name, "key", "{detail}");
        assert!(!format!("{checks:?}").contains(key), "a key is shown");
    }
    assert!(!format!("{:?}", check(&world.key)).contains(&world.key));

    let checks = check(&world.key).try_template("none").run().await;
    let (name, detail) = failed(&checks);
    assert_eq!(name, "a sandbox");
    assert!(detail.contains("template"), "{detail}");

    let _other = world.create(serde_json::json!({})).await;
    let checks = check(&world.key).try_template("base").run().await;
    let (name, detail) = failed(&checks);
    assert_eq!(name, "a sandbox");
    assert!(detail.contains('1'), "{detail}");
    world.clean_up().await;
}

/// Answers each connection with these bytes, once something was sent.
async fn serve(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                if stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {
                    let _closed = stream.write_all(answer).await;
                }
            });
        }
    });
    address
}

async fn what_is_no_gateway_is_explained() {
    let answers: [(&[u8], &str); 4] = [
        (
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope",
            "404",
        ),
        (
            b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
            "502",
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok",
            "cut off",
        ),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "speaks no HTTP"),
    ];
    for (answer, words) in answers {
        let address = serve(answer).await;
        let checks = GatewayCheck::new(format!("http://{address}")).run().await;
        let (name, detail) = failed(&checks);
        assert_eq!(name, "health", "{detail}");
        assert!(detail.contains(words), "{words}: {detail}");
    }
    // One that never ends is not read to its end.
    let endless = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = endless.local_addr().unwrap();
    let endless = tokio::spawn(async move {
        while let Ok((mut stream, _)) = endless.accept().await {
            tokio::spawn(async move {
                let mut part = "HTTP/1.1 200 OK\r\n\r\n".as_bytes().to_vec();
                while stream.write_all(&part).await.is_ok() {
                    part = vec![b'x'; 64 << 10];
                }
            });
        }
    });
    let checks = GatewayCheck::new(format!("http://{address}")).run().await;
    assert_eq!(failed(&checks).0, "health");
    endless.abort();

    // Nothing listens.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let checks = GatewayCheck::new(format!("http://{address}")).run().await;
    let (name, _) = failed(&checks);
    assert_eq!(name, "connection");
    let remedy = checks.last().unwrap().remedy.as_deref().unwrap();
    assert!(remedy.contains("sandbox serve"), "{remedy}");
    let checks = GatewayCheck::new("http://no-such-host.invalid").run().await;
    assert_eq!(failed(&checks).0, "connection");
}
