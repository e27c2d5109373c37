//! Listening on all addresses, of whichever kinds there are.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// As many as tokio lets wait.
const WAITING: i32 = 1024;

/// Listens on an address. `[::]` means every address of the machine, of IPv4 as well, whatever its
/// setting `net.ipv6.bindv6only`; and those of IPv4 alone where there is no IPv6.
///
/// # Errors
///
/// When the address is not this machine's, or is taken.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match address {
        SocketAddr::V6(six) if six.ip().is_unspecified() => match both(address) {
            Err(error) if is_without_ipv6(&error) => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            bound => bound,
        },
        one => TcpListener::bind(one).await,
    }
}

fn both(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(WAITING)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// The kernel was built or started without it.
fn is_without_ipv6(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(
        code,
        Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL | Errno::EPROTONOSUPPORT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn every_address_is_every_address_of_both_kinds() {
        let listener = bind("[::]:0".parse().unwrap()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // A machine without IPv6 has no such address either.
        match TcpStream::connect(("::1", port)).await {
            Ok(_) => {}
            Err(error) => assert!(is_without_ipv6(&error), "{error}"),
        }
    }

    #[tokio::test]
    async fn one_address_is_that_address() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken = bind(listener.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
