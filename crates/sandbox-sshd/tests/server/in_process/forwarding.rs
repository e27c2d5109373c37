//! Forwarded streams: every end of either side reaches the other, once and as what it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use russh::client::{ChannelOpenHandle, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelMsg, ChannelOpenFailure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::PIPE;
use crate::support::client::{Client, LONG, TestSandbox};

/// What a channel delivers until it is closed: the data, and the other messages in order.
async fn read_to_close(channel: &mut Channel<Msg>) -> (Vec<u8>, Vec<&'static str>) {
    let (mut data, mut ends) = (Vec::new(), Vec::new());
    let reading = async {
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data: part } => data.extend_from_slice(&part),
                ChannelMsg::Eof => ends.push("eof"),
                ChannelMsg::Close => ends.push("close"),
                ChannelMsg::WindowAdjusted { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(LONG, reading)
        .await
        .expect("the channel was not closed");
    (data, ends)
}

/// A stream that is forwarded over a channel: the side of the program inside, and the channel.
async fn forwarded(client: &Client) -> (TcpStream, Channel<Msg>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        panic!("not an IPv4 address");
    };
    let opening =
        client.channel_open_direct_tcpip("127.0.0.1", u32::from(address.port()), "127.0.0.1", 0);
    let (accepted, channel) = tokio::join!(listener.accept(), opening);
    (accepted.unwrap().0, channel.unwrap())
}

#[tokio::test]
async fn each_direction_ends_on_its_own() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;

    // The client ends first.
    let (mut inside, mut channel) = forwarded(&client).await;
    channel.data_bytes("question").await.unwrap();
    channel.eof().await.unwrap();
    let mut question = String::new();
    inside.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    inside.write_all(b"answer").await.unwrap();
    drop(inside);
    let read = read_to_close(&mut channel).await;
    assert_eq!(read, (b"answer".to_vec(), vec!["eof", "close"]));

    // The program inside ends first.
    let (mut inside, mut channel) = forwarded(&client).await;
    inside.write_all(b"greeting").await.unwrap();
    inside.shutdown().await.unwrap();
    let mut greeting = Vec::new();
    loop {
        match channel.wait().await.unwrap() {
            ChannelMsg::Data { data } => greeting.extend_from_slice(&data),
            ChannelMsg::Eof => break,
            _ => {}
        }
    }
    assert_eq!(greeting, b"greeting");
    channel.data_bytes("still read").await.unwrap();
    channel.eof().await.unwrap();
    let mut rest = String::new();
    inside.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "still read");
    assert_eq!(read_to_close(&mut channel).await.1, ["close"]);
}

#[tokio::test]
async fn a_client_that_writes_to_a_closed_stream_learns_it() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let (mut inside, channel) = forwarded(&client).await;
    inside.write_all(b"bye").await.unwrap();
    drop(inside);
    let (mut reader, writer) = channel.split();
    let writing = async {
        // Ends when the channel is closed.
        loop {
            writer.data_bytes("is anybody there?").await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let mut ends = Vec::new();
    let reading = async {
        while let Some(message) = reader.wait().await {
            match message {
                ChannelMsg::Eof => ends.push("eof"),
                ChannelMsg::Close => return ends.push("close"),
                _ => {}
            }
        }
    };
    let both = async {
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    };
    tokio::time::timeout(LONG, both).await.unwrap();
    assert_eq!(ends, ["eof", "close"]);
}

#[tokio::test]
async fn a_reset_is_no_end_of_file() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;

    // Of the program inside.
    let (mut inside, mut channel) = forwarded(&client).await;
    inside.write_all(b"part").await.unwrap();
    match channel.wait().await {
        Some(ChannelMsg::Data { data }) => assert_eq!(data, "part"),
        other => panic!("{other:?}"),
    }
    inside.set_zero_linger().unwrap();
    drop(inside);
    assert_eq!(read_to_close(&mut channel).await.1, ["close"]);

    // Of the client, whose channel or connection ends before the end of its data.
    for lose_connection in [false, true] {
        let client = sandbox.connect(PIPE).await;
        let (mut inside, channel) = forwarded(&client).await;
        channel.data_bytes("part").await.unwrap();
        let mut part = [0; 4];
        inside.read_exact(&mut part).await.unwrap();
        if lose_connection {
            drop((channel, client));
        } else {
            channel.close().await.unwrap();
        }
        let error = inside.read(&mut part).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn what_was_sent_before_the_end_arrives_although_the_channel_is_closed() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let (mut inside, channel) = forwarded(&client).await;
    let data = crate::support::noise(8 << 20, 5);
    channel.data_bytes(data.clone()).await.unwrap();
    channel.eof().await.unwrap();
    channel.close().await.unwrap();
    let mut received = Vec::new();
    inside.read_to_end(&mut received).await.unwrap();
    assert!(received == data);
}

#[tokio::test]
async fn a_stream_that_is_not_read_blocks_no_other() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let (unread, channel) = forwarded(&client).await;
    let part = vec![1; 1 << 20];
    let filling = async {
        for _ in 0..140 {
            channel.data_bytes(part.clone()).await.unwrap();
        }
    };
    let others = async {
        let (mut inside, mut channel) = forwarded(&client).await;
        channel.data_bytes("ping").await.unwrap();
        channel.eof().await.unwrap();
        let mut ping = String::new();
        inside.read_to_string(&mut ping).await.unwrap();
        drop(inside);
        assert_eq!(read_to_close(&mut channel).await.1, ["eof", "close"]);
    };
    tokio::time::timeout(LONG, async {
        filling.await;
        others.await;
    })
    .await
    .unwrap();
    drop(unread);
}

