//! Checks how Pods can be reached.

use sandbox_core::{Check, Verdict};

use crate::manifest::options::Transport;

const NAME: &str = "transport";
const ROUTE: &str = "whether there is a route to Pods is only known once there is one";
const TRY: &str = "sandbox doctor --try creates one and connects to it";

/// Derives the check from those of the permissions.
pub(super) fn check_transport(transport: Transport, permissions: &[Check], remedy: &str) -> Check {
    let missing: Vec<&str> = permissions
        .iter()
        .filter(|check| {
            check.name.ends_with("pods/portforward") && check.verdict != Verdict::Passed
        })
        .map(|check| check.name.as_str())
        .collect();
    let needs = format!("port-forward cannot work without: {}", missing.join(", "));
    match (transport, missing.as_slice()) {
        (Transport::PortForward, []) => Check::passed(NAME, "port-forward, through the API server"),
        (Transport::PortForward, _) => Check::failed(NAME, needs).with_remedy(remedy),
        (Transport::Direct, _) => {
            Check::skipped(NAME, format!("direct, to Pods' addresses; {ROUTE}: {TRY}"))
        }
        (Transport::Auto, []) => Check::passed(
            NAME,
            "auto: to a Pod's address if it responds there, otherwise by port-forward through the API server",
        ),
        (Transport::Auto, _) => {
            Check::warning(NAME, format!("auto: {needs}; {ROUTE}: {TRY}")).with_remedy(remedy)
        }
    }
}
