//! Connections to a gateway, and why there is none.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use sandbox::Check;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::origin::Origin;

/// How long each step of a connection may take.
const TIMEOUT: Duration = Duration::from_secs(10);

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// A connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections to a gateway.
pub(super) struct Dialer {
    pub(super) origin: Origin,
}

impl Dialer {
    pub(super) fn new(origin: Origin) -> Self {
        Self { origin }
    }

    /// Resolves the name, and connects.
    pub(super) async fn check_reachable(&self) -> Result<Check, Check> {
        let stream = self.connect().await?;
        let detail = match stream.peer_addr() {
            Ok(address) => format!("something listens at {address}"),
            Err(error) => return Err(failed_connection(&self.origin, &error)),
        };
        Ok(Check::passed("connection", detail))
    }

    /// Does the handshake of TLS; `None` for plain HTTP.
    pub(super) async fn check_tls(&self) -> Result<Option<Check>, Check> {
        const NAME: &str = "TLS";
        if !self.origin.is_tls {
            return Ok(None);
        }
        let stream = self.connect_tls(&[HTTP2, HTTP1]).await?;
        let (_, connection) = stream.get_ref();
        let version = connection
            .protocol_version()
            .and_then(|version| version.as_str().map(str::to_owned))
            .unwrap_or_default();
        Ok(Some(match connection.alpn_protocol() {
            Some(HTTP2) => Check::passed(
                NAME,
                format!("the certificate is valid; {version} with HTTP/2"),
            ),
            _ => Check::warning(
                NAME,
                format!("the certificate is valid; {version} without HTTP/2"),
            )
            .with_remedy(
                "let the ingress offer HTTP/2 (ALPN h2): without it each running command needs a connection",
            ),
        }))
    }

    /// Opens a connection for HTTP/1.1.
    pub(super) async fn open(&self) -> Result<Box<dyn Stream>, Check> {
        if self.origin.is_tls {
            Ok(Box::new(self.connect_tls(&[HTTP1]).await?))
        } else {
            Ok(Box::new(self.connect().await?))
        }
    }

    async fn connect(&self) -> Result<TcpStream, Check> {
        let Origin { host, port, .. } = &self.origin;
        let lookup = tokio::net::lookup_host((host.as_str(), *port));
        let addresses: Vec<SocketAddr> = match tokio::time::timeout(TIMEOUT, lookup).await {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => return Err(failed_lookup(host, &error.to_string())),
            Err(_elapsed) => return Err(failed_lookup(host, "the name server does not answer")),
        };
        if addresses.is_empty() {
            return Err(failed_lookup(host, "it has no address"));
        }
        // The error of the last address counts, as for other programs.
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        for address in addresses {
            match tokio::time::timeout(TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failed_connection(&self.origin, &last))
    }

    async fn connect_tls(&self, protocols: &[&[u8]]) -> Result<TlsStream<TcpStream>, Check> {
        let mut config = client_config()?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let host = self.origin.host.clone();
        let name = ServerName::try_from(host)
            .map_err(|_invalid| failed_tls("no certificate can be for this host name", NAMES))?;
        let stream = self.connect().await?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        match tokio::time::timeout(TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(explain_handshake(&error)),
            Err(_elapsed) => Err(failed_tls("the handshake is not answered", PLAIN)),
        }
    }
}

fn client_config() -> Result<ClientConfig, Check> {
    let mut roots = RootCertStore::empty();
    // Those that cannot be read are no reason to fail if others can.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(failed_tls(
            "this machine has no certificates of authorities",
            "install ca-certificates, or name a file of them with SSL_CERT_FILE",
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed_tls(&error.to_string(), NAMES))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

const NAMES: &str =
    "use a host name that the certificate is for; ports of sandboxes need *.DOMAIN, too";
const PLAIN: &str =
    "if the gateway has no certificate, use http://, or set tls in its configuration";

fn explain_handshake(error: &io::Error) -> Check {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let Some(cause) = cause else {
        return failed_tls(&format!("the handshake was cut off: {error}"), PLAIN);
    };
    let remedy = match cause {
        rustls::Error::InvalidCertificate(error) => match error {
            // An authority that was created anew under its former name signs with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "name the authority's certificate with SSL_CERT_FILE (for the SDKs: SSL_CERT_FILE in Python, \
                 NODE_EXTRA_CA_CERTS in Node.js), and let the gateway's file have those of its issuers, too"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                NAMES
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew the certificate; the gateway reads its files again when they change"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "set the clock of this machine"
            }
            _ => "replace the certificate; the gateway reads its files again when they change",
        },
        _ => PLAIN,
    };
    failed_tls(&cause.to_string(), remedy)
}

fn failed_tls(detail: &str, remedy: &str) -> Check {
    Check::failed("TLS", detail).with_remedy(remedy)
}

fn failed_lookup(host: &str, why: &str) -> Check {
    Check::failed("connection", format!("{host} has no address: {why}")).with_remedy(
        "correct the host name, or add it to DNS (with *.DOMAIN for ports of sandboxes)",
    )
}

fn failed_connection(origin: &Origin, error: &io::Error) -> Check {
    let remedy = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "start `sandbox serve`, and let it listen where clients reach it: by default only its own machine does \
             (--listen 0.0.0.0:3000 for others)"
        }
        io::ErrorKind::TimedOut => {
            "open the port in firewalls, security groups and network policies"
        }
        _ => "check the network between here and the gateway",
    };
    let detail = format!("cannot connect to {}: {error}", origin.authority);
    Check::failed("connection", detail).with_remedy(remedy)
}
