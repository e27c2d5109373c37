//! Running the gateway: its end, and changes while it runs.

use std::time::Duration;

use http::{Method, StatusCode};
use sandbox_gateway::add_key;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cases;
use crate::support::World;

cases![
    keys_change_without_a_restart,
    requests_under_way_are_finished_at_the_end,
    requests_that_last_too_long_are_cut_off_at_the_end,
];

async fn keys_change_without_a_restart() {
    let world = World::start().await;
    let id = world.create(json!({})).await;
    let path = format!("/sandboxes/{id}");
    // A successor under the same name has the same sandboxes.
    let successor = add_key(&world.keys_file(), "ada").unwrap();
    let is_accepted = |key: String| {
        let (world, path) = (&world, path.clone());
        async move {
            for _ in 0..100 {
                let reply = world.send_as(&key, Method::GET, &path, None).await;
                if reply.status == StatusCode::OK {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            panic!("the key is not accepted");
        }
    };
    is_accepted(successor.clone()).await;
    is_accepted(world.key.clone()).await;
    // The former key is revoked.
    let content = std::fs::read_to_string(world.keys_file()).unwrap();
    let rest: Vec<&str> = content.lines().skip(1).collect();
    std::fs::write(world.keys_file(), rest.join("\n")).unwrap();
    for attempt in 0.. {
        let reply = world.send(Method::GET, &path, None).await;
        if reply.status == StatusCode::UNAUTHORIZED {
            break;
        }
        assert!(attempt < 100, "the key is still accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    is_accepted(successor).await;
    world.clean_up().await;
}

async fn requests_under_way_are_finished_at_the_end() {
    let mut world = World::start().await;
    let key = world.key.clone();
    // Half a request, an idle connection, and one that only listens.
    let mut under_way = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /v2/sandboxes HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: 2\r\n\r\n"
    );
    under_way.write_all(head.as_bytes()).await.unwrap();
    let mut idle = TcpStream::connect(world.address).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    tokio::time::sleep(Duration::from_millis(200)).await;

    let serving = world.stop();
    assert_eq!(
        idle.read(&mut buffer).await.unwrap(),
        0,
        "an idle connection is closed"
    );
    assert!(
        TcpStream::connect(world.address).await.is_err(),
        "nothing more is accepted"
    );
    assert!(!serving.is_finished());
    under_way.write_all(b"{}").await.unwrap();
    let mut reply = String::new();
    under_way.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    tokio::time::timeout(Duration::from_secs(10), serving)
        .await
        .expect("an end")
        .unwrap();
    world.clean_up().await;
}

async fn requests_that_last_too_long_are_cut_off_at_the_end() {
    let mut world = World::start_with("limits: {drain: 300ms, body-timeout: 1m}").await;
    let mut stuck = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /v2/sandboxes HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: 2\r\n\r\n",
        world.key
    );
    stuck.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let serving = world.stop();
    tokio::time::timeout(Duration::from_secs(10), serving)
        .await
        .expect("an end")
        .unwrap();
    let ended = stuck.read(&mut [0; 16]).await;
    assert!(ended.is_err(), "a reset: {ended:?}");
}
