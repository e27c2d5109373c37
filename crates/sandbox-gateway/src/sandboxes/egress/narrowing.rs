//! What is left of what a template allows after a caller's wish. Decided without I/O.

use std::net::IpAddr;

use sandbox::{Egress, Error};

use super::Reach;
use crate::sandboxes::record::EgressWish;

/// What E2B's SDKs deny to deny everything, names included.
const ALL_TRAFFIC: &str = "0.0.0.0/0";
/// The greatest number of hosts in one list of a wish.
const MAX_HOSTS: usize = 256;

/// E2B allows what is not denied, and lets `allowOut` win over `denyOut`. Here a rule that denies wins, so what is allowed
/// can be listed only where everything else is denied. Then upstreams and hosts with a transform are denied as well, unless they
/// are listed: by a rule, because serving them adds one that allows.
pub(super) fn narrow(template: Reach, wish: &EgressWish) -> Result<Reach, String> {
    let allow = wish.allow_out.as_deref().unwrap_or_default();
    let deny = wish.deny_out.as_deref().unwrap_or_default();
    if !wish.is_narrowing() {
        return Ok(template);
    }
    for (field, list) in [("allowOut", allow), ("denyOut", deny)] {
        if list.len() > MAX_HOSTS {
            return Err(format!("network.{field} has more than {MAX_HOSTS} entries"));
        }
    }
    let limit = template.rules.unwrap_or_else(Egress::open);
    let (upstreams, transforms) = (template.upstreams, template.transforms);
    let denies_all =
        wish.allow_internet_access == Some(false) || deny.iter().any(|host| host == ALL_TRAFFIC);
    if denies_all {
        let mut rules = Egress::none();
        for host in allow {
            rules = rules
                .allow(&for_all_ports(host))
                .map_err(|error| format!("network.allowOut: {error}"))?;
        }
        if let Some(excess) = rules.find_excess(&limit) {
            return Err(format!(
                "network.allowOut: {excess:?} is more than the template allows ({limit}); leave it out, or ask the \
                 operator of this server to allow it (egress)"
            ));
        }
        let listed = rules.clone();
        let is_listed = |place: &str| {
            let as_rule = Egress::none().allow(place)?;
            Ok(as_rule.find_excess(&listed).is_none())
        };
        let mut denies_upstreams = true;
        for upstream in upstreams.iter() {
            let place = upstream.authority();
            let invalid = |error: Error| format!("the upstream {}: {error}", upstream.name());
            if is_listed(&place).map_err(invalid)? {
                denies_upstreams = false;
            } else {
                rules = rules.deny(&place).map_err(invalid)?;
            }
        }
        for transform in transforms.iter() {
            let host = transform.host();
            let invalid = |error: Error| format!("the transform of {host}: {error}");
            if !is_listed(&host).map_err(invalid)? {
                rules = rules.deny(&host).map_err(invalid)?;
            }
        }
        return Ok(Reach {
            rules: Some(rules.within(limit)),
            upstreams,
            transforms,
            denies_upstreams,
        });
    }
    if !allow.is_empty() {
        return Err(format!(
            "network.allowOut is not supported by this server without network.denyOut [\"{ALL_TRAFFIC}\"]: what is not \
             denied is allowed already, and what is denied cannot be allowed again"
        ));
    }
    let mut rules = limit;
    for host in deny {
        rules = rules
            .deny(host)
            .map_err(|error| format!("network.denyOut: {error}"))?;
    }
    Ok(Reach::new(Some(rules), upstreams, transforms))
}