#[tokio::test]
async fn a_closed_port_and_a_full_connection_are_refused() {
    let sandbox = TestSandbox::new(|config| config.with_max_channels(2));
    let client = sandbox.connect(PIPE).await;
    let refusal = client
        .channel_open_direct_tcpip("127.0.0.1", 1, "127.0.0.1", 0)
        .await
        .unwrap_err();
    assert!(
        matches!(
            refusal,
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed)
        ),
        "{refusal:?}"
    );
    let _held = [forwarded(&client).await, forwarded(&client).await];
    let refusal = client.channel_open_session().await.unwrap_err();
    assert!(
        matches!(
            refusal,
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::ResourceShortage)
        ),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn only_a_port_on_the_loopback_interface_is_served_by_the_client() {
    let sandbox = TestSandbox::new(|config| config);
    // `RemoteForward` in a user's ssh_config(5) must not reach into a sandbox.
    let other = sandbox.connect(PIPE).await;
    assert!(other.tcpip_forward("127.0.0.1", 0).await.is_err());
    let client = sandbox.connect_as_sdk().await;
    for address in ["", "0.0.0.0", "::", "*", "10.0.0.1", "::1", "127.0.0.2"] {
        let refused = client.tcpip_forward(address, 0).await;
        assert!(refused.is_err(), "{address}");
    }
    assert!(client.tcpip_forward("localhost", 70_000).await.is_err());
    let port = client.tcpip_forward("127.0.0.1", 0).await.unwrap();
    assert!(client.tcpip_forward("127.0.0.1", 0).await.is_err());
    client
        .cancel_tcpip_forward("127.0.0.1", port)
        .await
        .unwrap();
    assert!(
        client
            .cancel_tcpip_forward("127.0.0.1", port)
            .await
            .is_err()
    );
    assert_eq!(client.tcpip_forward("localhost", 0).await.unwrap(), port);
}

/// A client that has room for so many connections, and keeps each open until its program has sent a byte.
struct Crowded {
    room: usize,
    open: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Handler for Crowded {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        mut channel: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.open.load(Ordering::SeqCst) == self.room {
            self.refused.fetch_add(1, Ordering::SeqCst);
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        reply.accept().await;
        let open = Arc::clone(&self.open);
        tokio::spawn(async move {
            let Some(ChannelMsg::Data { data }) = channel.wait().await else {
                panic!("no byte");
            };
            channel.data_bytes(data).await.unwrap();
            channel.eof().await.unwrap();
            channel.close().await.unwrap();
            open.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(())
    }
}

#[tokio::test]
async fn connections_that_the_client_has_no_room_for_wait_in_their_order() {
    let sandbox = TestSandbox::new(|config| config);
    let refused = Arc::new(AtomicUsize::new(0));
    let crowded = Crowded {
        room: 2,
        open: Arc::default(),
        refused: Arc::clone(&refused),
    };
    let client = sandbox.connect_as_sdk_with(crowded).await;
    let port = client.tcpip_forward("localhost", 0).await.unwrap();
    let port = u16::try_from(port).unwrap();
    let mut inside = Vec::new();
    for _ in 0..20 {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        inside.push(stream.unwrap());
    }
    while refused.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    for (n, stream) in (0..).zip(&mut inside) {
        let exchange = async {
            stream.write_u8(n).await.unwrap();
            stream.read_u8().await.unwrap()
        };
        let answer = tokio::time::timeout(LONG, exchange).await.unwrap();
        assert_eq!(answer, n);
    }
    // Those that wait do not ask all at once, again and again.
    assert!(refused.load(Ordering::SeqCst) < 200);
    client
        .cancel_tcpip_forward("localhost", port.into())
        .await
        .unwrap();
}
