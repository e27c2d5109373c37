//! The first process inside: it confines itself, and becomes the SSH server.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use sandbox_core::PrivateKey;
use sandbox_sshd::{Server, ServerConfig};

use crate::linux::confine::{Confined, Confinement, HOME, Means, USER};
use crate::linux::failure::{Failure, FailureKind, IoContext};
use crate::linux::protocol::{Plan, Report};
use crate::linux::sys;

/// What the first process takes along.
pub(super) struct Inside<'a> {
    pub(super) plan: &'a Plan,
    pub(super) confinement: Confinement,
    pub(super) listener: UnixListener,
    /// Says when it may begin.
    pub(super) go: OwnedFd,
    pub(super) report: OwnedFd,
}

impl Inside<'_> {
    /// The whole life of the first process; it never goes back into its supervisor's frames.
    pub(super) fn run(self) -> ! {
        let served = catch_unwind(AssertUnwindSafe(|| {
            self.serve().inspect_err(|failure| {
                tracing::error!("{failure}");
                // With nobody at its other end, the log must do.
                drop(tell(&self.report, &Report::Failed(failure.clone())));
            })
        }));
        std::process::exit(match served {
            Ok(Ok(())) => 0,
            Ok(Err(_told)) => 1,
            Err(_panic) => 101,
        })
    }

    fn serve(&self) -> Result<(), Failure> {
        self.leave_supervisor()?;
        if !matches!(rustix::io::read(&self.go, &mut [0; 1]), Ok(1)) {
            return Err(Failure::new(
                FailureKind::Other,
                "wait for the supervisor",
                "it has ended",
            ));
        }
        let Confined { applied, commands } = self.confinement.enter()?;
        let mut config = config(self.plan, &self.confinement)?;
        if let Some(domain) = commands {
            config = config.with_spawn_setup(move || {
                domain
                    .enter()
                    .map_err(|failure| io::Error::other(failure.to_string()))
            });
        }
        let server = Server::new(config).context("start the server")?;
        // Made only now: a runtime's descriptors belong inside.
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
            // An error means that the supervisor has ended.
            tell(&self.report, &Report::Serving(applied)).context("tell the supervisor")?;
            // The supervisor ends it by SIGKILL, and nobody inside shall be able to.
            let end = server.serve_unix(listener, std::future::pending()).await;
            tracing::info!(?end, "the server has ended");
            Ok(())
        })
    }

    /// Drops all that came along with the memory of the supervisor but the few things needed.
    fn leave_supervisor(&self) -> Result<(), Failure> {
        // First of all: dying with the supervisor. It is done again after the last change of ids.
        let signal = Some(rustix::process::Signal::KILL);
        rustix::process::set_parent_process_death_signal(signal)
            .context("be ended with the supervisor")?;
        leave_client()?;
        sys::close_other_descriptors(&[self.listener.as_fd(), self.go.as_fd(), self.report.as_fd()])
            .context("close inherited descriptors")
    }
}

/// Standard input comes from nowhere, standard output goes to the log.
pub(super) fn leave_client() -> Result<(), Failure> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).context("leave the client's pipes")?;
    rustix::stdio::dup2_stdout(io::stderr()).context("leave the client's pipes")
}

fn config(plan: &Plan, confinement: &Confinement) -> Result<ServerConfig, Failure> {
    let host_key = PrivateKey::from_openssh(plan.host_key.clone()).context("read the host key")?;
    let client_key = PrivateKey::from_openssh(plan.client_key.clone())
        .and_then(|key| key.public_key())
        .context("read the key")?;
    let (home, path) = match confinement.means {
        Means::Namespaces => (PathBuf::from(HOME), None),
        Means::Landlock => (confinement.disk.join("home"), None),
        Means::Nothing => (confinement.disk.join("home"), std::env::var_os("PATH")),
    };
    let path = path
        .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let mut env: Vec<(OsString, OsString)> =
        vec![("PATH".into(), path), ("LANG".into(), "C.UTF-8".into())];
    if confinement.means == Means::Landlock {
        // The system's /tmp is closed.
        env.push(("TMPDIR".into(), confinement.disk.join("tmp").into()));
    }
    Ok(
        ServerConfig::new(host_key, vec![client_key.to_string()], home)
            .with_user(USER)
            .with_env(env)
            .with_idle_limit(plan.lifetime.idle_timeout)
            .with_attach_limit(plan.lifetime.attach_timeout)
            .with_reap_orphans(true),
    )
}

fn tell(to: &OwnedFd, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    File::from(to.try_clone()?).write_all(&line)
}