/// E2B's rules about addresses are for all ports; those about names for the ports of HTTP and HTTPS, as here.
fn for_all_ports(host: &str) -> String {
    let (address, prefix) = host.split_once('/').unwrap_or((host, ""));
    match address.parse() {
        // It says for which port.
        _ if prefix.contains(':') => host.to_owned(),
        Ok(IpAddr::V4(_)) => format!("{host}:*"),
        Ok(IpAddr::V6(_)) => format!("[{host}]:*"),
        Err(_name) => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use sandbox::{HostTransform, NamedUpstream};

    use super::*;

    fn wish(access: Option<bool>, allow: &[&str], deny: &[&str]) -> EgressWish {
        let list = |hosts: &[&str]| Some(hosts.iter().map(|host| (*host).to_owned()).collect());
        EgressWish {
            allow_internet_access: access,
            allow_out: list(allow),
            deny_out: list(deny),
            version: 0,
        }
    }

    fn template(limit: Option<&str>, upstreams: &[&str]) -> Reach {
        let rules = limit.map(|limit| limit.parse().unwrap());
        let upstreams = upstreams
            .iter()
            .map(|base| NamedUpstream::new("api", base).unwrap());
        Reach::new(rules, upstreams.collect(), [].into())
    }

    fn narrowed(limit: &str, wish: &EgressWish) -> Result<String, String> {
        let reach = narrow(template(Some(limit), &[]), wish)?;
        Ok(reach
            .rules
            .map(|rules| rules.to_string())
            .unwrap_or_default())
    }

    #[test]
    fn a_wish_narrows_what_the_template_allows() {
        for (limit, wish, rules) in [
            ("packages", wish(None, &[], &[]), "packages"),
            ("packages", wish(Some(true), &[], &[]), "packages"),
            (
                "packages",
                wish(Some(false), &[], &[]),
                "none within packages",
            ),
            (
                "packages",
                wish(None, &[], &["0.0.0.0/0"]),
                "none within packages",
            ),
            (
                "internet",
                wish(None, &[], &["1.1.1.0/24", "a.example"]),
                "internet -1.1.1.0/24 -a.example",
            ),
            (
                "internet",
                wish(
                    None,
                    &["a.example", "*.b.example"],
                    &["0.0.0.0/0", "1.1.1.1"],
                ),
                "none +a.example +*.b.example within internet",
            ),
            (
                "open",
                wish(
                    Some(false),
                    &["1.1.1.1", "2001:db8::/32", "10.0.0.0/8:443"],
                    &[],
                ),
                "none +1.1.1.1:* +[2001:db8::/32]:* +10.0.0.0/8:443 within open",
            ),
        ] {
            assert_eq!(narrowed(limit, &wish).unwrap(), rules);
        }
        // Without rules of the operator, as where sandboxes have a network of their own.
        let open = narrow(template(None, &[]), &wish(Some(true), &[], &[])).unwrap();
        assert!(open.rules.is_none() && !open.is_nothing());
        let denied = narrow(template(None, &[]), &wish(Some(false), &[], &[])).unwrap();
        assert!(denied.is_nothing());
    }

    #[test]
    fn who_denies_everything_denies_upstreams_that_are_not_listed() {
        for (limit, wish, rules, is_nothing) in [
            ("none", wish(None, &[], &[]), "none", false),
            (
                "none",
                wish(None, &[], &["b.example"]),
                "none -b.example",
                false,
            ),
            (
                "none",
                wish(Some(false), &[], &[]),
                "none -api.example:8443 within none",
                true,
            ),
            (
                "internet",
                wish(Some(false), &["a.example"], &[]),
                "none +a.example -api.example:8443 within internet",
                false,
            ),
            (
                "none +*.example:8443",
                wish(None, &["api.example:8443"], &["0.0.0.0/0"]),
                "none +api.example:8443 within none +*.example:8443",
                false,
            ),
        ] {
            let template = template(Some(limit), &["https://api.example:8443/v1"]);
            let reach = narrow(template, &wish).unwrap();
            assert_eq!(reach.rules.as_ref().unwrap().to_string(), rules);
            assert_eq!(reach.is_nothing(), is_nothing, "{rules}");
            // They can be allowed again later.
            assert_eq!(reach.upstreams.len(), 1);
        }
    }

    #[test]
    fn who_denies_everything_denies_hosts_with_a_transform_that_are_not_listed() {
        let transform = HostTransform::new("api.example:8443").unwrap();
        let transforms = [transform.bearer("secret").unwrap()];
        for (wish, rules, is_nothing) in [
            (wish(None, &[], &[]), "none +api.example:8443", false),
            (
                wish(None, &[], &["api.example"]),
                "none +api.example:8443 -api.example",
                false,
            ),
            (
                wish(Some(false), &[], &[]),
                "none -api.example:8443 within none +api.example:8443",
                true,
            ),
            (
                wish(Some(false), &["api.example:8443"], &[]),
                "none +api.example:8443 within none +api.example:8443",
                false,
            ),
        ] {
            let limit = HostTransform::add_rules(&transforms, Egress::none());
            let template = Reach::new(Some(limit), [].into(), transforms.to_vec().into());
            let reach = narrow(template, &wish).unwrap();
            assert_eq!(reach.rules.as_ref().unwrap().to_string(), rules);
            assert_eq!(reach.is_nothing(), is_nothing, "{rules}");
            // They can be allowed again later.
            assert_eq!(reach.transforms.len(), 1);
        }
    }

    #[test]
    fn a_wish_that_cannot_be_kept_is_refused_by_name() {
        let many: Vec<&str> = vec!["a.example"; MAX_HOSTS + 1];
        for (limit, wish, part) in [
            (
                "packages",
                wish(Some(false), &["a.example"], &[]),
                "\"a.example\" is more than the template allows (packages)",
            ),
            (
                "internet",
                wish(Some(false), &["1.1.1.1"], &[]),
                "\"1.1.1.1:*\" is more",
            ),
            (
                "none",
                wish(Some(false), &["*"], &[]),
                "more than the template allows (none)",
            ),
            (
                "internet",
                wish(None, &["a.example"], &[]),
                "without network.denyOut",
            ),
            (
                "internet",
                wish(None, &["1.1.1.1"], &["1.1.1.0/24"]),
                "without network.denyOut",
            ),
            (
                "internet",
                wish(None, &[], &["10.0.0.1/8"]),
                "write 10.0.0.0/8",
            ),
            (
                "internet",
                wish(Some(false), &["https://a.example"], &[]),
                "network.allowOut: ",
            ),
            ("internet", wish(Some(false), &many, &[]), "more than 256"),
        ] {
            let refused = narrowed(limit, &wish).unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
    }
}
