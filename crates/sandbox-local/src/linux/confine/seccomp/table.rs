//! What a filter decides by the number of a call alone.

use nix::libc::{self, c_long};
use seccompiler::{BpfProgram, sock_filter};

use super::numbers::LAST_KNOWN_CALL;
use crate::linux::failure::{Failure, IoContext};

/// What happens to a call: it is allowed, or it fails with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Fails(i32),
}

/// The verdict on each call. One that is not known yet fails with ENOSYS, for which programs have a
/// fallback, and so do the second numbers of x86_64 (from 2^30).
pub(super) struct CallTable(Vec<Verdict>);

impl CallTable {
    /// Creates a table in which each known call fails with EPERM.
    pub(super) fn refusing_all() -> Self {
        let mut verdicts = vec![Verdict::Fails(libc::EPERM); LAST_KNOWN_CALL as usize + 1];
        verdicts.push(Verdict::Fails(libc::ENOSYS));
        Self(verdicts)
    }

    /// Sets the verdict on these calls.
    pub(super) fn set(&mut self, calls: &[c_long], verdict: Verdict) {
        for call in calls {
            let entry = usize::try_from(*call)
                .ok()
                .and_then(|call| self.0.get_mut(call));
            debug_assert!(entry.is_some(), "call {call} is above LAST_KNOWN_CALL");
            if let Some(entry) = entry {
                *entry = verdict;
            }
        }
    }

    /// Builds the filter: a binary search for the range of numbers that a call is in.
    pub(super) fn to_program(&self) -> Result<BpfProgram, Failure> {
        let mut starts: Vec<(u32, Verdict)> = Vec::new();
        for (number, verdict) in (0..).zip(&self.0) {
            if starts.last().is_none_or(|(_, last)| last != verdict) {
                starts.push((number, *verdict));
            }
        }
        let mut program = vec![step(LOAD_WORD, 0, NUMBER_OFFSET)];
        program.extend(search(&starts)?);
        Ok(program)
    }
}

/// Operations of classic BPF (linux/bpf_common.h) and results of a filter (linux/seccomp.h).
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;
/// The place of the number in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;

/// Builds the search in these ranges, each with its first number. The first range begins at 0, and the
/// last one has no end.
fn search(ranges: &[(u32, Verdict)]) -> Result<BpfProgram, Failure> {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let (Some((_, verdict)), Some((first_of_upper, _))) = (ranges.first(), upper.first()) else {
        return Ok(BpfProgram::new());
    };
    if lower.is_empty() {
        let result = match verdict {
            Verdict::Allowed => RETURN_ALLOW,
            Verdict::Fails(errno) => RETURN_ERRNO | errno.cast_unsigned(),
        };
        return Ok(vec![step(RETURN, 0, result)]);
    }
    let lower = search(lower)?;
    let skipped = u8::try_from(lower.len()).isolation_context("build a seccomp filter")?;
    let mut program = vec![step(JUMP_IF_AT_LEAST, skipped, *first_of_upper)];
    program.extend(lower);
    program.extend(search(upper)?);
    Ok(program)
}

fn step(code: u16, jt: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf: 0, k }
}
