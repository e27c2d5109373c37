//! Making sandboxes for tests, and running commands in them over SSH.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use russh::client;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use sandbox_core::{
    Access, Connector, Deadline, DeleteOptions, ListFilter, SandboxBackend, SandboxInfo,
    SandboxSpec,
};
use sandbox_local::{LocalBackend, LocalOptions, UnixConnector};
use tempfile::TempDir;

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A test that runs on a runtime of its own.
pub(crate) fn trial<F>(name: &'static str, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime
            .block_on(test())
            .map_err(|error| Failed::from(chain(&*error)))
    })
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A place for sandboxes of one test.
pub(crate) struct World {
    pub(crate) backend: LocalBackend,
    dir: TempDir,
}

/// What a test leaves is taken away, also where it failed.
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

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<u32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut LocalOptions)) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut options = LocalOptions::default();
        options.state_dir = Some(dir.path().join("state"));
        // The probes are in this very program.
        options.read_only_paths = vec![std::env::current_exe()?];
        change(&mut options);
        Ok(Self {
            backend: LocalBackend::new(options)?,
            dir,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn state(&self, info: &SandboxInfo) -> PathBuf {
        self.backend.state_dir().join(info.id.as_str())
    }

    pub(crate) async fn create(&self) -> Result<SandboxInfo> {
        Ok(self.backend.create(SandboxSpec::default()).await?)
    }

    pub(crate) async fn run(&self, info: &SandboxInfo, command: &str) -> Result<Ran> {
        Shell::open(&self.backend.access(&info.id).await?)
            .await?
            .run(command)
            .await
    }

    /// Runs a probe inside; what it prints begins with `refused` or `done`.
    pub(crate) async fn probe(&self, info: &SandboxInfo, words: &str) -> Result<String> {
        let program = std::env::current_exe()?;
        let ran = self
            .run(info, &format!("{} probe {words}", program.display()))
            .await?;
        if ran.code != Some(0) {
            return Err(format!("the probe {words} did not run: {ran:?}").into());
        }
        Ok(ran.stdout.trim().to_owned())
    }

    /// That a probe is refused.
    pub(crate) async fn refused(&self, info: &SandboxInfo, words: &str) -> Result {
        match self.probe(info, words).await? {
            answer if answer.starts_with("refused") => Ok(()),
            answer => Err(format!("{words}: {answer}").into()),
        }
    }

    /// That nothing is left: the supervisor, its directory, control groups.
    pub(crate) async fn nothing_is_left(&self, info: &SandboxInfo) -> Result {
        if self.state(info).exists() {
            return Err(format!("{} is left", self.state(info).display()).into());
        }
        leftovers(info.uid.as_str())
    }
}

/// Waits for what must come to be, however slow the machine is.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Result {
    let deadline = Deadline::from_now(Duration::from_secs(60));
    while !holds() {
        if deadline.has_passed() {
            return Err(format!("it did not come about: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Processes but this one that have something below `path` open: supervisors their lock.
pub(crate) fn users_of(path: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let links = std::fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        if pid != std::process::id()
            && links
                .filter_map(|link| std::fs::read_link(link.path()).ok())
                .any(|target| target.starts_with(path))
        {
            found.push(pid);
        }
    }
    found
}

/// Control groups and processes of a sandbox, by its unique uid, or anything that names it.
pub(crate) fn leftovers(uid: &str) -> Result {
    let mut stack = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().contains(uid) {
                    return Err(format!("{} is left", entry.path().display()).into());
                }
                stack.push(entry.path());
            }
        }
    }
    for place in ["/var/tmp", "/tmp"] {
        let path = Path::new(place).join(format!("sandbox-{uid}"));
        if path.exists() {
            return Err(format!("{} is left", path.display()).into());
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    if mounts.contains(uid) {
        Err("a mount is left".into())
    } else {
        Ok(())
    }
}

/// One SSH connection.
pub(crate) struct Shell {
    session: client::Handle<Pinned>,
}

struct Pinned(String);

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> std::result::Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        Ok(key.to_openssh().is_ok_and(|key| key.starts_with(&self.0)))
    }
}

impl Shell {
    pub(crate) async fn open(access: &Access) -> Result<Self> {
        let stream = UnixConnector
            .connect(
                &access.endpoint,
                Deadline::from_now(Duration::from_secs(10)),
            )
            .await?;
        let pinned = Pinned(access.host_key.as_str().to_owned());
        let mut session =
            client::connect_stream(Arc::new(client::Config::default()), stream, pinned).await?;
        let key = PrivateKey::from_openssh(access.client_key.expose())?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let welcome = session.authenticate_publickey(&access.user, key).await?;
        if welcome.success() {
            Ok(Self { session })
        } else {
            Err("the key was refused".into())
        }
    }

    pub(crate) async fn run(&self, command: &str) -> Result<Ran> {
        let channel = self.channel().await?;
        channel.exec(true, command).await?;
        collect(channel).await
    }

    pub(crate) async fn channel(&self) -> Result<russh::Channel<client::Msg>> {
        Ok(self.session.channel_open_session().await?)
    }
}

/// What comes through a channel until it is closed.
pub(crate) async fn collect(mut channel: russh::Channel<client::Msg>) -> Result<Ran> {
    let (mut code, mut stdout, mut stderr) = (None, Vec::new(), Vec::new());
    while let Some(message) = channel.wait().await {
        match message {
            russh::ChannelMsg::Data { data } => stdout.extend_from_slice(&data),
            russh::ChannelMsg::ExtendedData { data, .. } => stderr.extend_from_slice(&data),
            russh::ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
            _ => {}
        }
    }
    Ok(Ran {
        code,
        stdout: String::from_utf8_lossy(&stdout).into(),
        stderr: String::from_utf8_lossy(&stderr).into(),
    })
}
