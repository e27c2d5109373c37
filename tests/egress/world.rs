//! A client of the local backend, and the programs of this machine that its sandboxes use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use sandbox::{Client, Defaults, Dial, Egress, EgressEvent, Resolve, Sandbox};
use sandbox_local::{LocalBackend, LocalOptions, UnixConnector};
use sandbox_ssh::{SshOptions, SshSessions};

use crate::Outcome;
use crate::internet::Internet;

/// The tests' clients, and the Python of this machine.
pub(crate) struct World {
    pub(crate) client: Client,
    /// Has handles of its own, as one in another process.
    pub(crate) other: Client,
    pub(crate) python: Option<Python>,
    /// Where the sandboxes' files are.
    pub(crate) state_dir: PathBuf,
    pub(crate) npm: Option<Npm>,
    /// The directory of a toolchain with cargo and rustc.
    pub(crate) rust: Option<PathBuf>,
}

/// A Python with pip.
pub(crate) struct Python {
    pub(crate) program: PathBuf,
    /// The directory of the installation.
    prefix: PathBuf,
}

impl Python {
    /// Uses the package that pip has installed into `packages`.
    pub(crate) async fn use_demo_package(&self, sandbox: &Sandbox) -> Outcome {
        let used = sandbox
            .command(&self.program)
            .args(["-c", "import demo_package; print(demo_package.ANSWER)"])
            .env("PYTHONPATH", "packages")
            .output()
            .await?;
        assert_eq!(used.stdout_lossy(), "42\n", "{used:?}");
        Ok(())
    }
}

/// npm, which is a program for Node.js.
pub(crate) struct Npm {
    pub(crate) node: PathBuf,
    pub(crate) program: PathBuf,
}

impl World {
    pub(crate) fn new(state_dir: &Path) -> Self {
        let (python, npm, rust) = (Python::find(), Npm::find(), find_rust());
        let mut options = LocalOptions::default();
        options.state_dir = Some(state_dir.to_owned());
        let prefixes = [
            python.as_ref().map(|python| python.prefix.clone()),
            npm.as_ref().and_then(Npm::prefix),
            rust.clone(),
        ];
        let prefixes = prefixes.into_iter().flatten();
        options
            .read_only_paths
            .extend(prefixes.filter(|prefix| !prefix.starts_with("/usr")));
        Self {
            client: new_client(options.clone()),
            other: new_client(options),
            python,
            state_dir: state_dir.to_owned(),
            npm,
            rust,
        }
    }
}

fn new_client(options: LocalOptions) -> Client {
    let backend = LocalBackend::new(options).expect("a backend");
    let sessions = SshSessions::new(Arc::new(UnixConnector::new()), SshOptions::default());
    Client::with_parts(Arc::new(backend), Arc::new(sessions), Defaults::default())
}

impl Python {
    /// The installation that `python3` belongs to; of a virtual environment, the one that it was made from, because only
    /// that is complete.
    fn find() -> Option<Self> {
        let script =
            "import os, sys; print(os.path.realpath(sys.executable)); print(sys.base_prefix)";
        let output = Command::new("python3").args(["-c", script]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let mut lines = text.lines().map(PathBuf::from);
        let found = Self {
            program: lines.next()?,
            prefix: lines.next()?,
        };
        let pip = Command::new(&found.program)
            .args(["-c", "import pip"])
            .output()
            .ok()?;
        pip.status.success().then_some(found)
    }
}

impl Npm {
    fn find() -> Option<Self> {
        let script = "process.stdout.write(process.execPath)";
        let output = Command::new("node").args(["-e", script]).output().ok()?;
        let node = PathBuf::from(String::from_utf8(output.stdout).ok()?);
        let beside = node.parent()?.parent()?.join("lib/node_modules/npm");
        let roots = [
            beside,
            "/usr/share/nodejs/npm".into(),
            "/usr/share/npm".into(),
        ];
        let program = roots
            .iter()
            .map(|root| root.join("bin/npm-cli.js"))
            .find(|program| program.is_file())?;
        Some(Self { node, program })
    }

    /// The directory of the installation.
    fn prefix(&self) -> Option<PathBuf> {
        Some(self.node.parent()?.parent()?.to_owned())
    }
}

/// rustup's programs choose a toolchain, which is what a sandbox needs.
fn find_rust() -> Option<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let root = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    root.join("bin/cargo").is_file().then_some(root)
}

/// What was decided about a sandbox's connections.
pub(crate) type Decisions = Arc<Mutex<Vec<EgressEvent>>>;

/// Creates a sandbox with these rules.
pub(crate) async fn create(
    world: &World,
    internet: &Arc<Internet>,
    rules: &str,
) -> Outcome<(Sandbox, Decisions)> {
    let decisions = Decisions::default();
    let seen = Arc::clone(&decisions);
    let rules: Egress = rules.parse()?;
    let sandbox = world
        .client
        .sandbox()
        .egress(rules)
        .egress_through(
            Arc::clone(internet) as Arc<dyn Resolve>,
            Arc::clone(internet) as Arc<dyn Dial>,
        )
        .on_egress(move |event| seen.lock().unwrap().push(event.clone()))
        .create()
        .await?;
    Ok((sandbox, decisions))
}
