//! How Pods would be reached.

use sandbox_core::{Check, Verdict};

use crate::manifest::options::Transport;

const NAME: &str = "transport";
const ROUTE: &str = "whether this machine has a route to Pods is not known before there is one";
const TRY: &str = "sandbox doctor --try makes one and connects to it";

/// What is left of it, after what the rights say.
pub(super) fn transport(transport: Transport, rights: &[Check], grant: &str) -> Check {
    let missing: Vec<&str> = rights
        .iter()
        .filter(|right| {
            right.name.ends_with("pods/portforward") && right.verdict != Verdict::Passed
        })
        .map(|right| right.name.as_str())
        .collect();
    let needs = format!("port-forward cannot work without: {}", missing.join(", "));
    match (transport, missing.as_slice()) {
        (Transport::PortForward, []) => Check::passed(NAME, "port-forward, through the API server"),
        (Transport::PortForward, _) => Check::failed(NAME, needs).with_remedy(grant),
        (Transport::Direct, _) => {
            Check::skipped(NAME, format!("direct, to Pods' addresses; {ROUTE}: {TRY}"))
        }
        (Transport::Auto, []) => Check::passed(
            NAME,
            "auto: to a Pod's address where it answers there, else by port-forward through the API server",
        ),
        (Transport::Auto, _) => {
            Check::warning(NAME, format!("auto: {needs}; {ROUTE}: {TRY}")).with_remedy(grant)
        }
    }
}
