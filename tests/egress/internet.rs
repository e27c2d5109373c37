//! A small internet: names and addresses that lead to servers on loopback.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use async_trait::async_trait;
use sandbox::{Dial, Resolve, Upstream};

/// Names and addresses that exist only here.
#[derive(Debug, Default)]
pub(crate) struct Internet {
    names: Mutex<HashMap<String, IpAddr>>,
    places: Mutex<HashMap<SocketAddr, SocketAddr>>,
}

#[async_trait]
impl Resolve for Internet {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = self.names.lock().unwrap().get(name).copied();
        Ok(vec![found.ok_or(io::ErrorKind::NotFound)?])
    }
}

#[async_trait]
impl Dial for Internet {
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Upstream>> {
        let place = self.places.lock().unwrap().get(&address).copied();
        let place = place.ok_or(io::ErrorKind::ConnectionRefused)?;
        Ok(Box::new(tokio::net::TcpStream::connect(place).await?))
    }
}

impl Internet {
    /// Puts a server on loopback at this name and port.
    pub(crate) fn add(&self, name: &str, address: &str, port: u16, place: SocketAddr) {
        let address: IpAddr = address.parse().unwrap();
        self.names.lock().unwrap().insert(name.to_owned(), address);
        let at = SocketAddr::new(address, port);
        self.places.lock().unwrap().insert(at, place);
    }
}
