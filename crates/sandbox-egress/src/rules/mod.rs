//! What a sandbox may reach, decided without I/O.

pub(crate) mod name;
mod presets;
mod refusal;
mod rule;
mod special;

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use sandbox_core::{Error, Result};

use name::HostName;
pub(crate) use refusal::Refusal;
use rule::{Action, Rule};

pub use presets::PRESETS;

/// Rules about what a sandbox may reach. What no rule allows is refused, and a rule that denies is stronger than one that
/// allows.
///
/// | rule | is about |
/// |---|---|
/// | `example.com` | this name alone |
/// | `*.example.com` | every name below it, and not `example.com` itself |
/// | `*` | every name |
/// | `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32` | these addresses |
///
/// `:PORT` or `:*` at its end says for which port (`[2001:db8::/32]:443`). Without one, a rule allows ports 80 and 443, and
/// denies every port.
///
/// Names are resolved at the client's end, and only if a rule about names allows them. Then each address is checked:
///
/// * An address in a denied network is refused.
/// * An address that is not of the public internet (private, loopback, link-local, metadata services and so on) is refused
///   unless a rule allows a network that is part of that special one: `10.0.0.0/8` and `10.1.0.0/16` allow private
///   addresses, `0.0.0.0/0` does not.
/// * A connection to an address that has no name needs a rule that allows its network.
///
/// ```
/// use sandbox_egress::Egress;
///
/// # fn main() -> sandbox_core::Result<()> {
/// let internal = Egress::none().allow("git.corp.example:443")?.allow("10.0.0.0/8")?;
/// let careful = Egress::internet().deny("*.example.net")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    preset: &'static str,
    /// How many of the allowing rules are from the preset.
    from_preset: usize,
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    /// What these refuse is refused, whatever the rules here allow.
    limit: Option<Box<Self>>,
}

impl Egress {
    /// Allows nothing.
    pub fn none() -> Self {
        Self::from_rules("none", &[])
    }

    /// Allows the indexes of packages that people use, on ports 80 and 443: PyPI, npm, crates.io, Go, RubyGems, Maven
    /// Central, Debian, Ubuntu and Alpine. GitHub is not among them, because everybody can store data there.
    pub fn packages() -> Self {
        Self::preset_or_none("packages")
    }

    /// Allows every name with a public address, on ports 80 and 443.
    pub fn internet() -> Self {
        Self::preset_or_none("internet")
    }

    /// Allows every name and every public or private address, on every port. Loopback and link-local addresses of the
    /// client's machine, metadata services of clouds and the cluster's API server are refused all the same.
    pub fn open() -> Self {
        Self::preset_or_none("open")
    }

    /// Returns a preset by its name, one of [`PRESETS`].
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the names that there are.
    pub fn from_preset(name: &str) -> Result<Self> {
        match presets::find_preset(name) {
            Some((name, rules)) => Ok(Self::from_rules(name, rules)),
            None => {
                let reason = format!("there are {}", PRESETS.join(", "));
                Err(Error::invalid("egress preset", name, reason))
            }
        }
    }

    /// Adds a rule that allows.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is no rule.
    pub fn allow(mut self, rule: &str) -> Result<Self> {
        self.allow.push(Rule::parse(rule)?);
        Ok(self)
    }

    /// Adds a rule that denies.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is no rule.
    pub fn deny(mut self, rule: &str) -> Result<Self> {
        self.deny.push(Rule::parse(rule)?);
        Ok(self)
    }

    /// Keeps these rules within others: what `limit` refuses is refused, too. So rules of a less trusted origin can only
    /// narrow what is allowed.
    ///
    /// ```
    /// use sandbox_egress::Egress;
    ///
    /// # fn main() -> sandbox_core::Result<()> {
    /// let wish = Egress::none().allow("pypi.org")?.allow("example.com")?;
    /// let rules = wish.within(Egress::packages());
    /// assert_eq!(rules.to_string(), "none +pypi.org +example.com within packages");
    /// # Ok(())
    /// # }
    /// ```
    pub fn within(mut self, limit: Self) -> Self {
        self.limit = Some(match self.limit {
            Some(former) => Box::new(former.within(limit)),
            None => Box::new(limit),
        });
        self
    }

    /// Returns the first allowing rule here that other rules do not allow as a whole, as it was written. Denying rules are
    /// not considered.
    pub fn find_excess(&self, limit: &Self) -> Option<&str> {
        let exceeds = |rule: &&Rule| !limit.allow_whole(rule);
        self.allow
            .iter()
            .find(exceeds)
            .map(|rule| rule.text.as_str())
    }

    fn allow_whole(&self, rule: &Rule) -> bool {
        let is_allowed = rule.parts().iter().all(|part| {
            let covers = |own: &Rule| own.covers(part);
            self.allow.iter().any(covers)
        });
        is_allowed
            && self
                .limit
                .as_ref()
                .is_none_or(|limit| limit.allow_whole(rule))
    }

    /// Whether no rule allows anything.
    pub fn is_none(&self) -> bool {
        self.allow.is_empty() || self.limit.as_ref().is_some_and(|limit| limit.is_none())
    }

    /// Returns the first allowing rule that makes the rules allow nearly everything, as it was written: `*`, or most of the
    /// addresses that there are.
    pub(crate) fn find_open_rule(&self) -> Option<&str> {
        if let Some(limit) = &self.limit {
            limit.find_open_rule()?;
        }
        let found = self.allow.iter().find(|rule| rule.is_open());
        found.map(|rule| rule.text.as_str())
    }

    fn preset_or_none(name: &str) -> Self {
        Self::from_preset(name).unwrap_or_else(|_| Self::none())
    }

