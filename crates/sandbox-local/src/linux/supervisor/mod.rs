//! The process beside a sandbox: it makes it, waits for its end, and takes everything away.
//!
//! It has one thread, stands outside the namespaces, and lives as long as the sandbox. If it
//! is killed the sandbox dies with it, and what is left is removed by any client.

mod isolation_hints;
mod keeper;
mod launch;
pub(crate) mod limits;
mod server_process;
mod teardown;
mod user_processes;
mod wait;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sandbox_core::SandboxInfo;

use crate::linux::failure::{Failure, FailureKind, IoContext};
use crate::linux::protocol::{PLAN_VERSION, Plan, Reply};
use crate::linux::sys;

use teardown::Teardown;
use wait::Outcome;

/// A plan is never longer, in bytes.
const LONGEST_PLAN: u64 = 1 << 20;

/// The whole life of a supervisor; returns its exit code.
pub(crate) fn run() -> u8 {
    match prepare() {
        Ok((plan, signals)) => supervise(&plan, &signals),
        Err(failure) => {
            reply(&Reply::Failed(failure));
            1
        }
    }
}

/// Leaves the client's session, directory and descriptors behind, and hears what to do.
fn prepare() -> Result<(Plan, SignalFd), Failure> {
    sys::close_other_descriptors(&[])
        .context("close inherited descriptors (Linux 5.9 or newer is needed)")?;
    rustix::thread::set_name(c"sandbox-local").context("take a name")?;
    rustix::process::chdir("/").context("leave the working directory")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block().context("block signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("wait for signals")?;
    rustix::process::setsid().context("begin a session")?;
    Ok((read_plan()?, signals))
}

fn read_plan() -> Result<Plan, Failure> {
    let stdin = io::stdin();
    let mut line = zeroize::Zeroizing::new(Vec::new());
    BufReader::with_capacity(
        1,
        stdin
            .as_fd()
            .try_clone_to_owned()
            .map(File::from)
            .context("read the plan")?,
    )
    .take(LONGEST_PLAN)
    .read_until(b'\n', &mut line)
    .context("read the plan")?;
    let plan: Plan = serde_json::from_slice(&line).map_err(|error| {
        let message = format!(
            "this program is started by the sandbox SDK, which writes a plan to its standard input ({error})"
        );
        Failure::new(FailureKind::Other, "read the plan", message)
    })?;
    if plan.version != PLAN_VERSION {
        let message = format!(
            "the client writes version {}, this server reads {PLAN_VERSION}; build both from one release",
            plan.version
        );
        return Err(Failure::new(FailureKind::Other, "read the plan", message));
    }
    Ok(plan)
}

fn supervise(plan: &Plan, signals: &SignalFd) -> u8 {
    let mut teardown = Teardown {
        client_waits: true,
        ..Teardown::default()
    };
    let made = launch::launch(plan, signals, &mut teardown);
    let code = match made {
        Ok(info) => match accepted(info, &mut teardown, signals) {
            true => wait::for_the_end(plan, &teardown, signals),
            false => 1,
        },
        Err(failure) => {
            // Gone before it is told, so that whoever hears of it finds nothing.
            teardown.clear();
            reply(&Reply::Failed(failure));
            return 1;
        }
    };
    teardown.clear();
    code
}

/// Whether the client has heard that there is a sandbox; otherwise nobody would delete it.
fn accepted(info: SandboxInfo, teardown: &mut Teardown, signals: &SignalFd) -> bool {
    // From here on the end of its pipe is looked at by reading: the answer may be before it.
    teardown.client_waits = false;
    if !reply(&Reply::Listening(Box::new(info))) {
        return false;
    }
    let acknowledged = wait::until(None, teardown, signals, Some(io::stdin().as_fd()));
    if acknowledged != Outcome::Readable
        || !matches!(rustix::io::read(io::stdin(), &mut [0; 1]), Ok(1))
    {
        return false;
    }
    // The client's pipes are its own from here on.
    detach_from_client()
        .inspect_err(|error| tracing::warn!(%error, "the client's pipes were not closed"))
        .is_ok()
}

fn detach_from_client() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

/// Whether the client still listens.
fn reply(reply: &Reply) -> bool {
    let write = || -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()
    };
    write().is_ok()
}
