//! TLS to origins, with certificates that are verified.

use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sandbox_core::{Error, Result};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::rules::name::Host;

/// The longest line of PEM, in characters.
const PEM_LINE: usize = 64;

/// Reads certificates in PEM format. `of` and `name` are what trusts them.
///
/// # Errors
///
/// [`Error::Invalid`] if there is none, or if one cannot be read.
pub(crate) fn parse_authorities(
    of: &str,
    name: &str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>> {
    let invalid = |reason: String| Error::invalid(format!("authorities of the {of}"), name, reason);
    let read: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(format!("they are not in PEM format: {error}")))?;
    if read.is_empty() {
        return Err(invalid("there is no certificate in PEM format".into()));
    }
    Ok(read)
}

/// Returns what connects to an origin, and trusts these authorities or else those of this machine. `of` and `name` are what it is
/// for.
///
/// # Errors
///
/// [`Error::Invalid`] if there are none.
pub(crate) fn create_connector(
    of: &str,
    name: &str,
    authorities: Option<&[CertificateDer<'static>]>,
) -> Result<TlsConnector> {
    let invalid = |reason: String| Error::invalid(format!("authorities of the {of}"), name, reason);
    let roots = match authorities {
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for one in authorities {
                roots
                    .add(one.clone())
                    .map_err(|error| invalid(format!("one cannot be read: {error}")))?;
            }
            Arc::new(roots)
        }
        None => machine_roots(),
    };
    if roots.is_empty() {
        return Err(invalid(
            "this machine has no certificates of authorities; install ca-certificates, or name a file of them with \
             SSL_CERT_FILE"
                .into(),
        ));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Returns the name that a certificate has to be for. `of` is what it is the host of.
///
/// # Errors
///
/// [`Error::Invalid`] if no certificate can be for it.
pub(crate) fn server_name(of: &str, host: &Host) -> Result<ServerName<'static>> {
    match host {
        Host::Address(address) => Ok(ServerName::from(*address)),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned()).map_err(|_| {
            Error::invalid(
                format!("address of the {of}"),
                name.as_str(),
                "no certificate can be for this name",
            )
        }),
    }
}

/// Returns the certificates of the authorities that this machine trusts, in PEM format; empty if there are none.
pub fn machine_authorities() -> String {
    let mut text = String::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(&certificate);
        // RFC 7468 §2.
        for (index, character) in encoded.chars().enumerate() {
            if index > 0 && index % PEM_LINE == 0 {
                text.push('\n');
            }
            text.push(character);
        }
        text.push_str("\n-----END CERTIFICATE-----\n");
    }
    text
}

/// The authorities of this machine. They are read once, because that takes a while.
fn machine_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // Those that cannot be read are no reason to fail if others can.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    Arc::clone(roots)
}
