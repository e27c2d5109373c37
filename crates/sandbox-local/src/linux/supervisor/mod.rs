//! The supervisor of a sandbox: creates it, waits for its end, and removes everything.
//!
//! It is a process with one thread, outside the sandbox's namespaces, and runs as long as the sandbox.
//! If it is killed, the sandbox's processes die with it, and any client removes the files.

mod attempt;
mod descendants;
mod disk;
mod isolation_hints;
mod keeper;
mod launch;
mod limits;
mod log;
mod pause_requests;
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
use sandbox_core::protocol::EndReason;

use crate::linux::failure::{Failure, FailureKind, IoContext};
use crate::linux::protocol::{PLAN_VERSION, Plan, Reply};
use crate::linux::sys;

use teardown::Teardown;
use wait::Wakeup;

/// The longest plan that is read, in bytes.
const MAX_PLAN: u64 = 1 << 20;

/// The exit code after a failure. The others are those of [`EndReason`].
const FAILED: u8 = 1;

/// The exit code after a failure of a sandbox whose memory ran out.
pub(crate) const FAILED_WITHOUT_MEMORY: u8 = 2;

/// Runs the supervisor and returns its exit code.
pub(crate) fn run() -> u8 {
    match prepare() {
        Ok((plan, signals)) => supervise(&plan, &signals),
        Err(failure) => {
            send_reply(&Reply::Failed(failure));
            FAILED
        }
    }
}

/// Detaches from the client's session, directory and descriptors, and reads the plan.
fn prepare() -> Result<(Plan, SignalFd), Failure> {
    sys::close_other_descriptors(&[])
        .context("close inherited descriptors, which needs Linux 5.9 or newer")?;
    rustix::thread::set_name(c"sandbox-local").context("set the process name")?;
    // A client that runs under nohup, or as a background job of a script, ignores signals, and the
    // sandbox's commands would inherit that.
    sys::reset_ignored_signals();
    rustix::process::chdir("/").context("leave the working directory")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block().context("block signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("create a signalfd")?;
    rustix::process::setsid().context("start a session")?;
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
    .take(MAX_PLAN)
    .read_until(b'\n', &mut line)
    .context("read the plan")?;
    let plan: Plan = serde_json::from_slice(&line).map_err(|error| {
        let message = format!(
            "its standard input has no plan ({error}); only the sandbox SDK can start this program"
        );
        Failure::new(FailureKind::Other, "read the plan", message)
    })?;
    if plan.version != PLAN_VERSION {
        let message = format!(
            "the client writes version {}, but this server reads version {PLAN_VERSION}; build both from one release",
            plan.version
        );
        return Err(Failure::new(FailureKind::Other, "read the plan", message));
    }
    Ok(plan)
}

fn supervise(plan: &Plan, signals: &SignalFd) -> u8 {
    let mut teardown = Teardown {
        is_client_waiting: true,
        ..Teardown::default()
    };
    let launched = launch::launch(plan, signals, &mut teardown);
    let reason = match launched {
        Ok(info) => {
            if is_acknowledged(info, &mut teardown, signals) {
                wait::wait_for_end(plan, &mut teardown, signals)
            } else {
                Some(EndReason::Terminated)
            }
        }
        Err(failure) => {
            // The reply follows the teardown, so that the client finds nothing left.
            teardown.run();
            send_reply(&Reply::Failed(failure));
            return FAILED;
        }
    };
    let failed = if teardown.has_run_out_of_memory() {
        FAILED_WITHOUT_MEMORY
    } else {
        FAILED
    };
    teardown.run();
    // The exit code of the server is known once it has been reaped.
    let reason =
        reason.or_else(|| EndReason::from_exit(teardown.exit_code?, EndReason::Expired.message()));
    reason.map_or(failed, EndReason::exit_code)
}

/// Replies to the client and returns whether it acknowledges the sandbox. Without that, no process
/// would delete it.
fn is_acknowledged(info: SandboxInfo, teardown: &mut Teardown, signals: &SignalFd) -> bool {
    // From here on, the end of the pipe is only noticed by reading it, after the acknowledgement.
    teardown.is_client_waiting = false;
    if !send_reply(&Reply::Listening(Box::new(info))) {
        return false;
    }
    let acknowledged = wait::wait_until(None, teardown, signals, Some(io::stdin().as_fd()));
    if acknowledged != Wakeup::Readable
        || !matches!(rustix::io::read(io::stdin(), &mut [0; 1]), Ok(1))
    {
        return false;
    }
    detach_from_client()
        .inspect_err(|error| tracing::warn!(%error, "client's pipes not closed"))
        .is_ok()
}

/// Closes the pipes of the client, which would keep a client waiting that waits for their end.
fn detach_from_client() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

/// Returns whether the client could receive the reply.
fn send_reply(reply: &Reply) -> bool {
    let write = || -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()
    };
    write().is_ok()
}
