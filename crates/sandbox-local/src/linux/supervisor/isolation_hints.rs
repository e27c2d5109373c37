//! Hints for a system that does not permit the isolation.

use std::fs;

use crate::linux::failure::{Failure, FailureKind};
use crate::options::IsolationLevel;

/// Adds to a failed isolation what the user can change.
pub(super) fn add_hints(mut failure: Failure, level: IsolationLevel) -> Failure {
    if !matches!(
        failure.kind,
        FailureKind::Isolation | FailureKind::Forbidden
    ) {
        return failure;
    }
    let file_contains = |file: &str, value: &str| {
        fs::read_to_string(file).is_ok_and(|content| content.trim() == value)
    };
    let hint = if level == IsolationLevel::Landlock {
        "try the isolation level namespaces"
    } else if file_contains("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "user namespaces are forbidden to ordinary users: sysctl kernel.unprivileged_userns_clone=1"
    } else if file_contains(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ) {
        "AppArmor restricts user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile for this program that allows userns"
    } else if file_contains("/proc/sys/user/max_user_namespaces", "0") {
        "user namespaces are disabled: sysctl user.max_user_namespaces=10000"
    } else {
        "inside a container, user namespaces, mounts and a full /proc may be forbidden: see docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
    };
    let alternative = match level {
        IsolationLevel::Namespaces => "the isolation level auto uses Landlock where it can; ",
        IsolationLevel::Auto | IsolationLevel::Landlock | IsolationLevel::None => "",
    };
    failure.message = format!(
        "{} ({hint}; {alternative}the isolation level none works everywhere but isolates nothing, and must be set explicitly)",
        failure.message
    );
    failure
}
