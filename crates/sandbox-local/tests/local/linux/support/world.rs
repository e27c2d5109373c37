//! A backend with a directory for the sandboxes of one test.

use std::path::{Path, PathBuf};

use rustix::process::Pid;
use sandbox_core::{DeleteOptions, Error, ListFilter, SandboxBackend, SandboxInfo, SandboxSpec};
use sandbox_local::{IsolationLevel, LocalBackend, LocalOptions};
use tempfile::TempDir;

use super::leftovers::{check_leftovers, processes_using};
use super::shell::{CommandOutput, Shell};
use super::trial::Result;
use super::wait::wait_until;

/// The backend of one test.
pub(crate) struct World {
    pub(crate) backend: LocalBackend,
    dir: TempDir,
}

/// Deletes the sandboxes that a test has left, also if it failed.
impl Drop for World {
    fn drop(&mut self) {
        let backend = self.backend.clone();
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                for info in backend.list(ListFilter::default()).await? {
                    backend.delete(&info.id, DeleteOptions::default()).await?;
                }
                Result::Ok(())
            })
        });
        match cleaner.join() {
            Ok(Ok(())) => {}
            problem => eprintln!("a test's sandboxes were not deleted: {problem:?}"),
        }
    }
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        Self::with_options(|_| {})
    }

    pub(crate) fn with_options(change: impl FnOnce(&mut LocalOptions)) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut options = LocalOptions::default();
        options.state_dir = Some(dir.path().join("state"));
        // The sandbox needs this program to run probes.
        options.read_only_paths = vec![std::env::current_exe()?];
        change(&mut options);
        Ok(Self {
            backend: LocalBackend::new(options)?,
            dir,
        })
    }

    /// Creates a backend and a sandbox with Landlock.
    pub(crate) async fn with_landlock() -> Result<(Self, SandboxInfo)> {
        let world = Self::with_options(|options| options.isolation = IsolationLevel::Landlock)?;
        let info = world.create().await?;
        Ok((world, info))
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the directory of a sandbox.
    pub(crate) fn state(&self, info: &SandboxInfo) -> PathBuf {
        self.backend.state_dir().join(info.id.as_str())
    }

    pub(crate) async fn create(&self) -> Result<SandboxInfo> {
        Ok(self.backend.create(SandboxSpec::default()).await?)
    }

    /// Returns the error of a creation that must fail.
    pub(crate) async fn create_error(&self, spec: SandboxSpec) -> Result<Error> {
        match self.backend.create(spec).await {
            Ok(info) => Err(format!("{} was created", info.id).into()),
            Err(error) => Ok(error),
        }
    }

    /// Lists the state directory.
    pub(crate) fn state_entries(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.backend.state_dir());
        entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect()
    }

    /// Returns the pid of a sandbox's supervisor.
    pub(crate) fn supervisor_pid(&self, info: &SandboxInfo) -> Result<Pid> {
        let lock = std::fs::read_to_string(self.state(info).join("lock"))?;
        let pid = lock
            .split_whitespace()
            .next()
            .and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        pid.ok_or_else(|| format!("no pid in {lock:?}").into())
    }

    /// Whether the sandbox's supervisor has ended, and so can be swept.
    pub(crate) fn supervisor_has_ended(&self, info: &SandboxInfo) -> bool {
        self.supervisor_pid(info)
            .is_ok_and(|pid| rustix::process::test_kill_process(pid).is_err())
    }

    /// Returns the uid of the commands in a sandbox.
    pub(crate) async fn uid(&self, info: &SandboxInfo) -> Result<u32> {
        Ok(self.run(info, "id -u").await?.stdout.trim().parse()?)
    }

    /// Waits until no file or process is left of any sandbox.
    pub(crate) async fn wait_until_empty(&self) -> Result {
        wait_until("nothing is left", || {
            self.state_entries().is_empty() && processes_using(self.path()).is_empty()
        })
        .await
    }

    pub(crate) async fn run(&self, info: &SandboxInfo, command: &str) -> Result<CommandOutput> {
        Shell::open(&self.backend.access(&info.id).await?)
            .await?
            .run(command)
            .await
    }

    /// Runs a probe in the sandbox. Its output starts with `refused` or `done`.
    pub(crate) async fn probe(&self, info: &SandboxInfo, probe: &str) -> Result<String> {
        let program = std::env::current_exe()?;
        let ran = self
            .run(info, &format!("{} probe {probe}", program.display()))
            .await?;
        if ran.code != Some(0) {
            return Err(format!("the probe {probe} did not run: {ran:?}").into());
        }
        Ok(ran.stdout.trim().to_owned())
    }

    /// Fails unless a probe is refused.
    pub(crate) async fn assert_refused(&self, info: &SandboxInfo, probe: &str) -> Result {
        match self.probe(info, probe).await? {
            output if output.starts_with("refused") => Ok(()),
            output => Err(format!("{probe}: {output}").into()),
        }
    }

    /// Fails if anything of a sandbox is left: its directory, control groups, mounts.
    pub(crate) async fn assert_nothing_left(&self, info: &SandboxInfo) -> Result {
        if self.state(info).exists() {
            return Err(format!("{} is left", self.state(info).display()).into());
        }
        check_leftovers(info.uid.as_str())
    }
}

/// A specification of a sandbox that outlives its client, up to its hard end.
pub(crate) fn detached_spec() -> SandboxSpec {
    let mut spec = SandboxSpec::default();
    spec.lifetime.attach_timeout = None;
    spec
}

/// Fails unless these are among the mechanisms that were applied.
pub(crate) fn assert_applied(info: &SandboxInfo, mechanisms: &[&str]) {
    for mechanism in mechanisms {
        assert!(
            info.isolation
                .applied
                .iter()
                .any(|applied| applied == mechanism),
            "{mechanism}: {:?}",
            info.isolation
        );
    }
}