    /// A rule that cannot be read is left out: a test reads all of them.
    fn from_rules(preset: &'static str, rules: &[&str]) -> Self {
        let allow: Vec<Rule> = rules
            .iter()
            .filter_map(|rule| Rule::parse(rule).ok())
            .collect();
        Self {
            preset,
            from_preset: allow.len(),
            allow,
            deny: Vec::new(),
            limit: None,
        }
    }

    /// Decides about a name. Its addresses have to be checked as well.
    pub(crate) fn check_name(&self, name: &HostName, port: u16) -> Result<Arc<str>, Refusal> {
        if let Some(limit) = &self.limit {
            limit.check_name(name, port)?;
        }
        if let Some(rule) = self.find_denying(|rule, action| rule.matches_name(action, name, port))
        {
            return Err(Refusal::denied(rule));
        }
        self.find_allowing(|rule, action| rule.matches_name(action, name, port))
            .ok_or_else(|| Refusal::not_allowed(self.preset))
    }

    /// Decides about the name of an upstream, which needs no rule that allows it. Its addresses have to be checked as well.
    pub(crate) fn check_upstream(&self, name: &HostName, port: u16) -> Result<(), Refusal> {
        if let Some(limit) = &self.limit {
            limit.check_upstream(name, port)?;
        }
        match self.find_denying(|rule, action| rule.matches_name(action, name, port)) {
            Some(rule) => Err(Refusal::denied(rule)),
            None => Ok(()),
        }
    }

    /// Whether a name is refused only because no rule is about it.
    pub(crate) fn is_undecided(&self, name: &HostName, port: u16) -> bool {
        let is_about = |rule: &Rule, action| rule.matches_name(action, name, port);
        let is_within_limit = match &self.limit {
            Some(limit) => limit.check_name(name, port).is_ok(),
            None => true,
        };
        is_within_limit
            && self.find_denying(is_about).is_none()
            && self.find_allowing(is_about).is_none()
    }

    /// Decides about an address that a name led to. `refused` are further addresses that only a rule of their own allows.
    pub(crate) fn check_resolved(
        &self,
        address: IpAddr,
        port: u16,
        refused: &[IpAddr],
    ) -> Result<(), Refusal> {
        if let Some(limit) = &self.limit {
            limit.check_resolved(address, port, refused)?;
        }
        let address = address.to_canonical();
        if let Some(rule) =
            self.find_denying(|rule, action| rule.matches_address(action, address, port))
        {
            return Err(Refusal::denied(rule));
        }
        let special = if refused.iter().any(|one| one.to_canonical() == address) {
            Some((address.into(), "an address of the cluster's control plane"))
        } else {
            special::find_special_network(address).map(|special| (special.network, special.kind))
        };
        if let Some((network, kind)) = special {
            let named = |rule: &Rule, action| {
                rule.is_within(&network) && rule.matches_address(action, address, port)
            };
            if self.find_allowing(named).is_none() {
                return Err(Refusal::special(address, kind));
            }
        }
        match special::embedded_address(address) {
            Some(embedded) => self.check_resolved(embedded, port, refused),
            None => Ok(()),
        }
    }

    /// Decides about an address that the sandbox named itself.
    pub(crate) fn check_literal(
        &self,
        address: IpAddr,
        port: u16,
        refused: &[IpAddr],
    ) -> Result<Arc<str>, Refusal> {
        if let Some(limit) = &self.limit {
            limit.check_literal(address, port, refused)?;
        }
        let address = address.to_canonical();
        self.check_resolved(address, port, refused)?;
        self.find_allowing(|rule, action| rule.matches_address(action, address, port))
            .ok_or_else(|| Refusal::not_allowed(self.preset))
    }

    fn find_denying(&self, matches: impl Fn(&Rule, Action) -> bool) -> Option<Arc<str>> {
        let found = self.deny.iter().find(|rule| matches(rule, Action::Deny));
        found.map(|rule| format!("deny {}", rule.text).into())
    }

    /// Rules of the user come first, because they say more than a preset's.
    fn find_allowing(&self, matches: impl Fn(&Rule, Action) -> bool) -> Option<Arc<str>> {
        let (preset, own) = self.allow.split_at(self.from_preset);
        if let Some(rule) = own.iter().find(|rule| matches(rule, Action::Allow)) {
            return Some(format!("allow {}", rule.text).into());
        }
        let found = preset.iter().find(|rule| matches(rule, Action::Allow));
        found.map(|rule| format!("{}: allow {}", self.preset, rule.text).into())
    }
}

/// As the arguments of the command are written: the preset, then `+RULE` and `-RULE`, then `within` and the rules that limit
/// them.
impl Display for Egress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.preset)?;
        for rule in &self.allow[self.from_preset..] {
            write!(f, " +{}", rule.text)?;
        }
        for rule in &self.deny {
            write!(f, " -{}", rule.text)?;
        }
        match &self.limit {
            Some(limit) => write!(f, " within {limit}"),
            None => Ok(()),
        }
    }
}

/// Reads what `Display` writes: a preset, then `+RULE` and `-RULE`, with white space or commas between them.
impl FromStr for Egress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|word| !word.is_empty());
        let mut egress = Self::from_preset(words.next().unwrap_or_default())?;
        while let Some(word) = words.next() {
            if word == "within" {
                let limit: Vec<&str> = words.collect();
                return Ok(egress.within(limit.join(" ").parse()?));
            }
            egress = match (word.strip_prefix('+'), word.strip_prefix('-')) {
                (Some(rule), _) => egress.allow(rule)?,
                (None, Some(rule)) => egress.deny(rule)?,
                (None, None) => {
                    let reason = "write +RULE to allow and -RULE to deny, after a preset";
                    return Err(Error::invalid("egress", text, reason));
                }
            };
        }
        Ok(egress)
    }
}

#[cfg(test)]
mod tests;
