//! Connections that carry bytes after a name was allowed: `CONNECT` and SOCKS.
//!
//! A name alone is not enough: behind one address there may be many sites, and the first bytes choose between them
//! ("domain fronting"). So the choice has to agree with the name.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Shared;
use super::denial::Denial;
use super::flow::{Flow, Grant};
use super::hello::{ClientHello, FirstBytes, MAX_HELLO, read_first_bytes};
use super::http;
use super::relay::relay;
use super::rewound::{ClientStream, Rewound};
use super::secured::Secured;
use crate::Upstream;
use crate::intercept::InterceptedHost;
use crate::rules::Refusal;
use crate::rules::name::{Host, HostName};

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// A fatal alert of TLS, "access denied" (RFC 8446 §6).
const ACCESS_DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// Serves a connection that the rules allow, until it ends.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    client: ClientStream,
    upstream: Box<dyn Upstream>,
    grant: Grant,
) {
    if let Some(Secured::Host(host)) = &grant.secured {
        let host = Arc::clone(host);
        return serve_intercepted(shared, client, upstream, grant, host).await;
    }
    match &grant.target.host {
        // A rule allows the network, whatever is there.
        Host::Address(_) => relay(&Flow::new(shared, grant), client, upstream).await,
        Host::Name(_) if grant.target.port == HTTP_PORT => {
            http::serve_tunnel(shared, client, upstream, grant).await;
        }
        Host::Name(name) if grant.target.port == HTTPS_PORT => {
            let name = name.clone();
            serve_tls(shared, client, upstream, grant, &name).await;
        }
        Host::Name(name) => {
            let name = name.clone();
            serve_other(shared, client, upstream, grant, name).await;
        }
    }
}

/// Passes nothing on before a ClientHello for the name has arrived.
async fn serve_tls(
    shared: &Arc<Shared>,
    mut client: ClientStream,
    upstream: Box<dyn Upstream>,
    grant: Grant,
    name: &HostName,
) {
    let reading = read_hello(&mut client);
    let Ok(Ok((bytes, first))) = timeout(shared.limits.handshake, reading).await else {
        tracing::debug!(target = %grant.target, "connection ended before a ClientHello");
        return;
    };
    let checked = match first {
        FirstBytes::Hello(hello) => check_hello(shared, &hello, name, grant.target.port),
        FirstBytes::NotTls => Err(refuse("it is not TLS, which port 443 is for")),
        FirstBytes::Malformed | FirstBytes::Incomplete => {
            Err(refuse("its TLS ClientHello cannot be read"))
        }
    };
    if let Err(denial) = checked {
        shared.report_denial(&grant.target, &denial);
        reject(client).await;
        return;
    }
    let client = Box::new(Rewound::new(bytes, client));
    relay(&Flow::new(shared, grant), client, upstream).await;
}

/// Ends TLS in place of the host, once a ClientHello for it has arrived, and serves the requests.
async fn serve_intercepted(
    shared: &Arc<Shared>,
    mut client: ClientStream,
    upstream: Box<dyn Upstream>,
    grant: Grant,
    host: Arc<InterceptedHost>,
) {
    let limit = shared.limits.handshake;
    let Ok(Ok((bytes, first))) = timeout(limit, read_hello(&mut client)).await else {
        tracing::debug!(target = %grant.target, "connection ended before a ClientHello");
        return;
    };
    let checked = match first {
        FirstBytes::Hello(hello) => check_intercepted(&hello, host.name()),
        FirstBytes::NotTls => Err(refuse("it is not TLS, which its transform is for")),
        FirstBytes::Malformed | FirstBytes::Incomplete => {
            Err(refuse("its TLS ClientHello cannot be read"))
        }
    };
    if let Err(denial) = checked {
        shared.report_denial(&grant.target, &denial);
        reject(client).await;
        return;
    }
    let accepting = host.accept(Box::new(Rewound::new(bytes, client)));
    let accepted = timeout(limit, accepting).await;
    match accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(client) => http::serve_intercepted(shared, client, upstream, grant, host).await,
        Err(error) => {
            let reason = format!("TLS with the program in the sandbox failed: {error}");
            let denial = Denial::unreachable(io::Error::new(error.kind(), reason));
            shared.report_denial(&grant.target, &denial.at(grant.address));
        }
    }
}

