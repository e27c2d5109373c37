//! What templates allow.

use std::collections::BTreeMap;
use std::sync::Arc;

use sandbox::{Client, Egress, HostTransform, NamedUpstream, SandboxBuilder};

use super::narrowing::narrow;
use crate::config::{GatewayConfig, Template, TemplatePool};
use crate::error::GatewayError;
use crate::sandboxes::record::EgressWish;

/// What one sandbox may reach.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// `None`: whatever the network of the sandbox reaches.
    pub(crate) rules: Option<Egress>,
    /// Those of its template. The rules may deny them: rules can be replaced later, and upstreams cannot.
    pub(crate) upstreams: Arc<[NamedUpstream]>,
    /// The same, of hosts that are intercepted.
    pub(crate) transforms: Arc<[HostTransform]>,
    /// Whether the rules deny all upstreams.
    pub(super) denies_upstreams: bool,
}

impl Reach {
    /// Allows nothing.
    pub(crate) fn nothing() -> Self {
        Self::new(Some(Egress::none()), [].into(), [].into())
    }

    pub(super) fn new(
        rules: Option<Egress>,
        upstreams: Arc<[NamedUpstream]>,
        transforms: Arc<[HostTransform]>,
    ) -> Self {
        Self {
            rules,
            upstreams,
            transforms,
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
    ///
    /// # Errors
    ///
    /// Which templates have upstreams or transforms and no rules, so that no proxy would serve them.
    pub(crate) fn new(config: &GatewayConfig, client: &Client) -> Result<Self, GatewayError> {
        let has_network = client.capabilities().network;
        let of_settings = client.sandbox().egress_rules().cloned();
        let mistakes: Vec<_> = config
            .templates
            .iter()
            .filter(|(_, template)| of_settings.is_none() && has_unserved_secrets(template))
            .map(|(name, _)| {
                format!(
                    "templates.{name}: its upstreams and transforms are served with egress rules, and its sandboxes have the \
                     network of their backend instead; set egress, or leave them out"
                )
            })
            .collect();
        if !mistakes.is_empty() {
            return Err(GatewayError::Config(mistakes));
        }
        let templates = config.templates.iter().map(|(name, template)| {
            let unset = match &of_settings {
                // Where there is no network, the word for it allows nothing.
                None if has_network && has_no_rules(template) => None,
                None => Some(Egress::none()),
                Some(rules) => Some(rules.clone()),
            };
            let rules = template.egress.clone().or(unset);
            // Hosts with a transform need theirs also among the rules that replace these later.
            let rules = rules.map(|rules| HostTransform::add_rules(&template.transforms, rules));
            let upstreams = template.upstreams.clone().into();
            let transforms = template.transforms.clone().into();
            (name.clone(), Reach::new(rules, upstreams, transforms))
        });
        Ok(Self {
            templates: templates.collect(),
            has_network,
        })
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

    /// Adds rules, upstreams and transforms to the description of a sandbox. Where there is no network, nothing needs no proxy.
    pub(crate) fn apply(&self, sandbox: SandboxBuilder, reach: &Reach) -> SandboxBuilder {
        let Some(rules) = &reach.rules else {
            return sandbox;
        };
        if reach.is_nothing() && !self.has_network && sandbox.egress_rules().is_none() {
            return sandbox;
        }
        let upstreams = reach.upstreams.iter().cloned();
        let sandbox = upstreams.fold(sandbox.egress(rules.clone()), SandboxBuilder::upstream);
        let transforms = reach.transforms.iter().cloned();
        transforms.fold(sandbox, SandboxBuilder::host_transform)
    }
}

/// Whether a template's sandboxes have the network of their backend, unless the settings of the client say otherwise.
fn has_no_rules(template: &Template) -> bool {
    let is_shared = matches!(template.pool, Some(TemplatePool::Shared { .. }));
    template.egress.is_none() && (template.backend_network || is_shared)
}

fn has_unserved_secrets(template: &Template) -> bool {
    let has_secrets = !template.upstreams.is_empty() || !template.transforms.is_empty();
    has_secrets && has_no_rules(template)
}
