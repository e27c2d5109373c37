//! The network of the benchmark: one name, and a forward proxy that checks nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use sandbox::{Dial, Resolve, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::server::Servers;

/// The address of every name.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

/// Leads every name to the servers on loopback.
#[derive(Debug)]
pub(super) struct Loopback(pub(super) Servers);

#[async_trait]
impl Resolve for Loopback {
    async fn resolve(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![ADDRESS.into()])
    }
}

#[async_trait]
impl Dial for Loopback {
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Upstream>> {
        let place = if address.port() == 443 {
            self.0.https
        } else {
            self.0.http
        };
        let stream = TcpStream::connect(place).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// Starts a proxy that connects every CONNECT to the server.
pub(super) async fn relay(server: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Err(error) = carry(client, server).await {
                    eprintln!("bench egress: the forward proxy: {error}");
                }
            });
        }
    });
    Ok(address)
}

async fn carry(mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let mut upstream = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}