/// Passes on what the server says at once, because in some protocols it speaks first. What the client says is passed on once
/// it is no TLS, or TLS for the name.
async fn serve_other(
    shared: &Arc<Shared>,
    client: ClientStream,
    upstream: Box<dyn Upstream>,
    grant: Grant,
    name: HostName,
) {
    let port = grant.target.port;
    let target = grant.target.clone();
    let flow = Flow::new(shared, grant);
    let (mut near, far) = tokio::io::duplex(MAX_HELLO);
    let (mut from_client, to_client) = tokio::io::split(client);
    let checking = async {
        let (bytes, first) = read_hello(&mut from_client).await?;
        let checked = match first {
            FirstBytes::Hello(hello) => check_hello(shared, &hello, &name, port),
            FirstBytes::NotTls => Ok(()),
            FirstBytes::Malformed => Err(refuse("its TLS ClientHello cannot be read")),
            // It has ended: TLS was not spoken.
            FirstBytes::Incomplete => Ok(()),
        };
        if let Err(denial) = checked {
            shared.report_denial(&target, &denial);
            return Err(io::Error::other("refused"));
        }
        near.write_all(&bytes).await?;
        tokio::io::copy(&mut from_client, &mut near).await?;
        near.shutdown().await
    };
    let client = Box::new(tokio::io::join(far, to_client));
    let relaying = relay(&flow, client, upstream);
    tokio::pin!(checking, relaying);
    tokio::select! {
        () = &mut relaying => {}
        // An error ends the connection, an end of file only one direction of it.
        checked = &mut checking => {
            if checked.is_ok() {
                relaying.await;
            }
        }
    }
}

/// Reads until it is known what the first bytes are, or until the stream ends. Returns all that was read.
async fn read_hello(
    client: &mut (impl tokio::io::AsyncRead + Unpin),
) -> io::Result<(Vec<u8>, FirstBytes)> {
    let mut bytes = Vec::with_capacity(4096);
    loop {
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok((bytes, FirstBytes::Incomplete));
        }
        match read_first_bytes(&bytes) {
            FirstBytes::Incomplete if bytes.len() < MAX_HELLO => {}
            FirstBytes::Incomplete => return Ok((bytes, FirstBytes::Malformed)),
            known => return Ok((bytes, known)),
        }
    }
}

/// Checks that a ClientHello is for the name that was allowed.
///
/// The name of an encrypted one is public: it names the site that decrypts. The rules have to allow that, too, because they
/// cannot know what is inside.
fn check_hello(
    shared: &Shared,
    hello: &ClientHello,
    name: &HostName,
    port: u16,
) -> Result<(), Denial> {
    let server_name = read_server_name(hello)?;
    if server_name == *name {
        return Ok(());
    }
    if hello.may_be_encrypted {
        let rules = Arc::clone(&shared.rules.borrow());
        return rules
            .check_name(&server_name, port)
            .map(drop)
            .map_err(Denial::refused);
    }
    Err(refuse_server(&server_name))
}

/// Checks that a ClientHello is for a host that is intercepted, and for no other that may be allowed.
fn check_intercepted(hello: &ClientHello, name: &HostName) -> Result<(), Denial> {
    let server_name = read_server_name(hello)?;
    if server_name == *name {
        return Ok(());
    }
    Err(refuse_server(&server_name))
}

fn read_server_name(hello: &ClientHello) -> Result<HostName, Denial> {
    let Some(server_name) = &hello.server_name else {
        return Err(refuse("its TLS ClientHello names no server"));
    };
    HostName::parse(server_name)
        .map_err(|_| refuse("its TLS ClientHello names a server in an unusual way"))
}

fn refuse_server(server_name: &HostName) -> Denial {
    Denial::refused(Refusal::malformed(
        format!(
            "its TLS ClientHello names another server, {}",
            server_name.as_str()
        ),
        "its TLS ClientHello names another server",
    ))
}

fn refuse(reason: &'static str) -> Denial {
    Denial::refused(Refusal::malformed(reason, reason))
}

async fn reject(mut client: ClientStream) {
    let rejecting = async {
        client.write_all(&ACCESS_DENIED).await?;
        client.shutdown().await
    };
    if let Err(error) = rejecting.await {
        tracing::debug!(%error, "alert not delivered");
    }
}
