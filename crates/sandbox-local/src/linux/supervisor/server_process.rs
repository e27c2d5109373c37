//! The server process of a sandbox: it confines itself and becomes the SSH server.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sandbox_core::PrivateKey;
use sandbox_sshd::{EndReason, Server, ServerConfig};

use super::pause_requests::Requester;
use crate::linux::confine::{Confined, Confinement, Mechanism, home_of};
use crate::linux::failure::{Failure, FailureKind, IoContext};
use crate::linux::protocol::{Plan, Report};
use crate::linux::sys;

/// What the server process inherits from the supervisor.
pub(super) struct ServerProcess<'a> {
    pub(super) plan: &'a Plan,
    pub(super) confinement: Confinement,
    pub(super) listener: UnixListener,
    /// A pipe that delivers one byte when the process may start.
    pub(super) go: OwnedFd,
    pub(super) report: OwnedFd,
    /// Asks the supervisor to freeze and thaw the sandbox, if it can.
    pub(super) freezer: Option<Requester>,
}

impl ServerProcess<'_> {
    /// Runs the server. It never returns into the stack frames of the supervisor.
    pub(super) fn run(self) -> ! {
        let served = catch_unwind(AssertUnwindSafe(|| {
            self.serve().inspect_err(|failure| {
                tracing::error!("{failure}");
                // If the supervisor has ended, the failure is only in the log.
                drop(send_report(&self.report, &Report::Failed(failure.clone())));
            })
        }));
        std::process::exit(match served {
            Ok(Ok(end)) => i32::from(end.exit_code()),
            Ok(Err(_reported)) => 1,
            Err(_panic) => 101,
        })
    }

    fn serve(&self) -> Result<EndReason, Failure> {
        self.leave_supervisor()?;
        if !matches!(rustix::io::read(&self.go, &mut [0; 1]), Ok(1)) {
            return Err(Failure::new(
                FailureKind::Other,
                "wait for the supervisor",
                "it has ended",
            ));
        }
        let Confined { applied, commands } = self.confinement.enter()?;
        let mut config = server_config(self.plan, &self.confinement)?;
        if let Some(domain) = commands {
            config = config.with_spawn_setup(move || {
                domain
                    .enter()
                    .map_err(|failure| io::Error::other(failure.to_string()))
            });
        }
        if let Some(freezer) = self.freezer.clone() {
            config = config.with_freezer(move |request| freezer.request(request));
        }
        let server = Server::new(config).context("start the server")?;
        // The runtime is created only now, so that its descriptors are those of the confined process.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start a runtime")?;
        runtime.block_on(async {
            let listener = self
                .listener
                .try_clone()
                .and_then(tokio::net::UnixListener::from_std)
                .context("listen")?;
            // This fails if the supervisor has ended.
            send_report(&self.report, &Report::Serving(applied))
                .context("report to the supervisor")?;
            // The supervisor ends the server with SIGKILL. With namespaces or Landlock, no process of the sandbox
            // can.
            let end = server.serve_unix(listener, std::future::pending()).await;
            tracing::info!(?end, "the server has ended");
            Ok(end)
        })
    }

    /// Closes all inherited descriptors but those of the listener, the pipes and the freezer.
    fn leave_supervisor(&self) -> Result<(), Failure> {
        // This comes first, so that the process dies with the supervisor. A change of ids resets it,
        // so `guard_server` repeats it after the last one.
        let signal = Some(rustix::process::Signal::KILL);
        rustix::process::set_parent_process_death_signal(signal)
            .context("set the parent death signal")?;
        detach_from_client()?;
        let mut kept = vec![self.listener.as_fd(), self.go.as_fd(), self.report.as_fd()];
        kept.extend(self.freezer.as_ref().map(Requester::stream));
        sys::close_other_descriptors(&kept).context("close inherited descriptors")
    }
}

/// Replaces standard input by /dev/null and standard output by the log.
pub(super) fn detach_from_client() -> Result<(), Failure> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).context("detach from the client's pipes")?;
    rustix::stdio::dup2_stdout(io::stderr()).context("detach from the client's pipes")
}

fn server_config(plan: &Plan, confinement: &Confinement) -> Result<ServerConfig, Failure> {
    let host_key = PrivateKey::from_openssh(plan.host_key.clone()).context("read the host key")?;
    let client_key = PrivateKey::from_openssh(plan.client_key.clone())
        .and_then(|key| key.public_key())
        .context("read the client key")?;
    let (home, path) = match confinement.mechanism {
        Mechanism::Namespaces => (home_of(&plan.user), None),
        Mechanism::Landlock => (confinement.disk.join("home"), None),
        Mechanism::None => (confinement.disk.join("home"), std::env::var_os("PATH")),
    };
    let path = path
        .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let mut env: Vec<(OsString, OsString)> =
        vec![("PATH".into(), path), ("LANG".into(), "C.UTF-8".into())];
    if confinement.mechanism == Mechanism::Landlock {
        // Landlock denies access to the system's /tmp.
        env.push(("TMPDIR".into(), confinement.disk.join("tmp").into()));
    }
    let config = ServerConfig::new(host_key, vec![client_key.to_string()], home)
        .with_user(&plan.user)
        .with_env(env)
        .with_idle_timeout(plan.lifetime.idle_timeout)
        .with_attach_timeout(plan.lifetime.attach_timeout)
        .with_first_login_timeout(plan.lifetime.first_login_timeout)
        .with_ttl(plan.lifetime.ttl)
        .with_on_expiry(plan.lifetime.on_expiry)
        .with_max_lifetime(plan.lifetime.max_lifetime)
        .with_reap_orphans(true);
    Ok(match confinement.mechanism {
        // The system call filter ends programs that use the numbers of another architecture.
        Mechanism::Namespaces | Mechanism::Landlock => config.with_64_bit_programs_only(),
        Mechanism::None => config,
    })
}

fn send_report(pipe: &OwnedFd, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    File::from(pipe.try_clone()?).write_all(&line)
}
