//! The system calls that a sandbox cannot make.
//!
//! Namespaces and missing capabilities already forbid what most of these calls do. The filter also
//! keeps a sandbox away from the kernel code behind them, in which bugs have led to escapes.

mod forbidden;
mod landlock;
mod rules;

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch, sock_filter};

use self::forbidden::{
    FORBIDDEN, LAST_KNOWN_CALL, namespace_rules, own_process_rules, socket_rules, terminal_rules,
};
use self::rules::Rules;
use crate::linux::failure::{Failure, IoContext};

/// The filters of a sandbox. The strictest result of all filters applies to each call.
pub(crate) struct Filters(Vec<BpfProgram>);

impl Filters {
    /// Builds the filters for a sandbox in namespaces.
    pub(crate) fn build() -> Result<Self, Failure> {
        Self::from_rules(socket_rules()?, &[])
    }

    /// Builds the filters for a sandbox without namespaces. `has_own_ids` means that no process
    /// outside has its user id.
    pub(crate) fn build_for_landlock(has_own_ids: bool) -> Result<Self, Failure> {
        let rules = landlock::rules(has_own_ids)?;
        let mut filters = Self::from_rules(rules, landlock::FORBIDDEN)?;
        if !has_own_ids {
            let reads = landlock::PATH_XATTR_READS.iter();
            let unsupported = reads.map(|call| (*call, vec![])).collect();
            filters.0.push(refuse(libc::EOPNOTSUPP, unsupported)?);
        }
        Ok(filters)
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

    fn from_rules(more_rules: Rules, more_forbidden: &[libc::c_long]) -> Result<Self, Failure> {
        // A filter cannot read the flags of clone3. glibc falls back to clone only if clone3 fails
        // with ENOSYS.
        let absent = refuse(libc::ENOSYS, [(libc::SYS_clone3, vec![])].into())?;
        let mut rules: BTreeMap<_, _> = FORBIDDEN
            .iter()
            .chain(more_forbidden)
            .map(|call| (*call, vec![]))
            .collect();
        rules.extend(namespace_rules()?);
        rules.extend(own_process_rules()?);
        rules.extend(more_rules);
        rules.insert(libc::SYS_ioctl, terminal_rules()?);
        Ok(Self(vec![
            refuse_unknown_calls(),
            absent,
            refuse(libc::EPERM, rules)?,
        ]))
    }

    /// Installs the filters for this thread and its descendants, and sets no_new_privs.
    pub(crate) fn install(&self) -> Result<(), Failure> {
        self.0
            .iter()
            .try_for_each(|program| seccompiler::apply_filter(program))
            .isolation_context("install the seccomp filter")
    }
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

/// Builds a filter that fails calls newer than the list with ENOSYS, and also the second numbers of
/// x86_64 (from 2^30), which the list does not contain.
fn refuse_unknown_calls() -> BpfProgram {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_ABOVE: u16 = 0x25;
    const RETURN: u16 = 0x06;
    const RETURN_ERRNO: u32 = 0x0005_0000;
    const RETURN_ALLOW: u32 = 0x7fff_0000;
    let step = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    vec![
        step(LOAD_WORD, 0, 0),
        step(JUMP_IF_ABOVE, 1, LAST_KNOWN_CALL),
        step(RETURN, 0, RETURN_ALLOW),
        step(RETURN, 0, RETURN_ERRNO | libc::ENOSYS.cast_unsigned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_are_built_and_within_the_kernels_size_limit() {
        for (filters, count) in [
            (Filters::build(), 3),
            (Filters::build_for_landlock(true), 3),
            (Filters::build_for_landlock(false), 4),
        ] {
            let Filters(programs) = filters.unwrap();
            assert_eq!(programs.len(), count);
            assert!(
                programs
                    .iter()
                    .all(|program| !program.is_empty() && program.len() < 4096)
            );
        }
    }
}
