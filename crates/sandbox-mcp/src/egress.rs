//! What sandboxes may reach: the choice of the operator, and its description for a model.

use sandbox::{Client, Egress, HostTransform, NamedUpstream};

use crate::config::McpConfig;
use crate::error::McpError;

const NO_NETWORK: &str = " There is no network; only the operator of this server can change that.";

/// Chooses the rules to be served: what the operator says, else the settings of the client, else none at all. Where sandboxes
/// have no network, nothing needs no proxy.
///
/// # Errors
///
/// If the backend cannot enforce the rules, or if upstreams, transforms or rules exclude each other.
pub(crate) fn choose_egress(
    client: &Client,
    config: &McpConfig,
) -> Result<Option<Egress>, McpError> {
    let invalid = |reason: String| McpError::Config {
        option: "the egress",
        reason,
    };
    let refused = |error: sandbox::Error| invalid(error.to_string());
    let (upstreams, transforms) = (&config.upstreams, &config.transforms);
    NamedUpstream::check_all(upstreams).map_err(refused)?;
    HostTransform::check_all(transforms, upstreams).map_err(refused)?;
    let has_credentials = !upstreams.is_empty() || !transforms.is_empty();
    let capabilities = client.capabilities();
    let of_settings = || client.sandbox().egress_rules().cloned();
    let chosen = config.egress.clone().or_else(of_settings);
    if config.backend_network && (chosen.is_some() || has_credentials) {
        let reason = "there are rules, upstreams or transforms, which do not apply to sandboxes with the network of the backend; \
                      leave out one of the two";
        return Err(invalid(reason.to_owned()));
    }
    let is_default = chosen.is_none() && !has_credentials;
    if is_default && (config.backend_network || !capabilities.network) {
        return Ok(None);
    }
    if capabilities.network && !capabilities.network_isolation && !config.unverified_egress {
        return Err(invalid(format!(
            "the backend {} cannot keep sandboxes from its network; use one that can, or let them have that network \
             (--egress-backend)",
            client.backend_name()
        )));
    }
    let rules = chosen.unwrap_or_else(Egress::none);
    if let Some(transform) = transforms.first() {
        HostTransform::check_rules(&rules).map_err(refused)?;
        if config.unverified_egress {
            return Err(invalid(format!(
                "sandboxes that can reach more than the rules allow could send what the secret of {} gives to any host; leave out \
                 the transform, or that they are accepted (--egress-unverified)",
                transform.host()
            )));
        }
    }
    Ok(Some(HostTransform::add_rules(transforms, rules)))
}

/// Says to a model what commands reach, if that is known. `rules` are those that are served.
pub(crate) fn describe_egress(
    rules: Option<&Egress>,
    config: &McpConfig,
    has_network: bool,
) -> String {
    let upstreams = describe_upstreams(&config.upstreams);
    match rules {
        Some(rules) if !rules.is_none() => format!(
            " Programs that use the proxy in HTTPS_PROXY and HTTP_PROXY reach what these rules allow: {rules}. The rest \
             is refused with the status 403; only the operator of this server can change that.{upstreams}{}",
            describe_transforms(&config.transforms)
        ),
        Some(_) if !upstreams.is_empty() => format!(
            "{upstreams} Nothing else can be reached; only the operator of this server can change that."
        ),
        Some(_) => NO_NETWORK.to_owned(),
        None if !has_network => NO_NETWORK.to_owned(),
        None => String::new(),
    }
}

/// The description of upstreams for a model. Their names are plain words.
fn describe_upstreams(upstreams: &[NamedUpstream]) -> String {
    if upstreams.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = upstreams.iter().map(NamedUpstream::name).collect();
    format!(
        " Programs reach these services by environment variables that are set for them, and need no key of their own: {}.",
        names.join(", ")
    )
}

/// The description of transforms for a model. Their hosts and variables are plain words.
fn describe_transforms(transforms: &[HostTransform]) -> String {
    if transforms.is_empty() {
        return String::new();
    }
    let describe = |transform: &HostTransform| {
        let variables: Vec<&str> = transform.variables().collect();
        match &variables[..] {
            [] => transform.host(),
            variables => format!(
                "{} (what is in {} stands for the key in headers)",
                transform.host(),
                variables.join(", ")
            ),
        }
    };
    let hosts: Vec<String> = transforms.iter().map(describe).collect();
    format!(
        " Requests for these hosts over HTTPS get their key outside, and need none of their own: {}.",
        hosts.join(", ")
    )
}
