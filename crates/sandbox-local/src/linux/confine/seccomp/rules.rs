//! Building blocks of seccomp rules.

use nix::libc;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use crate::linux::failure::{Failure, IoContext};

/// Calls, each with the rules of which one must match for the call to be refused.
pub(super) type Rules = Vec<(libc::c_long, Vec<SeccompRule>)>;

/// Compares the lower 32 bits of an argument.
pub(super) fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

/// Creates a rule that matches if all conditions do.
pub(super) fn rule_of<const N: usize>(
    conditions: [Result<SeccompCondition, BackendError>; N],
) -> Result<SeccompRule, Failure> {
    let conditions = conditions.into_iter().collect::<Result<_, _>>();
    conditions
        .and_then(SeccompRule::new)
        .isolation_context("build a seccomp filter")
}
