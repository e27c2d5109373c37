//! What ordinary clients send.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::Outcome;
use crate::fixture::{Fixture, Response, seen_header};

crate::cases![
    a_request_arrives_as_a_local_one,
    a_large_body_arrives_whole,
    requests_of_one_client_share_connections,
    a_websocket_carries_messages_and_sees_the_same_host,
    events_arrive_as_they_are_sent,
    an_upgrade_that_is_refused_is_a_response,
    redirects_and_cookies_are_for_the_outer_host,
    headers_name_a_port_as_hosts_do,
    a_closed_port_is_reported,
];

async fn a_request_arrives_as_a_local_one(fixture: Arc<Fixture>) -> Outcome {
    let (host, cookie) = (fixture.host(), fixture.cookie());
    let key = format!("e2b_{}", "ab".repeat(20));
    let request = format!(
        "PUT /a%20b/../c?x=1&&y=%2F HTTP/1.1\r\nHost: {host}\r\n{cookie}; theme=dark\r\nX-API-Key: {key}\r\nX-Access-Token: mine\r\nE2b-Sandbox-Id: other\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\nOrigin: https://{host}\r\nContent-Length: 5\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\nhello"
    );
    let response = fixture.send(&request).await?;
    assert_eq!(response.status, 200, "{response:?}");
    let answer = response.json();
    assert_eq!(answer["method"], "PUT");
    assert_eq!(answer["path"], "/a%20b/../c?x=1&&y=%2F");
    assert_eq!(answer["length"], 5);
    let local = format!("localhost:{}", fixture.port);
    assert_eq!(seen_header(&answer, "host"), Some(local.as_str()));
    assert_eq!(
        seen_header(&answer, "origin"),
        Some(format!("http://{local}").as_str())
    );
    assert_eq!(
        seen_header(&answer, "x-forwarded-host"),
        Some(host.as_str())
    );
    assert_eq!(seen_header(&answer, "x-forwarded-proto"), Some("https"));
    assert_eq!(
        seen_header(&answer, "x-forwarded-for"),
        Some("198.51.100.7, 127.0.0.1")
    );
    assert_eq!(seen_header(&answer, "cookie"), Some("theme=dark"));
    for absent in ["x-api-key", "x-access-token", "e2b-sandbox-id", "x-hop"] {
        assert_eq!(seen_header(&answer, absent), None, "{absent}");
    }
    let sent = format!("{answer}");
    assert!(!sent.contains(&fixture.token()) && !sent.contains(&key));
    Ok(())
}

async fn a_large_body_arrives_whole(fixture: Arc<Fixture>) -> Outcome {
    let (host, cookie) = (fixture.host(), fixture.cookie());
    let mut stream = TcpStream::connect(fixture.address).await?;
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let chunk = format!("{:x}\r\n{}\r\n", 64 * 1024, "x".repeat(64 * 1024));
    for _ in 0..128 {
        stream.write_all(chunk.as_bytes()).await?;
    }
    stream.write_all(b"0\r\n\r\n").await?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await?;
    let response = Response::parse(&received)?;
    assert_eq!(response.json()["length"], 128 * 64 * 1024);
    Ok(())
}

