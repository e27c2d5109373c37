//! Clients and servers that break the rules.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::fixture::{DOMAIN, Fixture, SILENCE};

crate::cases![
    a_second_request_is_not_smuggled_in,
    a_request_has_one_host,
    the_host_decides_which_sandbox_it_is,
    a_server_that_answers_nonsense_is_reported,
    a_second_response_reaches_nobody,
    a_server_that_never_answers_is_given_up,
    a_client_that_leaves_frees_the_server,
];

async fn a_second_request_is_not_smuggled_in(fixture: Arc<Fixture>) -> Outcome {
    let (host, cookie) = (fixture.host(), fixture.cookie());
    let head =
        |line: &str| format!("POST /outer HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n{line}\r\n");
    let inner = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let length = inner.len() + 5;
    let attempts = [
        head(&format!("{chunked}Content-Length: {length}\r\n")) + "0\r\n\r\n" + inner,
        head(&format!("Content-Length: {length}\r\n{chunked}")) + "0\r\n\r\n" + inner,
        head(&format!(
            "Content-Length: 0\r\nContent-Length: {}\r\n",
            inner.len()
        )) + inner,
        head("Content-Length: 0, 37\r\n") + inner,
        head("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n" + inner,
        head("Transfer-Encoding: chunked, identity\r\n") + "0\r\n\r\n" + inner,
        head(" Content-Length: 5\r\n") + inner,
        head("Content-Length : 5\r\n") + inner,
        head("X: y\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + inner,
        head("Connection: Content-Length\r\nContent-Length: 37\r\n") + inner,
    ];
    for attempt in attempts {
        let mut stream = TcpStream::connect(fixture.address).await?;
        stream.write_all(attempt.as_bytes()).await?;
        stream.shutdown().await?;
        let mut received = Vec::new();
        // What matters is what reaches the sandbox; the connection may be closed or reset.
        let reading = stream.read_to_end(&mut received);
        tokio::time::timeout(Duration::from_secs(10), reading)
            .await?
            .ok();
        let seen = fixture.seen().await?;
        assert!(
            !seen.iter().any(|path| path.contains("smuggled")),
            "{attempt}"
        );
    }
    Ok(())
}

async fn a_request_has_one_host(fixture: Arc<Fixture>) -> Outcome {
    let (host, cookie) = (fixture.host(), fixture.cookie());
    let other = format!("{}-{}.{DOMAIN}", fixture.other_port, fixture.other.id());
    for request in [
        format!(
            "GET http://{host}/ HTTP/1.1\r\nHost: {other}\r\n{cookie}\r\nConnection: close\r\n\r\n"
        ),
        format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nHost: {other}\r\n{cookie}\r\nConnection: close\r\n\r\n"
        ),
        format!("GET / HTTP/1.1\r\nHost: user@{host}\r\n{cookie}\r\nConnection: close\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nHost: {}-.{DOMAIN}\r\n{cookie}\r\nConnection: close\r\n\r\n",
            fixture.port
        ),
        format!(
            "GET / HTTP/1.1\r\nHost: 99999-{}.{DOMAIN}\r\n{cookie}\r\nConnection: close\r\n\r\n",
            fixture.sandbox.id()
        ),
        format!(
            "CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n{cookie}\r\nConnection: close\r\n\r\n"
        ),
    ] {
        let response = fixture.send(&request).await?;
        assert_eq!(response.status, 400, "{request}{response:?}");
    }
    Ok(())
}

async fn the_host_decides_which_sandbox_it_is(fixture: Arc<Fixture>) -> Outcome {
    let (host, cookie) = (fixture.host(), fixture.cookie());
    let request = format!(
        "GET /mine HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nE2b-Sandbox-Id: {}\r\nE2b-Sandbox-Port: {}\r\nX-Forwarded-Host: {}\r\nConnection: close\r\n\r\n",
        fixture.other.id(),
        fixture.other_port,
        "evil.example"
    );
    let response = fixture.send(&request).await?;
    assert_eq!(response.status, 200);
    assert!(fixture.seen().await?.iter().any(|path| path == "/mine"));
    Ok(())
}

async fn a_server_that_answers_nonsense_is_reported(fixture: Arc<Fixture>) -> Outcome {
    for path in ["/huge", "/many", "/garbage"] {
        let response = fixture.get(path).await?;
        assert_eq!(response.status, 502, "{path}");
        assert!(response.body.contains("sent no valid response"), "{path}");
        assert!(response.head.len() < 4096);
    }
    Ok(())
}

async fn a_second_response_reaches_nobody(fixture: Arc<Fixture>) -> Outcome {
    for _ in 0..5 {
        let response = fixture.get("/twice").await?;
        assert_eq!(response.body, "ok");
        let next = fixture.get("/echo").await?;
        assert_eq!(next.json()["path"], "/echo");
    }
    Ok(())
}

async fn a_server_that_never_answers_is_given_up(fixture: Arc<Fixture>) -> Outcome {
    let begun = tokio::time::Instant::now();
    let response = fixture.get("/silent").await?;
    assert_eq!(response.status, 504);
    assert!(response.body.contains("does not respond"));
    assert!(begun.elapsed() >= SILENCE);
    Ok(())
}

async fn a_client_that_leaves_frees_the_server(fixture: Arc<Fixture>) -> Outcome {
    let (host, cookie) = (fixture.host(), fixture.cookie());
    for _ in 0..40 {
        let mut stream = TcpStream::connect(fixture.address).await?;
        let request = format!("GET /silent HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Their streams into the sandbox are closed, or the next would find none left.
    let response = fixture.get("/echo").await?;
    assert_eq!(response.status, 200);
    Ok(())
}
