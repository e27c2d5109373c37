//! What templates allow, and what is left of it after a caller's wish. Decided without I/O.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sandbox::{Client, Egress, SandboxBuilder};

use crate::config::GatewayConfig;
use crate::sandboxes::record::EgressWish;

/// What E2B's SDKs deny to deny everything, names included.
const ALL_TRAFFIC: &str = "0.0.0.0/0";
/// The greatest number of hosts in one list of a wish.
const MAX_HOSTS: usize = 256;

/// What the sandboxes of templates may reach at most.
#[derive(Debug)]
pub(crate) struct EgressLimits {
    /// By the name of the template. `None`: whatever the network of the sandbox reaches.
    templates: BTreeMap<String, Option<Egress>>,
    /// Whether sandboxes have a network of their own.
    has_network: bool,
}

impl EgressLimits {
    /// Reads what the templates allow. One that says nothing allows what the settings of the client say, or else nothing,
    /// where sandboxes have no network of their own.
    pub(crate) fn new(config: &GatewayConfig, client: &Client) -> Self {
        let has_network = client.capabilities().network;
        let unset = client.sandbox().egress_rules().cloned();
        let unset = unset.or_else(|| (!has_network).then(Egress::none));
        let templates = config.templates.iter().map(|(name, template)| {
            let rules = template.egress.clone().or_else(|| unset.clone());
            (name.clone(), rules)
        });
        Self {
            templates: templates.collect(),
            has_network,
        }
    }

    /// What a template allows. One that the configuration no longer has allows nothing.
    pub(crate) fn find(&self, template: &str) -> Option<Egress> {
        match self.templates.get(template) {
            Some(rules) => rules.clone(),
            None => Some(Egress::none()),
        }
    }

    /// Whether sandboxes have a network of their own, which rules have to be enforced against.
    pub(crate) fn has_network(&self) -> bool {
        self.has_network
    }

    /// What is left of a template's rules after a wish. `None`: whatever the network of the sandbox reaches.
    ///
    /// # Errors
    ///
    /// Which field cannot be kept, and why.
    pub(crate) fn narrow(
        &self,
        template: &str,
        wish: &EgressWish,
    ) -> Result<Option<Egress>, String> {
        narrow(self.find(template), wish)
    }

    /// Adds rules to the description of a sandbox. Where there is no network, rules that allow nothing need no proxy.
    pub(crate) fn apply(&self, sandbox: SandboxBuilder, rules: Option<&Egress>) -> SandboxBuilder {
        match rules {
            None => sandbox,
            Some(rules)
                if rules.is_none() && !self.has_network && sandbox.egress_rules().is_none() =>
            {
                sandbox
            }
            Some(rules) => sandbox.egress(rules.clone()),
        }
    }
}

/// E2B allows what is not denied, and lets `allowOut` win over `denyOut`. Here a rule that denies wins, so what is allowed
/// can be listed only where everything else is denied.
fn narrow(limit: Option<Egress>, wish: &EgressWish) -> Result<Option<Egress>, String> {
    let allow = wish.allow_out.as_deref().unwrap_or_default();
    let deny = wish.deny_out.as_deref().unwrap_or_default();
    if !wish.is_narrowing() {
        return Ok(limit);
    }
    for (field, list) in [("allowOut", allow), ("denyOut", deny)] {
        if list.len() > MAX_HOSTS {
            return Err(format!("network.{field} has more than {MAX_HOSTS} entries"));
        }
    }
    let limit = limit.unwrap_or_else(Egress::open);
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
        return Ok(Some(rules.within(limit)));
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
    Ok(Some(rules))
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

    fn narrowed(limit: &str, wish: &EgressWish) -> Result<String, String> {
        let rules = narrow(Some(limit.parse().unwrap()), wish)?;
        Ok(rules.map(|rules| rules.to_string()).unwrap_or_default())
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
        assert_eq!(narrow(None, &wish(Some(true), &[], &[])).unwrap(), None);
        let denied = narrow(None, &wish(Some(false), &[], &[])).unwrap().unwrap();
        assert!(denied.is_none());
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
