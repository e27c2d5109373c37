//! Which limits a sandbox gets, and what really holds them.

use std::fs;

use sandbox_core::{AppliedLimit, ByteSize, Cpu, LimitScope};

use crate::linux::cgroup::{AppliedBy, Limits};
use crate::linux::confine::{Means, ProcessLimits, process_limit_is_per_namespace};
use crate::linux::failure::{Failure, FailureKind};
use crate::linux::protocol::Plan;

use super::user_processes::shared_process_limit;

/// Processes and threads of a sandbox that asks for no limit.
const DEFAULT_PIDS: u32 = 1024;

/// The limits of one sandbox.
pub(super) struct Wanted {
    pub(super) tree: Limits,
    /// Bytes of home and /tmp, which are in memory then.
    pub(super) disk: Option<u64>,
    memory: ByteSize,
    pids: u32,
    cpu: Option<Cpu>,
}

/// What holds.
pub(super) struct Holding {
    pub(super) limits: Vec<AppliedLimit>,
    pub(super) process: ProcessLimits,
    /// Bytes that /run and /dev/shm may hold, each.
    pub(super) shared_memory: u64,
}

impl Wanted {
    pub(super) fn of(plan: &Plan, means: Means) -> Result<Self, Failure> {
        if plan.asked.disk.is_some() && means != Means::Namespaces {
            let level = means.as_str();
            let message = format!(
                "the isolation level {level} has no disk of its own; leave the limit away or use namespaces"
            );
            return Err(refused("disk", &message));
        }
        let memory = plan
            .asked
            .memory
            .or(plan.defaults.memory)
            .unwrap_or_else(half_of_memory);
        let pids = plan
            .asked
            .pids
            .or(plan.defaults.pids)
            .unwrap_or(DEFAULT_PIDS);
        let cpu = plan.asked.cpu.or(plan.defaults.cpu);
        let disk = plan
            .asked
            .disk
            .or(plan.defaults.disk)
            .filter(|_| means == Means::Namespaces);
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

    /// Finds other means where the group does not hold a default. What was asked for must hold
    /// over the whole sandbox.
    pub(super) fn apply(
        &self,
        plan: &Plan,
        by: AppliedBy,
        means: Means,
        own_ids: bool,
    ) -> Result<Holding, Failure> {
        const DELEGATION: &str = "it needs a writable control group: run as root or under `systemd-run --user --scope -p Delegate=yes`, or leave the limit away";
        let by_user = user_is_own(means, own_ids);
        for (asked, holds, name) in [
            (plan.asked.memory.is_some(), by.memory.is_some(), "memory"),
            (
                plan.asked.pids.is_some(),
                by.pids.is_some() || by_user,
                "pids",
            ),
            (plan.asked.cpu.is_some(), by.cpu.is_some(), "cpu"),
        ] {
            if asked && !holds {
                return Err(refused(name, DELEGATION));
            }
        }
        Ok(self.holding(by, by_user, means))
    }

    fn holding(&self, by: AppliedBy, by_user: bool, means: Means) -> Holding {
        let mut process = ProcessLimits {
            data: None,
            processes: None,
        };
        let mut limits = Vec::new();
        let mut holds = |resource: &str, value: String, scope, by: &str| {
            limits.push(AppliedLimit {
                resource: resource.to_owned(),
                value,
                scope,
                enforced_by: by.to_owned(),
            });
        };
        match by.memory {
            Some(by) => holds("memory", self.memory.to_string(), LimitScope::Sandbox, by),
            None => {
                process.data = Some(self.memory.as_bytes());
                holds(
                    "memory",
                    self.memory.to_string(),
                    LimitScope::Process,
                    "rlimit",
                );
            }
        }
        match by.pids {
            Some(by) => holds("pids", self.pids.to_string(), LimitScope::Sandbox, by),
            None if by_user => {
                process.processes = Some(u64::from(self.pids));
                holds("pids", self.pids.to_string(), LimitScope::Sandbox, "rlimit");
            }
            // Not to be had exactly, but a fork bomb must end somewhere.
            None if means == Means::Landlock => {
                process.processes = shared_process_limit(u64::from(self.pids));
                if process.processes.is_some() {
                    let by = "rlimit, over the other processes of the user at the start";
                    holds("pids", self.pids.to_string(), LimitScope::Sandbox, by);
                }
            }
            None => {}
        }
        if let (Some(cpu), Some(by)) = (self.cpu, by.cpu) {
            holds("cpu", cpu.to_string(), LimitScope::Sandbox, by);
        }
        if let Some(disk) = self.disk {
            holds(
                "disk",
                ByteSize::from_bytes(disk).to_string(),
                LimitScope::Sandbox,
                "tmpfs",
            );
        }
        // A group counts what is in there; otherwise it must be little.
        let shared_memory = if by.memory.is_some() {
            self.memory.as_bytes()
        } else {
            self.memory.as_bytes() / 4
        };
        Holding {
            limits,
            process,
            shared_memory,
        }
    }
}

/// Whether a limit on the processes of the user inside counts those of the sandbox alone.
pub(crate) fn user_is_own(means: Means, own_ids: bool) -> bool {
    match means {
        Means::Namespaces => own_ids || process_limit_is_per_namespace(),
        Means::Landlock => own_ids,
        Means::Nothing => false,
    }
}

fn refused(limit: &str, way_out: &str) -> Failure {
    Failure::new(
        FailureKind::Unsupported,
        format!("a limit on {limit}"),
        way_out,
    )
}

/// A machine that does not tell has as much as a small one.
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
