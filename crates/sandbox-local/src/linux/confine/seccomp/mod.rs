//! The system calls that a sandbox can make: those of a list, some of them not with all arguments.
//!
//! Namespaces and missing capabilities already forbid what most other calls do. The filters also keep a
//! sandbox away from the kernel code behind them, in which bugs have led to escapes, and from calls that
//! a newer kernel has.

mod allowed;
mod arguments;
mod landlock;
mod numbers;
mod rules;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};

use self::arguments::{
    namespace_rules, own_process_rules, personality_rules, socket_rules, terminal_rules,
};
use self::rules::Rules;
use self::table::{CallTable, Verdict};
use crate::linux::failure::{Failure, IoContext};

/// The filters of a sandbox. The strictest result of all filters applies to each call.
pub(crate) struct Filters(Vec<BpfProgram>);

impl Filters {
    /// Builds the filters for a sandbox in namespaces.
    pub(crate) fn build() -> Result<Self, Failure> {
        Self::from_policy(&allowed_calls(), socket_rules()?)
    }

    /// Builds the filters for a sandbox without namespaces. `has_own_ids` means that no process
    /// outside has its user id.
    pub(crate) fn build_for_landlock(has_own_ids: bool) -> Result<Self, Failure> {
        let mut calls = allowed_calls();
        landlock::restrict(&mut calls, has_own_ids);
        Self::from_policy(&calls, landlock::rules(has_own_ids)?)
    }

    /// Builds the additional filter for the commands, but not the server, of a sandbox with the
    /// caller's user id.
    pub(crate) fn build_for_commands_with_callers_id() -> Result<Self, Failure> {
        let rules = landlock::FILE_ATTRIBUTE_CALLS
            .iter()
            .map(|call| (*call, vec![]))
            .collect();
        refuse(libc::EPERM, rules).map(|program| Self(vec![program]))
    }

    /// Builds a filter of the numbers, and one of the arguments of calls that the first allows.
    fn from_policy(calls: &CallTable, more_rules: Rules) -> Result<Self, Failure> {
        let mut rules: BTreeMap<_, _> = more_rules.into_iter().collect();
        rules.extend(namespace_rules()?);
        rules.extend(own_process_rules()?);
        rules.insert(libc::SYS_ioctl, terminal_rules()?);
        rules.insert(libc::SYS_personality, personality_rules()?);
        Ok(Self(vec![calls.to_program()?, refuse(libc::EPERM, rules)?]))
    }

    /// Installs the filters for this thread and its descendants, and sets no_new_privs.
    pub(crate) fn install(&self) -> Result<(), Failure> {
        self.0
            .iter()
            .try_for_each(|program| seccompiler::apply_filter(program))
            .isolation_context("install the seccomp filter")
    }
}

/// Returns the calls that a sandbox in namespaces can make.
fn allowed_calls() -> CallTable {
    let mut calls = CallTable::refusing_all();
    for group in allowed::GROUPS {
        calls.set(group, Verdict::Allowed);
    }
    // A filter cannot read the flags of clone3. glibc falls back to clone only if clone3 fails with
    // ENOSYS.
    calls.set(&[libc::SYS_clone3], Verdict::Fails(libc::ENOSYS));
    calls
}

/// Builds a filter that fails the matching calls with this error.
fn refuse(
    errno: i32,
    rules: BTreeMap<libc::c_long, Vec<SeccompRule>>,
) -> Result<BpfProgram, Failure> {
    let arch =
        TargetArch::try_from(std::env::consts::ARCH).isolation_context("build a seccomp filter")?;
    let action = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)
        .and_then(BpfProgram::try_from)
        .isolation_context("build a seccomp filter")
}
