//! All hosts of a proxy that are intercepted.

use std::collections::HashSet;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderMap;
use sandbox_core::{Error, Result};

use super::authority::Authority;
use super::{HostTransform, InterceptedHost, KIND};
use crate::rules::name::{HostName, Target};

/// The hosts that a proxy intercepts.
pub(crate) struct Interception {
    hosts: Vec<Arc<InterceptedHost>>,
    /// That of the authority, in PEM format.
    certificate: String,
}

impl Interception {
    /// Makes transforms ready, with an authority of their own. Its key is gone when this returns: all that it is for is signed.
    /// `None` if there are none.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if two are for the same host or set the same variable, or if one cannot be served.
    pub(crate) fn create(
        transforms: Vec<HostTransform>,
        lifetime: Duration,
    ) -> Result<Option<Self>> {
        if transforms.is_empty() {
            return Ok(None);
        }
        check_distinct(&transforms)?;
        let names: HashSet<&HostName> = transforms.iter().map(|one| &one.name).collect();
        let names: Vec<&HostName> = names.into_iter().collect();
        let authority = Authority::create(&names, lifetime)?;
        let hosts = transforms
            .into_iter()
            .map(|transform| InterceptedHost::new(transform, &authority).map(Arc::new))
            .collect::<Result<_>>()?;
        Ok(Some(Self {
            hosts,
            certificate: authority.pem(),
        }))
    }

    /// Returns the host that a connection is for, if it is intercepted.
    pub(crate) fn find(&self, target: &Target) -> Option<&Arc<InterceptedHost>> {
        self.hosts.iter().find(|host| host.target() == target)
    }

    /// The certificate of the authority, in PEM format.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The variables with placeholders.
    pub(crate) fn list_variables(&self) -> Vec<(String, String)> {
        let placeholders = self.hosts.iter().flat_map(|host| host.placeholders());
        placeholders
            .map(|one| (one.variable().to_owned(), one.text().to_owned()))
            .collect()
    }

    /// Why a request is refused that has a placeholder of another host than the one that it is for.
    pub(crate) fn find_stray(
        &self,
        headers: &HeaderMap,
        own: Option<&Arc<InterceptedHost>>,
    ) -> Option<String> {
        let is_own = |host: &Arc<InterceptedHost>| own.is_some_and(|own| Arc::ptr_eq(own, host));
        let others = self.hosts.iter().filter(|host| !is_own(host));
        for (host, placeholder) in
            others.flat_map(|host| host.placeholders().iter().map(move |one| (host, one)))
        {
            if headers.values().any(|value| placeholder.is_in(value)) {
                return Some(format!(
                    "the placeholder in {} is only for {}, over TLS",
                    placeholder.variable(),
                    host.target()
                ));
            }
        }
        None
    }
}

/// Without the secrets and the placeholders.
impl Debug for Interception {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interception")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// Refuses two transforms for one host, and two variables with one name.
fn check_distinct(transforms: &[HostTransform]) -> Result<()> {
    let mut targets = Vec::new();
    let mut variables = HashSet::new();
    for transform in transforms {
        let target = transform.target();
        if targets.contains(&target) {
            let reason = "there are two for this host; put all headers and placeholders into one";
            return Err(Error::invalid(KIND, target.to_string(), reason));
        }
        for (variable, _) in &transform.placeholders {
            if !variables.insert(variable) {
                let reason = format!("{variable} has a placeholder already");
                return Err(Error::invalid(KIND, target.to_string(), reason));
            }
        }
        targets.push(target);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform(host: &str) -> HostTransform {
        let certified = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        HostTransform::new(host)
            .unwrap()
            .authorities(certified.cert.pem().as_bytes())
            .unwrap()
    }

    fn create(transforms: impl IntoIterator<Item = HostTransform>) -> Result<Option<Interception>> {
        Interception::create(transforms.into_iter().collect(), Duration::from_secs(60))
    }

    #[test]
    fn transforms_are_distinct_and_change_something() {
        assert!(create([]).unwrap().is_none());
        let error = create([transform("a.example")]).unwrap_err().to_string();
        assert!(error.contains("changes nothing"), "{error}");
        let with = |host, variable| transform(host).placeholder(variable, "secret").unwrap();
        let error = create([with("a.example", "A"), with("A.example:443", "B")]).unwrap_err();
        assert!(error.to_string().contains("two for this host"), "{error}");
        let error = create([with("a.example", "A"), with("a.example:8443", "A")]).unwrap_err();
        assert!(
            error.to_string().contains("A has a placeholder already"),
            "{error}"
        );
        let both = create([with("a.example", "A"), with("a.example:8443", "B")])
            .unwrap()
            .unwrap();
        let names: Vec<String> = both
            .list_variables()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["A", "B"]);
        assert!(
            both.find(&Target::parse("a.example:8443", None).unwrap())
                .is_some()
        );
        assert!(
            both.find(&Target::parse("a.example:80", None).unwrap())
                .is_none()
        );
        assert!(!format!("{both:?}").contains("secret"));
    }
}