async fn requests_of_one_client_share_connections(fixture: Arc<Fixture>) -> Outcome {
    let (host, cookie) = (fixture.host(), fixture.cookie());
    let mut stream = TcpStream::connect(fixture.address).await?;
    let mut numbers = BTreeSet::new();
    // A connection is returned by a task, which may come after the next request.
    for _ in 0..100 {
        let request = format!("GET /echo HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let response = read_one(&mut stream).await?;
        if !numbers.insert(response.json()["connection"].as_u64().unwrap()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("every request had a connection of its own".into())
}

/// Reads one response that has a length.
async fn read_one(stream: &mut TcpStream) -> Outcome<Response> {
    let mut received = Vec::new();
    loop {
        assert_ne!(
            stream.read_buf(&mut received).await?,
            0,
            "{}",
            String::from_utf8_lossy(&received)
        );
        if let Ok(response) = Response::parse(&received) {
            let length: usize = response.header("content-length").unwrap().parse()?;
            if response.body.len() >= length {
                return Ok(response);
            }
        }
    }
}

async fn a_websocket_carries_messages_and_sees_the_same_host(fixture: Arc<Fixture>) -> Outcome {
    let host = fixture.host();
    let mut request = format!("ws://{host}/ws").into_client_request()?;
    let headers = request.headers_mut();
    let cookie = fixture.cookie();
    headers.insert("cookie", cookie.trim_start_matches("Cookie: ").parse()?);
    headers.insert("origin", format!("http://{host}").parse()?);
    let stream = TcpStream::connect(fixture.address).await?;
    let (mut socket, _response) = tokio_tungstenite::client_async(request, stream).await?;
    let seen = socket.next().await.ok_or("no first message")??;
    let seen: serde_json::Value = serde_json::from_str(seen.to_text()?)?;
    let local = format!("localhost:{}", fixture.port);
    assert_eq!(seen["host"], local);
    assert_eq!(seen["origin"], format!("http://{local}"));
    assert_eq!(seen["x-forwarded-host"], host);
    assert!(seen.get("cookie").is_none(), "{seen}");
    for text in ["hello".to_owned(), "x".repeat(40_000)] {
        socket.send(Message::text(text.clone())).await?;
        let echo = socket.next().await.ok_or("no echo")??;
        assert_eq!(echo.to_text()?, text.to_uppercase());
    }
    socket.close(None).await?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}

async fn events_arrive_as_they_are_sent(fixture: Arc<Fixture>) -> Outcome {
    let (host, cookie) = (fixture.host(), fixture.cookie());
    let mut stream = TcpStream::connect(fixture.address).await?;
    let request =
        format!("GET /sse HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut received = Vec::new();
    let mut arrivals = Vec::new();
    while stream.read_buf(&mut received).await? > 0 {
        let text = String::from_utf8_lossy(&received);
        while arrivals.len() < text.matches("data: ").count() {
            arrivals.push(Instant::now());
        }
    }
    assert_eq!(arrivals.len(), 3);
    let spread = arrivals[2] - arrivals[0];
    assert!(
        spread > Duration::from_millis(500),
        "they arrived at once: {spread:?}"
    );
    let response = Response::parse(&received)?;
    assert_eq!(response.header("x-accel-buffering"), Some("no"));
    Ok(())
}

async fn an_upgrade_that_is_refused_is_a_response(fixture: Arc<Fixture>) -> Outcome {
    let (host, cookie) = (fixture.host(), fixture.cookie());
    let request = format!(
        "GET /echo HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nConnection: Upgrade, close\r\nUpgrade: unknown\r\n\r\n"
    );
    let response = fixture.send(&request).await?;
    assert_eq!(response.status, 200);
    assert_eq!(seen_header(&response.json(), "upgrade"), Some("unknown"));
    Ok(())
}

async fn redirects_and_cookies_are_for_the_outer_host(fixture: Arc<Fixture>) -> Outcome {
    let response = fixture.get("/redirect").await?;
    assert_eq!(
        response.header("location"),
        Some(format!("http://{}/echo", fixture.host()).as_str())
    );
    let response = fixture.get("/cookies").await?;
    let cookies: Vec<_> = response.headers("set-cookie").collect();
    assert_eq!(cookies, ["sid=1; Path=/"]);
    Ok(())
}

async fn headers_name_a_port_as_hosts_do(fixture: Arc<Fixture>) -> Outcome {
    let (id, port, token) = (fixture.sandbox.id(), fixture.port, fixture.token());
    let request = format!(
        "GET /sandboxes?sandbox-token={token}&z=1 HTTP/1.1\r\nHost: gateway.example\r\nE2b-Sandbox-Id: {id}\r\nE2b-Sandbox-Port: {port}\r\nConnection: close\r\n\r\n"
    );
    let answer = fixture.send(&request).await?.json();
    assert_eq!(answer["path"], "/sandboxes?z=1");
    assert_eq!(
        seen_header(&answer, "host"),
        Some(format!("localhost:{port}").as_str())
    );
    Ok(())
}

async fn a_closed_port_is_reported(fixture: Arc<Fixture>) -> Outcome {
    let sandbox = &fixture.sandbox;
    let token = fixture.token_for(sandbox, 1, 60);
    let requests = ["*/*", "text/html,*/*"].map(|accept| {
        format!(
            "GET / HTTP/1.1\r\nHost: 1-{}.sbx.test\r\nAccept: {accept}\r\nCookie: __Host-sandbox-preview={token}\r\nConnection: close\r\n\r\n",
            sandbox.id()
        )
    });
    // At once, because the gateway waits for the port to be opened.
    let (json, page) = tokio::try_join!(fixture.send(&requests[0]), fixture.send(&requests[1]))?;
    for (response, is_page) in [(json, false), (page, true)] {
        assert_eq!(response.status, 502);
        assert!(
            response
                .body
                .contains("The sandbox is running but port is not open")
        );
        assert_eq!(response.body.starts_with("<!doctype html>"), is_page);
        if !is_page {
            let expected = serde_json::json!({
                "sandboxId": sandbox.id().as_str(), "port": 1, "code": 502,
                "message": "The sandbox is running but port is not open",
            });
            assert_eq!(response.json(), expected);
        }
    }
    Ok(())
}
