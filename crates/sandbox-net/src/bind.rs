//! Binds one port on every IPv4 and IPv6 address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// The backlog of pending connections, which is tokio's default.
const BACKLOG: i32 = 1024;

/// Listens on an address. `[::]` means every address of IPv6 and IPv4, whatever
/// `net.ipv6.bindv6only` is, and every address of IPv4 if the system has no IPv6.
///
/// # Errors
///
/// If the address is not an address of this host, or if it is in use.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match address {
        SocketAddr::V6(six) if six.ip().is_unspecified() => match bind_both(address) {
            Err(error) if is_without_ipv6(&error) => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            bound => bound,
        },
        one => TcpListener::bind(one).await,
    }
}

fn bind_both(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Whether an error means that the kernel has no IPv6.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL | Errno::PROTONOSUPPORT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn the_unspecified_address_accepts_ipv4_and_ipv6() {
        let listener = bind("[::]:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // A host without IPv6 has no such address.
        match TcpStream::connect(("::1", port)).await {
            Ok(_) => {}
            Err(error) => assert!(is_without_ipv6(&error), "{error}"),
        }
    }

    #[tokio::test]
    async fn a_specific_address_can_be_in_use() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken = bind(listener.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
