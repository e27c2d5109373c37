//! The limits of a sandbox, and how they are applied.

use std::fs;

use sandbox_core::{AppliedLimit, ByteSize, Cpu, LimitScope};

use super::user_processes::shared_process_limit;
use crate::linux::cgroup::{AppliedBy, Limits};
use crate::linux::confine::{Mechanism, ProcessLimits, has_exclusive_process_limit};
use crate::linux::failure::{Failure, FailureKind};
use crate::linux::protocol::Plan;

/// The limit on processes and threads if none is requested.
const DEFAULT_PIDS: u32 = 1024;

/// The requested or default limits of one sandbox.
pub(super) struct RequestedLimits {
    /// The limits of the whole process tree.
    pub(super) tree: Limits,
    /// The size of home and /tmp in bytes, which are then in memory.
    pub(super) disk: Option<u64>,
    memory: ByteSize,
    pids: u32,
    cpu: Option<Cpu>,
}

/// The limits that are applied.
pub(super) struct AppliedLimits {
    /// The limits as they are reported.
    pub(super) limits: Vec<AppliedLimit>,
    pub(super) process: ProcessLimits,
    /// The size of each of /run and /dev/shm, in bytes.
    pub(super) shared_memory: u64,
}

impl RequestedLimits {
    /// Determines the limits. Fails if one is requested that the mechanism does not have.
    pub(super) fn from_plan(plan: &Plan, mechanism: Mechanism) -> Result<Self, Failure> {
        if plan.requested.disk.is_some() && mechanism != Mechanism::Namespaces {
            let level = mechanism.as_str();
            let message = format!(
                "the isolation level {level} has no disk limit; remove the limit or use namespaces"
            );
            return Err(unsupported_limit("disk", &message));
        }
        let memory = plan
            .requested
            .memory
            .or(plan.defaults.memory)
            .unwrap_or_else(half_of_memory);
        let pids = plan
            .requested
            .pids
            .or(plan.defaults.pids)
            .unwrap_or(DEFAULT_PIDS);
        let cpu = plan.requested.cpu.or(plan.defaults.cpu);
        let disk = plan
            .requested
            .disk
            .or(plan.defaults.disk)
            .filter(|_| mechanism == Mechanism::Namespaces);
        let tree = Limits {
            memory: Some(memory.as_bytes()),
            pids: Some(u64::from(pids)),
            cpu: cpu.map(Cpu::as_millis),
        };
        Ok(Self {
            tree,
            disk: disk.map(ByteSize::as_bytes),
            memory,
            pids,
            cpu,
        })
    }

    /// Applies the limits that the control group does not apply in other ways. A requested limit must
    /// apply to the whole sandbox; a default may be weaker.
    pub(super) fn apply(
        &self,
        plan: &Plan,
        by: AppliedBy,
        mechanism: Mechanism,
        has_own_ids: bool,
    ) -> Result<AppliedLimits, Failure> {
        const DELEGATION: &str = "it needs a writable control group; run as root or under `systemd-run --user --scope -p Delegate=yes`, or remove the limit";
        let by_user = has_exclusive_process_limit(mechanism, has_own_ids);
        for (is_requested, is_applied, name) in [
            (
                plan.requested.memory.is_some(),
                by.memory.is_some(),
                "memory",
            ),
            (
                plan.requested.pids.is_some(),
                by.pids.is_some() || by_user,
                "pids",
            ),
            (plan.requested.cpu.is_some(), by.cpu.is_some(), "cpu"),
        ] {
            if is_requested && !is_applied {
                return Err(unsupported_limit(name, DELEGATION));
            }
        }
        Ok(self.combine(by, by_user))
    }

    /// Combines the limits of the control group with those of single processes. `by_user` means that
    /// RLIMIT_NPROC counts only the processes of the sandbox.
    fn combine(&self, by: AppliedBy, by_user: bool) -> AppliedLimits {
        let mut process = ProcessLimits {
            data: None,
            processes: None,
        };
        let mut limits = Vec::new();
        let mut report = |resource: &str, value: String, scope, by: &str| {
            limits.push(AppliedLimit {
                resource: resource.to_owned(),
                value,
                scope,
                enforced_by: by.to_owned(),
            });
        };
        match by.memory {
            Some(by) => report("memory", self.memory.to_string(), LimitScope::Sandbox, by),
            None => {
                process.data = Some(self.memory.as_bytes());
                report(
                    "memory",
                    self.memory.to_string(),
                    LimitScope::Process,
                    "rlimit",
                );
            }
        }
        match by.pids {
            Some(by) => report("pids", self.pids.to_string(), LimitScope::Sandbox, by),
            None if by_user => {
                process.processes = Some(u64::from(self.pids));
                report("pids", self.pids.to_string(), LimitScope::Sandbox, "rlimit");
            }
            // This limit is not exact, but it stops a fork bomb.
            None => {
                process.processes = shared_process_limit(u64::from(self.pids));
                if process.processes.is_some() {
                    let by = "rlimit, in addition to the user's processes at the start";
                    report("pids", self.pids.to_string(), LimitScope::Sandbox, by);
                }
            }
        }
        if let (Some(cpu), Some(by)) = (self.cpu, by.cpu) {
            report("cpu", cpu.to_string(), LimitScope::Sandbox, by);
        }
        if let Some(disk) = self.disk {
            report(
                "disk",
                ByteSize::from_bytes(disk).to_string(),
                LimitScope::Sandbox,
                "tmpfs",
            );
        }
        // Files in memory count for the control group. Without one, they are limited to a quarter.
        let shared_memory = if by.memory.is_some() {
            self.memory.as_bytes()
        } else {
            self.memory.as_bytes() / 4
        };
        AppliedLimits {
            limits,
            process,
            shared_memory,
        }
    }
}

fn unsupported_limit(limit: &str, remedy: &str) -> Failure {
    Failure::new(
        FailureKind::Unsupported,
        format!("a limit on {limit}"),
        remedy,
    )
}

/// Returns half of the machine's memory, which is taken as 4 GiB if it is unknown.
fn half_of_memory() -> ByteSize {
    let total = || {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        text.lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
    };
    ByteSize::from_mib((total().unwrap_or(4 << 20) / 2 / 1024).max(64))
}
