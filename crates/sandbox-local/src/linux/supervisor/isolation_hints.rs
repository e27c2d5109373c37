//! What to do where a system does not allow the isolation.

use std::fs;

use crate::linux::failure::{Failure, FailureKind};
use crate::options::IsolationLevel;

/// Says what to change where the system forbids user namespaces.
pub(super) fn with_advice(mut failure: Failure, level: IsolationLevel) -> Failure {
    if !matches!(
        failure.kind,
        FailureKind::Isolation | FailureKind::Forbidden
    ) {
        return failure;
    }
    let is = |file: &str, value: &str| {
        fs::read_to_string(file).is_ok_and(|content| content.trim() == value)
    };
    let advice = if level == IsolationLevel::Landlock {
        "the level namespaces may work"
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "user namespaces are forbidden to ordinary users: sysctl kernel.unprivileged_userns_clone=1"
    } else if is(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        "AppArmor restricts user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile for this program that allows userns"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "user namespaces are switched off: sysctl user.max_user_namespaces=10000"
    } else {
        "inside a container, user namespaces, mounts and a full /proc may be forbidden: see docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
    };
    let instead = match level {
        IsolationLevel::Namespaces => "the isolation level auto takes Landlock where it can; ",
        _ => "",
    };
    failure.message = format!(
        "{} ({advice}; {instead}the isolation level none works anywhere and isolates nothing, and must be asked for by name)",
        failure.message
    );
    failure
}
