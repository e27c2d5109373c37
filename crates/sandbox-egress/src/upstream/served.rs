//! Upstreams that a proxy serves.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LOCATION, HOST, HeaderMap, HeaderValue, LOCATION,
    ORIGIN, REFERER,
};
use http::uri::PathAndQuery;
use sandbox_core::{Error, Result};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::origin::Origin;
use super::variables::{Variables, check_distinct, describe_variables};
use super::{KIND, NamedUpstream};
use crate::Upstream;
use crate::credential::{Injection, remove_own};
use crate::rules::name::{Host, Target};
use crate::tls;

/// An upstream, ready to be connected to.
pub(crate) struct ServedUpstream {
    name: String,
    /// What the event of its connections has as the rule.
    rule: Arc<str>,
    /// What requests are confined to.
    origin: Origin,
    injection: Option<Injection>,
    connector: TlsConnector,
    server_name: ServerName<'static>,
    links_to_itself: bool,
    variables: Variables,
}

/// Makes upstreams ready.
///
/// # Errors
///
/// [`Error::Invalid`] if two have the same name or set the same variable, or if there is no authority to trust.
pub(crate) fn serve_all(
    upstreams: impl IntoIterator<Item = NamedUpstream>,
) -> Result<Vec<Arc<ServedUpstream>>> {
    let mut served: Vec<Arc<ServedUpstream>> = Vec::new();
    for upstream in upstreams {
        if served.iter().any(|one| one.name == upstream.name) {
            let reason = "there are two of this name";
            return Err(Error::invalid("upstream", upstream.name, reason));
        }
        served.push(Arc::new(ServedUpstream::new(upstream)?));
    }
    check_distinct(served.iter().map(|one| (&*one.name, &one.variables)))?;
    Ok(served)
}

impl ServedUpstream {
    fn new(upstream: NamedUpstream) -> Result<Self> {
        let authorities = upstream.authorities.as_deref();
        Ok(Self {
            rule: format!("upstream {}", upstream.name).into(),
            variables: describe_variables(&upstream),
            origin: upstream.origin.without_suffix(upstream.kind.index_path()),
            injection: upstream.credential.as_ref().map(|(scheme, secret)| {
                let usual = upstream.kind.usual_scheme();
                Injection::new(scheme.as_ref().unwrap_or(&usual), secret)
            }),
            connector: tls::create_connector(KIND, &upstream.name, authorities)?,
            server_name: tls::server_name(KIND, upstream.origin.host())?,
            links_to_itself: upstream.kind.links_to_itself(),
            name: upstream.name,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn rule(&self) -> &Arc<str> {
        &self.rule
    }

    pub(crate) fn target(&self) -> &Target {
        &self.origin.target
    }

    pub(crate) fn host(&self) -> &Host {
        self.origin.host()
    }

    pub(super) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// The path of the origin for the rest of a path after the name.
    ///
    /// # Errors
    ///
    /// If it is not below the upstream's.
    pub(crate) fn join(
        &self,
        rest: &str,
        query: Option<&str>,
    ) -> Result<PathAndQuery, &'static str> {
        self.origin.join(rest, query)
    }

    /// Speaks TLS on a connection to the origin.
    ///
    /// # Errors
    ///
    /// If the handshake fails, or if the certificate is not for the origin.
    pub(crate) async fn secure(&self, stream: Box<dyn Upstream>) -> io::Result<Box<dyn Upstream>> {
        let name = self.server_name.clone();
        Ok(Box::new(self.connector.connect(name, stream).await?))
    }

    /// Adds the credential to the headers of a request, which has no header about the connection any more, and removes what
    /// the sandbox sent in its place.
    ///
    /// # Errors
    ///
    /// Never in practice: what is sent was checked.
    pub(crate) fn prepare_request(&self, headers: &mut HeaderMap) -> Result<(), &'static str> {
        let mut of_credentials = vec![&AUTHORIZATION];
        of_credentials.extend(self.injection.as_ref().map(Injection::header));
        remove_own(headers, &of_credentials);
        // These name the port inside.
        headers.remove(ORIGIN);
        headers.remove(REFERER);
        let host = HeaderValue::try_from(self.origin.authority());
        headers.insert(HOST, host.map_err(|_| "Host has unusual characters")?);
        if self.links_to_itself {
            // What is compressed cannot be changed.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        match &self.injection {
            Some(injection) => injection.add_to(headers),
            None => Ok(()),
        }
    }

    /// Removes the credential from the headers of a response, and has its redirects lead to where programs in the sandbox can
    /// ask. `place` is the upstream's address inside.
    pub(crate) fn prepare_response(&self, headers: &mut HeaderMap, place: &str) {
        for name in [LOCATION, CONTENT_LOCATION] {
            let mapped = headers
                .get(&name)
                .and_then(|location| self.origin.map_location(location.to_str().ok()?, place))
                .and_then(|mapped| HeaderValue::try_from(mapped).ok());
            if let Some(mapped) = mapped {
                headers.insert(name, mapped);
            }
        }
        if let Some(injection) = &self.injection {
            injection.redaction().redact(headers);
        }
    }

    /// The address of the origin if its pages have it in them, so that it has to be replaced by that inside.
    pub(crate) fn own_links(&self) -> Option<String> {
        self.links_to_itself.then(|| self.origin.base())
    }
}

/// Without the credential.
impl Debug for ServedUpstream {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedUpstream")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
