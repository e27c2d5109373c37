//! What a proxy would refuse to serve, found before there is one.

use std::time::Duration;

use sandbox_core::{Error, Result};

use super::Proxy;
use crate::{Egress, HostTransform, NamedUpstream};

/// How long certificates would be valid. They are dropped at once.
const LIFETIME: Duration = Duration::from_secs(60);

impl HostTransform {
    /// Checks that these can be served together, and with these upstreams.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if two are for the same host or set the same variable, also if one is an upstream's, if one changes
    /// nothing, or if this machine has no authorities for certificates. As well if the upstreams exclude each other.
    pub fn check_all(transforms: &[Self], upstreams: &[NamedUpstream]) -> Result<()> {
        Proxy::builder(Egress::none())
            .upstreams(upstreams.iter().cloned())?
            .transforms(transforms.iter().cloned(), LIFETIME)
            .map(drop)
    }

    /// Returns the rules with one for each host of these that is not allowed yet. A rule that denies is stronger.
    pub fn add_rules(transforms: &[Self], rules: Egress) -> Egress {
        transforms.iter().fold(rules, |rules, transform| {
            let host = transform.host();
            // The host and port of a transform is always a rule. If it were none, the host would stay refused.
            match Egress::none().allow(&host) {
                Ok(needed) if needed.find_excess(&rules).is_some() => {
                    rules.clone().allow(&host).unwrap_or(rules)
                }
                Ok(_) | Err(_) => rules,
            }
        })
    }

    /// Refuses rules under which a secret that is added to requests protects nothing: whoever may ask every host can ask one that
    /// passes on what the secret gives.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the rule that lets a sandbox reach nearly every host.
    pub fn check_rules(rules: &Egress) -> Result<()> {
        match rules.find_open_rule() {
            None => Ok(()),
            Some(rule) => Err(Error::invalid(
                "egress",
                rules.to_string(),
                format!(
                    "the rule \"{rule}\" lets the sandbox reach nearly every host, and so send what the secrets of transforms give to \
                     any; allow single hosts instead (Egress::none().allow(HOST), --egress none --egress-allow HOST)"
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_excludes_each_other_is_found_before_it_is_served() {
        let certified = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let ca = certified.cert.pem();
        let plain = |host: &str| {
            HostTransform::new(host)
                .unwrap()
                .authorities(ca.as_bytes())
                .unwrap()
        };
        let with = |host: &str| plain(host).placeholder("KEY", "secret").unwrap();
        let upstream = NamedUpstream::new("models", "https://m.example")
            .and_then(|upstream| upstream.authorities(ca.as_bytes()))
            .and_then(|upstream| upstream.key_variable("KEY"))
            .unwrap();
        HostTransform::check_all(&[], &[]).unwrap();
        HostTransform::check_all(
            &[
                with("a.example"),
                plain("b.example").bearer("secret").unwrap(),
            ],
            &[],
        )
        .unwrap();
        for (transforms, upstreams, message) in [
            (vec![plain("a.example")], &[][..], "changes nothing"),
            (
                vec![with("a.example"), with("a.example:443")],
                &[],
                "two for this host",
            ),
            (
                vec![with("a.example"), with("b.example")],
                &[],
                "KEY has a placeholder already",
            ),
            (
                vec![with("a.example")],
                &[upstream],
                "an upstream sets it already",
            ),
        ] {
            let error = HostTransform::check_all(&transforms, upstreams)
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn only_hosts_that_are_not_allowed_get_rules() {
        let hosts = ["a.example", "b.example:8443"].map(|host| HostTransform::new(host).unwrap());
        for (rules, expected) in [
            ("none", "none +a.example:443 +b.example:8443"),
            ("none +*.example:443", "none +*.example:443 +b.example:8443"),
            ("open", "open"),
        ] {
            let all = HostTransform::add_rules(&hosts, rules.parse().unwrap());
            assert_eq!(all.to_string(), expected);
        }
    }

    #[test]
    fn rules_are_closed_by_default() {
        for (rules, open) in [
            ("none", None),
            ("packages +a.example -b.example", None),
            ("internet", Some("*")),
            ("none +*:443", Some("*:443")),
            ("internet within none +a.example", None),
        ] {
            let checked = HostTransform::check_rules(&rules.parse().unwrap());
            match open {
                None => checked.unwrap(),
                Some(rule) => {
                    let error = checked.unwrap_err().to_string();
                    assert!(error.contains(&format!("the rule \"{rule}")), "{error}");
                }
            }
        }
    }
}
