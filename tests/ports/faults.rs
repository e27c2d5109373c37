//! Sandboxes that end or are paused while there is traffic to them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::fixture::{DOMAIN, Fixture, Response, start_server};

crate::cases![
    the_end_of_a_sandbox_cuts_its_responses_off,
    traffic_resumes_a_paused_sandbox_that_allows_it,
];

/// A response that is cut off must not look like one that is complete. In HTTP/1.0 the end of the connection would.
async fn the_end_of_a_sandbox_cuts_its_responses_off(fixture: Arc<Fixture>) -> Outcome {
    let (sandbox, port) = start_server(&fixture.client).await?;
    let token = fixture.token_for(&sandbox, port, 60);
    let host = format!("{port}-{}.{DOMAIN}", sandbox.id());
    let mut streams = Vec::new();
    for (path, version) in [("/endless", "1.1"), ("/long", "1.1"), ("/endless", "1.0")] {
        let mut stream = TcpStream::connect(fixture.address).await?;
        let request = format!(
            "GET {path} HTTP/{version}\r\nHost: {host}\r\nCookie: __Host-sandbox-preview={token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut received = Vec::new();
        while !String::from_utf8_lossy(&received).contains("more") {
            assert_ne!(stream.read_buf(&mut received).await?, 0, "{path}");
        }
        streams.push((stream, received, path, version));
    }
    sandbox.delete().await?;
    for (mut stream, mut received, path, version) in streams {
        let reading = stream.read_to_end(&mut received);
        let ended = tokio::time::timeout(Duration::from_secs(30), reading).await?;
        let response = Response::parse(&received)?;
        assert_eq!(response.status, 200);
        match (path, version) {
            (_, "1.0") => {
                let kind = ended.map_err(|error| error.kind());
                assert_eq!(kind, Err(io::ErrorKind::ConnectionReset));
            }
            ("/endless", _) => {
                assert_eq!(response.header("transfer-encoding"), Some("chunked"));
                assert!(!response.body.contains("\r\n0\r\n"), "the last chunk");
            }
            _ => {
                let length = response.header("content-length").unwrap_or_default();
                assert_eq!(length, (1_u64 << 40).to_string());
            }
        }
    }
    Ok(())
}

async fn traffic_resumes_a_paused_sandbox_that_allows_it(fixture: Arc<Fixture>) -> Outcome {
    for allows in [false, true] {
        let lifecycle = format!(r#"{{"onTimeout":"pause","autoResume":{allows}}}"#);
        let (sandbox, port) = fixture.start_server_with(&lifecycle).await?;
        sandbox.pause().await?;
        let token = fixture.token_for(&sandbox, port, 60);
        let host = format!("{port}-{}.{DOMAIN}", sandbox.id());
        let request = format!(
            "GET /echo HTTP/1.1\r\nHost: {host}\r\nCookie: __Host-sandbox-preview={token}\r\nConnection: close\r\n\r\n"
        );
        // Several that come together resume it once.
        let requests = (0..4).map(|_| fixture.send(&request));
        let responses = futures_util::future::try_join_all(requests).await?;
        for Response { status, body, .. } in responses {
            if allows {
                assert_eq!(status, 200, "{body}");
            } else {
                assert_eq!(status, 502, "{body}");
                assert!(body.contains("was not found"), "{body}");
            }
        }
        assert_eq!(sandbox.pause_state().await?.is_paused, !allows);
        sandbox.delete().await?;
    }
    Ok(())
}
