//! Upstreams that a sandbox reaches with credentials that stay in this process.

use std::path::PathBuf;

use pyo3::prelude::*;
use sandbox::{Error, NamedUpstream, Result, UpstreamKind};

use crate::certificates::read_certificates;

/// An `Upstream` of the package: an object with all of these attributes, which it has checked.
#[derive(FromPyObject, Clone)]
pub(crate) struct UpstreamOptions {
    name: String,
    /// Without it, the usual address of the kind.
    url: Option<String>,
    secret: Option<String>,
    /// Without it, the kind with this name, if there is one.
    kind: Option<String>,
    header: Option<String>,
    user: Option<String>,
    variable: Vec<String>,
    key_variable: Vec<String>,
    ca: Option<PathBuf>,
}

impl UpstreamOptions {
    /// # Errors
    ///
    /// [`Error::Invalid`], without the secret.
    pub(crate) fn into_upstream(self) -> Result<NamedUpstream> {
        let kind = match &self.kind {
            Some(kind) => Some(kind.parse()?),
            None => self.name.parse().ok(),
        };
        let usual = kind.and_then(UpstreamKind::default_base);
        let Some(base) = self.url.as_deref().or(usual) else {
            let reason = "it has no usual address; give it one: Upstream(name, \"https://HOST[:PORT][/PATH]\")";
            return Err(Error::invalid("upstream", self.name, reason));
        };
        let mut upstream = NamedUpstream::new(self.name, base)?;
        if let Some(kind) = kind {
            upstream = upstream.kind(kind);
        }
        for variable in self.variable {
            upstream = upstream.variable(variable)?;
        }
        for variable in self.key_variable {
            upstream = upstream.key_variable(variable)?;
        }
        if let Some(path) = self.ca {
            upstream = upstream.authorities(&read_certificates(&path)?)?;
        }
        match (self.secret, self.header, self.user) {
            (Some(secret), Some(header), _) => upstream.header(&header, secret),
            (Some(secret), None, Some(user)) => upstream.basic(user, secret),
            (Some(secret), None, None) => upstream.secret(secret),
            (None, _, _) => Ok(upstream),
        }
    }
}
