//! Which protocol is used, with an API server on loopback.

use super::*;
use futures_util::{SinkExt, StreamExt};
use http::Response as HttpResponse;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    SpeaksSpdy,
    /// Refuses SPDY with this status.
    OnlyWebSocket(u16),
    /// Refuses everything with this status.
    Refuses(u16),
}

/// Answers each connection, and reports the method of its request.
async fn serve(server: Server) -> (ApiClient, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (methods, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let methods = methods.clone();
            tokio::spawn(async move {
                let mut start = [0; 4];
                while stream.peek(&mut start).await.unwrap() < 4 {}
                let method = String::from_utf8_lossy(&start).trim().to_owned();
                methods.send(method.clone()).unwrap();
                match (method.as_str(), server) {
                    ("POST", Server::SpeaksSpdy) => answer_spdy(stream).await,
                    ("POST", Server::OnlyWebSocket(code)) | (_, Server::Refuses(code)) => {
                        refuse(stream, code).await;
                    }
                    _ => answer_websocket(stream).await,
                }
            });
        }
    });
    let config = kube::Config::new(url.parse().unwrap());
    let client = kube::Client::try_from(config).unwrap();
    (ApiClient::new(client, "boxes".into()), seen)
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

/// Sends back what arrives on the stream of the data, behind a banner.
async fn answer_spdy(mut stream: TcpStream) {
    let head = read_head(&mut stream).await;
    assert!(head.contains("upgrade: spdy/3.1\r\n"), "{head}");
    assert!(head.contains("x-stream-protocol-version: portforward.k8s.io\r\n"));
    let accepted =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
    stream.write_all(accepted.as_bytes()).await.unwrap();
    stream.write_all(b"\0\0\0\x03\0\0\0\x04SSH-").await.unwrap();
    loop {
        let mut header = [0; 8];
        if stream.read_exact(&mut header).await.is_err() {
            return;
        }
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if header[..4] == [0, 0, 0, 3] {
            stream.write_all(&header).await.unwrap();
            stream.write_all(&payload).await.unwrap();
        }
    }
}

async fn refuse(mut stream: TcpStream, code: u16) {
    read_head(&mut stream).await;
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": "no upgrade here", "code": code,
    })
    .to_string();
    let response = format!(
        "HTTP/1.1 {code} No\r\nContent-Length: {}\r\n\r\n{status}",
        status.len()
    );
    stream.write_all(response.as_bytes()).await.unwrap();
}

async fn answer_websocket(stream: TcpStream) {
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let choose = |_request: &_, mut response: HttpResponse<()>| {
        let protocol = http::HeaderValue::from_static("v4.channel.k8s.io");
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose)
        .await
        .unwrap();
    for frame in [&b"\0\xae\x08"[..], b"\x01\xae\x08", b"\0SSH-"] {
        let frame = bytes::Bytes::copy_from_slice(frame);
        socket.send(Message::Binary(frame)).await.unwrap();
    }
    while let Some(Ok(frame)) = socket.next().await {
        if frame.is_binary() {
            socket.send(frame).await.unwrap();
        }
    }
}

/// Opens a stream, and sends something that comes back.
async fn try_stream(api: &ApiClient, choice: &ProtocolChoice) {
    let opened = open(api, choice, "sbx-a", 2222).await;
    let mut stream = opened.unwrap_or_else(|_| panic!("not opened"));
    stream.write_all(b"2.0").await.unwrap();
    let mut received = [0; 7];
    stream.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"SSH-2.0");
}

#[tokio::test]
async fn spdy_is_tried_first_and_used_if_it_is_accepted() {
    let (api, mut seen) = serve(Server::SpeaksSpdy).await;
    let choice = ProtocolChoice::default();
    for _ in 0..2 {
        try_stream(&api, &choice).await;
        assert_eq!(seen.recv().await.as_deref(), Some("POST"));
    }
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_websocket_replaces_spdy_where_it_is_refused_and_is_remembered() {
    for code in [400, 403, 405, 501] {
        let (api, mut seen) = serve(Server::OnlyWebSocket(code)).await;
        let choice = ProtocolChoice::default();
        for _ in 0..2 {
            try_stream(&api, &choice).await;
        }
        for method in ["POST", "GET", "GET"] {
            assert_eq!(seen.recv().await.as_deref(), Some(method), "{code}");
        }
        assert!(seen.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_failure_of_the_pod_is_reported_without_another_attempt() {
    let (api, mut seen) = serve(Server::OnlyWebSocket(404)).await;
    match open(&api, &ProtocolChoice::default(), "sbx-a", 2222).await {
        Err(AttemptError::Transient(error)) => {
            let text = format!("{error:?}");
            assert!(text.contains("no upgrade here"), "{text}");
        }
        _ => panic!("it is an error of this attempt"),
    }
    assert_eq!(seen.recv().await.as_deref(), Some("POST"));
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_policy_is_not_reported_as_a_missing_permission() {
    let (api, _seen) = serve(Server::Refuses(403)).await;
    match open(&api, &ProtocolChoice::default(), "sbx-a", 2222).await {
        Err(AttemptError::Fatal(error)) => {
            let text = error.to_string();
            assert!(text.contains("no upgrade here"), "{text}");
            assert!(!text.contains("no permission"), "{text}");
        }
        _ => panic!("no retry helps"),
    }
}
