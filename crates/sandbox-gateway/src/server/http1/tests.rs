use super::*;
use axum::response::IntoResponse;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const MIB: usize = 1 << 20;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A client of a connection on which requests are answered so.
struct Client {
    stream: DuplexStream,
    draining: CancellationToken,
    serving: JoinHandle<()>,
}

impl Client {
    fn connect<F>(answer: impl Fn(Request<Body>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let limits = Limits {
            header_timeout: seconds(10),
            idle_timeout: seconds(120),
            ..Limits::default()
        };
        let (stream, served) = tokio::io::duplex(16 << 10);
        let draining = CancellationToken::new();
        let stop = draining.clone();
        let serving = tokio::spawn(async move {
            let _ended = Http1::new(&limits).serve(served, answer, &stop).await;
        });
        Self {
            stream,
            draining,
            serving,
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads the status of a response without a body.
    async fn read_status(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        head.split(' ').nth(1).unwrap().to_owned()
    }

    /// Reads what is left, until the server closes the connection. Returns how long that took, with it.
    async fn read_rest(&mut self) -> (Duration, String) {
        let begun = tokio::time::Instant::now();
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).await.unwrap();
        (begun.elapsed(), rest)
    }
}

async fn succeed(_request: Request<Body>) -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Answers without a look at the body.
async fn refuse(request: Request<Body>) -> Response {
    drop(request);
    StatusCode::UNAUTHORIZED.into_response()
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_the_next_request() {
    let mut client = Client::connect(succeed);
    for _ in 0..3 {
        client.send(GET).await;
        assert_eq!(client.read_status().await, "204");
        tokio::time::sleep(seconds(119)).await;
    }
    let (time, rest) = client.read_rest().await;
    assert!(time < seconds(3) && rest.is_empty(), "{time:?}: {rest}");
}

#[tokio::test(start_paused = true)]
async fn a_head_has_to_arrive_in_time() {
    // The first one, from the beginning on.
    let mut silent = Client::connect(succeed);
    let (time, _) = silent.read_rest().await;
    assert!((seconds(9)..seconds(12)).contains(&time), "{time:?}");
    // A later one, from its first byte on. Further ones are no excuse.
    let mut slow = Client::connect(succeed);
    slow.send(GET).await;
    assert_eq!(slow.read_status().await, "204");
    tokio::time::sleep(seconds(60)).await;
    for byte in ["G", "E", "T"] {
        slow.send(byte).await;
        tokio::time::sleep(seconds(3)).await;
    }
    let (time, rest) = slow.read_rest().await;
    assert!(time < seconds(3) && rest.is_empty(), "{time:?}: {rest}");
}

#[tokio::test(start_paused = true)]
async fn a_request_may_last_and_a_body_may_take_its_time() {
    let mut client = Client::connect(|request| async move {
        tokio::time::sleep(seconds(3600)).await;
        let body = axum::body::to_bytes(request.into_body(), MIB).await;
        let body = body.unwrap();
        assert!(body.is_empty() || body == "body", "{body:?}");
        StatusCode::NO_CONTENT.into_response()
    });
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n";
    client.send(head).await;
    for byte in ["b", "o", "d"] {
        client.send(byte).await;
        tokio::time::sleep(seconds(1800)).await;
    }
    client.send("y").await;
    assert_eq!(client.read_status().await, "204");
    // The time of a connection that is idle begins with the end of a request.
    tokio::time::sleep(seconds(119)).await;
    client.send(GET).await;
    client.draining.cancel();
    assert_eq!(client.read_status().await, "204");
    assert_eq!(client.read_rest().await.1, "");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_a_body_in_vain_reads_the_answer() {
    for chunked in [false, true] {
        let mut client = Client::connect(refuse);
        for _ in 0..2 {
            let size = 8 * MIB;
            let framing = if chunked {
                format!("transfer-encoding: chunked\r\n\r\n{size:x}\r\n")
            } else {
                format!("content-length: {size}\r\n\r\n")
            };
            // It reads nothing before it has sent everything, and then uses the connection again.
            let head = format!("POST / HTTP/1.1\r\nhost: x\r\n{framing}");
            client.send(&head).await;
            client.stream.write_all(&vec![b'x'; size]).await.unwrap();
            if chunked {
                client.send("\r\n0\r\n\r\n").await;
            }
            assert_eq!(client.read_status().await, "401");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_body_is_read_within_limits() {
    let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    // One that never ends.
    let mut endless = Client::connect(refuse);
    endless.send(head).await;
    let chunk = [b"100000\r\n".to_vec(), vec![b'x'; MIB], b"\r\n".to_vec()].concat();
    let mut sent = 0;
    while endless.stream.write_all(&chunk).await.is_ok() {
        sent += 1;
    }
    assert!((60..70).contains(&sent), "{sent} MiB");
    assert!(endless.read_rest().await.1.starts_with("HTTP/1.1 401"));
    // One that comes slowly.
    let mut slow = Client::connect(refuse);
    slow.send(head).await;
    let begun = tokio::time::Instant::now();
    while slow.stream.write_all(b"1\r\nx\r\n").await.is_ok() {
        tokio::time::sleep(seconds(2)).await;
    }
    let time = begun.elapsed();
    assert!((seconds(29)..seconds(35)).contains(&time), "{time:?}");
    assert!(slow.read_rest().await.1.starts_with("HTTP/1.1 401"));
    // One that does not come.
    let mut silent = Client::connect(refuse);
    silent.send(head).await;
    let (time, rest) = silent.read_rest().await;
    assert!(time < seconds(5), "{time:?}");
    assert!(rest.starts_with("HTTP/1.1 401"), "{rest}");
    silent.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_to_be_asked_for_a_body_is_not_asked_in_vain() {
    let mut client = Client::connect(refuse);
    client
        .send("PUT / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n")
        .await;
    let (time, rest) = client.read_rest().await;
    assert!(time < seconds(1), "{time:?}");
    assert!(rest.starts_with("HTTP/1.1 401"), "{rest}");
}
