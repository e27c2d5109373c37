//! What templates allow, and what is left of it after a caller's wish. Decided without I/O.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use sandbox::{Client, Egress, Error, NamedUpstream, SandboxBuilder};

use crate::config::{GatewayConfig, TemplatePool};
use crate::sandboxes::record::EgressWish;

/// What E2B's SDKs deny to deny everything, names included.
const ALL_TRAFFIC: &str = "0.0.0.0/0";
/// The greatest number of hosts in one list of a wish.
const MAX_HOSTS: usize = 256;

/// What one sandbox may reach.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// `None`: whatever the network of the sandbox reaches.
    pub(crate) rules: Option<Egress>,
    /// Those of its template. The rules may deny them: rules can be replaced later, and upstreams cannot.
    pub(crate) upstreams: Arc<[NamedUpstream]>,
    /// Whether the rules deny all upstreams.
    denies_upstreams: bool,
}

impl Reach {
    /// Allows nothing.
    pub(crate) fn nothing() -> Self {
        Self::new(Some(Egress::none()), [].into())
    }

    fn new(rules: Option<Egress>, upstreams: Arc<[NamedUpstream]>) -> Self {
        Self {
            rules,
            upstreams,
            denies_upstreams: false,
        }
    }

    /// Whether nothing can be reached.
    pub(crate) fn is_nothing(&self) -> bool {
        let has_upstreams = !self.upstreams.is_empty() && !self.denies_upstreams;
        self.rules.as_ref().is_some_and(Egress::is_none) && !has_upstreams
    }
}

/// What the sandboxes of templates may reach at most.
#[derive(Debug)]
pub(crate) struct EgressLimits {
    /// By the name of the template.
    templates: BTreeMap<String, Reach>,
    /// Whether sandboxes have a network of their own.
    has_network: bool,
}

impl EgressLimits {
    /// Reads what the templates allow. One that says nothing allows what the settings of the client say, or else nothing.
    /// What the sandboxes of a shared pool reach was decided by whoever fills it.
    pub(crate) fn new(config: &GatewayConfig, client: &Client) -> Self {
        let has_network = client.capabilities().network;
        let of_settings = client.sandbox().egress_rules().cloned();
        let templates = config.templates.iter().map(|(name, template)| {
            let is_shared = matches!(template.pool, Some(TemplatePool::Shared { .. }));
            let unset = match &of_settings {
                // Where there is no network, the word for it allows nothing.
                None if has_network && (template.backend_network || is_shared) => None,
                None => Some(Egress::none()),
                Some(rules) => Some(rules.clone()),
            };
            let rules = template.egress.clone().or(unset);
            let upstreams = template.upstreams.clone().into();
            (name.clone(), Reach::new(rules, upstreams))
        });
        Self {
            templates: templates.collect(),
            has_network,
        }
    }

    /// What a template allows. One that the configuration no longer has allows nothing.
    pub(crate) fn find(&self, template: &str) -> Reach {
        let found = self.templates.get(template);
        found.cloned().unwrap_or_else(Reach::nothing)
    }

    /// Whether sandboxes have a network of their own, which rules have to be enforced against.
    pub(crate) fn has_network(&self) -> bool {
        self.has_network
    }

    /// What is left of what a template allows after a wish.
    ///
    /// # Errors
    ///
    /// Which field cannot be kept, and why.
    pub(crate) fn narrow(&self, template: &str, wish: &EgressWish) -> Result<Reach, String> {
        narrow(self.find(template), wish)
    }

    /// Adds rules and upstreams to the description of a sandbox. Where there is no network, nothing needs no proxy.
    pub(crate) fn apply(&self, sandbox: SandboxBuilder, reach: &Reach) -> SandboxBuilder {
        let Some(rules) = &reach.rules else {
            return sandbox;
        };
        if reach.is_nothing() && !self.has_network && sandbox.egress_rules().is_none() {
            return sandbox;
        }
        let upstreams = reach.upstreams.iter().cloned();
        upstreams.fold(sandbox.egress(rules.clone()), SandboxBuilder::upstream)
    }
}

/// E2B allows what is not denied, and lets `allowOut` win over `denyOut`. Here a rule that denies wins, so what is allowed
/// can be listed only where everything else is denied. Then upstreams are denied as well, unless they are listed.
fn narrow(template: Reach, wish: &EgressWish) -> Result<Reach, String> {
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
    let upstreams = template.upstreams;
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
        let mut denies_upstreams = true;
        for upstream in upstreams.iter() {
            let place = upstream.authority();
            let invalid = |error: Error| format!("the upstream {}: {error}", upstream.name());
            let as_rule = Egress::none().allow(&place).map_err(invalid)?;
            if as_rule.find_excess(&listed).is_some() {
                rules = rules.deny(&place).map_err(invalid)?;
            } else {
                denies_upstreams = false;
            }
        }
        return Ok(Reach {
            rules: Some(rules.within(limit)),
            upstreams,
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
    Ok(Reach::new(Some(rules), upstreams))
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
        Reach::new(rules, upstreams.collect())
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
