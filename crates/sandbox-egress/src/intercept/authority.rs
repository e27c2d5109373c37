//! The authority whose certificates intercepted connections have.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use sandbox_core::{BoxError, Error, Result};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

use crate::rules::name::HostName;

/// How far the clock of a sandbox may be behind that of this machine.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
/// The longest that certificates are valid.
const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// Signs certificates for a few names, which are all that its own certificate permits (RFC 5280 §4.2.1.10). Its key is in memory
/// until it is dropped.
pub(super) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
    end: SystemTime,
}

impl Authority {
    /// Creates an authority for these names and what is below them.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if this machine has no randomness or a wrong clock.
    pub(super) fn create(names: &[&HostName], lifetime: Duration) -> Result<Self> {
        let end = SystemTime::now() + lifetime.min(MAX_LIFETIME);
        let mut params = params(end)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "egress of one sandbox");
        let permitted = names
            .iter()
            .map(|name| GeneralSubtree::DnsName(name.as_str().to_owned()))
            .collect();
        // Names of a kind that is not mentioned would be permitted.
        let excluded = vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted,
            excluded_subtrees: excluded,
        });
        let own = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&own).map_err(failed)?;
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, own),
            end,
        })
    }

    /// Its certificate, in PEM format.
    pub(super) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Returns what ends TLS for a name. It speaks HTTP/1.1 alone.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub(super) fn create_acceptor(&self, name: &HostName) -> Result<TlsAcceptor> {
        // Each has its own, because the serial number is made from it.
        let key = KeyPair::generate().map_err(failed)?;
        let signed = self.sign(name, &key)?.der().clone();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(vec![signed], key.into())
            .map_err(failed)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn sign(&self, name: &HostName, key: &KeyPair) -> Result<Certificate> {
        let mut params = params(self.end)?;
        let text = name.as_str().try_into().map_err(failed)?;
        params.subject_alt_names = vec![rcgen::SanType::DnsName(text)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // RFC 5280 §4.2.1.1; Python 3.13 insists on it.
        params.use_authority_key_identifier_extension = true;
        params
            .distinguished_name
            .push(DnType::CommonName, "intercepted by the sandbox's client");
        params.signed_by(key, &self.issuer).map_err(failed)
    }
}

/// What all certificates here have.
fn params(end: SystemTime) -> Result<CertificateParams> {
    let since_epoch = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_err(failed);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + since_epoch(SystemTime::now() - CLOCK_SKEW)?;
    params.not_after = epoch + since_epoch(end + CLOCK_SKEW)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn failed(source: impl Into<BoxError>) -> Error {
    let source = source.into();
    Error::Backend {
        backend: "egress",
        operation: "create certificates for intercepted hosts",
        message: source.to_string(),
        transient: false,
        source: Some(source),
    }
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    /// Whether what trusts an authority accepts a certificate for a name after some time.
    fn check(
        authority: &Authority,
        signed: &Certificate,
        name: &str,
        after: Duration,
    ) -> std::result::Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + after;
        let now = UnixTime::since_unix_epoch(now);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier
            .verify_server_cert(signed.der(), &[], &name, &[], now)
            .map(drop)
    }

    fn sign(authority: &Authority, name: &str) -> Certificate {
        let name = HostName::parse(name).unwrap();
        authority
            .sign(&name, &KeyPair::generate().unwrap())
            .unwrap()
    }

    fn authority() -> Authority {
        let names = ["api.example", "b.example"].map(|name| HostName::parse(name).unwrap());
        let names: Vec<&HostName> = names.iter().collect();
        Authority::create(&names, Duration::from_secs(24 * 3600)).unwrap()
    }

    #[test]
    fn certificates_are_for_one_name_and_for_a_while() {
        let authority = authority();
        let signed = sign(&authority, "api.example");
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        check(&authority, &signed, "api.example", Duration::ZERO).unwrap();
        check(&authority, &signed, "api.example", hours(24)).unwrap();
        assert!(check(&authority, &signed, "b.example", Duration::ZERO).is_err());
        let late = check(&authority, &signed, "api.example", hours(26)).unwrap_err();
        assert!(format!("{late:?}").contains("Expired"), "{late:?}");
        assert!(authority.pem().starts_with("-----BEGIN CERTIFICATE-----"));
    }

    /// Whoever has the key cannot use it for other hosts.
    #[test]
    fn an_authority_is_good_for_its_own_names_alone() {
        let authority = authority();
        for other in ["evil.example", "example", "xapi.example", "c.b.example.org"] {
            let signed = sign(&authority, other);
            let refused = check(&authority, &signed, other, Duration::ZERO).unwrap_err();
            assert!(
                format!("{refused:?}").contains("NameConstraintViolation"),
                "{other}: {refused:?}"
            );
        }
        // Nor for addresses, nor for one more name besides its own.
        for extra in ["127.0.0.1", "2001:db8::1", "evil.example"] {
            let mut params = params(authority.end).unwrap();
            let names =
                CertificateParams::new(vec!["api.example".to_owned(), extra.to_owned()]).unwrap();
            params.subject_alt_names = names.subject_alt_names;
            let signed = params
                .signed_by(&KeyPair::generate().unwrap(), &authority.issuer)
                .unwrap();
            for name in ["api.example", extra] {
                let refused = check(&authority, &signed, name, Duration::ZERO).unwrap_err();
                assert!(
                    format!("{refused:?}").contains("NameConstraintViolation"),
                    "{extra}: {refused:?}"
                );
            }
        }
    }
}
