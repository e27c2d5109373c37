//! The network of the benchmark: one name.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use sandbox::{Dial, Resolve, Upstream};
use tokio::net::TcpStream;

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
