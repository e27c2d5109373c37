//! SOCKS 5 (RFC 1928), as far as a client connects: without authentication, and to a name or an address.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::rewound::ClientStream;
use super::{Shared, tunnel};
use crate::rules::name::{Host, Target};

/// The first byte of a connection.
pub(super) const VERSION: u8 = 5;

const NO_AUTHENTICATION: u8 = 0;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

const SUCCEEDED: u8 = 0;
const NOT_ALLOWED: u8 = 2;
const COMMAND_NOT_SUPPORTED: u8 = 7;
const ADDRESS_TYPE_NOT_SUPPORTED: u8 = 8;

/// What a client asked for.
enum Asked {
    Target(Target),
    /// It is refused with this reply.
    Refused(u8),
}

/// Serves a connection until it ends.
pub(super) async fn serve(shared: &Arc<Shared>, mut client: ClientStream) {
    let asked = timeout(shared.limits.handshake, read_request(shared, &mut client)).await;
    let target = match asked {
        Ok(Ok(Asked::Target(target))) => target,
        Ok(Ok(Asked::Refused(reply))) => return close(client, reply).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "SOCKS handshake ended");
            return;
        }
        Err(_) => {
            tracing::debug!("SOCKS handshake took too long");
            return;
        }
    };
    match shared.open(&target).await {
        Ok((upstream, grant)) => match write_reply(&mut client, SUCCEEDED).await {
            Ok(()) => tunnel::serve(shared, client, upstream, grant).await,
            Err(error) => tracing::debug!(%error, "SOCKS reply not delivered"),
        },
        Err(denial) => close(client, denial.socks_reply()).await,
    }
}

async fn read_request(shared: &Shared, client: &mut ClientStream) -> io::Result<Asked> {
    // The greeting: the version, and the ways to authenticate.
    let _version = client.read_u8().await?;
    let mut methods = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut methods).await?;
    if !methods.contains(&NO_AUTHENTICATION) {
        client.write_all(&[VERSION, NO_ACCEPTABLE_METHOD]).await?;
        client.shutdown().await?;
        return Err(io::Error::other("the client insists on authentication"));
    }
    client.write_all(&[VERSION, NO_AUTHENTICATION]).await?;
    client.flush().await?;

    // The request: the version, the command, a reserved byte, the kind of address.
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let [version, command, _reserved, kind] = head;
    if version != VERSION {
        return Err(io::Error::other("another version than in the greeting"));
    }
    let host = match kind {
        IPV4 => {
            let mut octets = [0; 4];
            client.read_exact(&mut octets).await?;
            Ok(Host::from_address(Ipv4Addr::from(octets).into()))
        }
        IPV6 => {
            let mut octets = [0; 16];
            client.read_exact(&mut octets).await?;
            Ok(Host::from_address(Ipv6Addr::from(octets).into()))
        }
        NAME => {
            let mut name = vec![0; client.read_u8().await?.into()];
            client.read_exact(&mut name).await?;
            let name = String::from_utf8_lossy(&name).into_owned();
            Host::parse(&name).map_err(|reason| (name, reason))
        }
        _ => return Ok(Asked::Refused(ADDRESS_TYPE_NOT_SUPPORTED)),
    };
    let port = client.read_u16().await?;
    if command != CONNECT {
        shared.report_unreadable("", "SOCKS requests other than CONNECT are not served");
        return Ok(Asked::Refused(COMMAND_NOT_SUPPORTED));
    }
    match host {
        Ok(host) if port != 0 => Ok(Asked::Target(Target { host, port })),
        Ok(host) => {
            shared.report_unreadable(&host.to_string(), "it has no port from 1 to 65535");
            Ok(Asked::Refused(NOT_ALLOWED))
        }
        Err((name, reason)) => {
            shared.report_unreadable(&name, &format!("it {reason}"));
            Ok(Asked::Refused(NOT_ALLOWED))
        }
    }
}

async fn write_reply(client: &mut ClientStream, reply: u8) -> io::Result<()> {
    // The address that the proxy connected from stays private.
    let [a, b, c, d] = Ipv4Addr::UNSPECIFIED.octets();
    client
        .write_all(&[VERSION, reply, 0, IPV4, a, b, c, d, 0, 0])
        .await?;
    client.flush().await
}

async fn close(mut client: ClientStream, reply: u8) {
    let closing = async {
        write_reply(&mut client, reply).await?;
        client.shutdown().await
    };
    if let Err(error) = closing.await {
        tracing::debug!(%error, "SOCKS reply not delivered");
    }
}
