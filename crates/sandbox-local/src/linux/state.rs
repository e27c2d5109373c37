//! Where sandboxes are kept: a directory for each, and the lock that tells whether it lives.
//!
//! ```text
//! <state>/<id>/            mode 0700
//!     lock                 locked by the supervisor for as long as it lives
//!     record.json          what it is; replaced, never changed in place
//!     client_key           to connect with
//!     ssh.sock             where its server listens
//!     log                  of the supervisor and the server
//!     disk/home, disk/tmp  what the sandbox writes to
//!     root                 empty; its root is built on it
//! ```
//!
//! Nothing is removed but by the holder of the lock. The state directory itself is locked
//! for the moment in which a sandbox appears, so that none is ever seen unlocked while it lives.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use sandbox_core::{Error, SandboxId};

use crate::linux::process_identity::ProcessIdentity;
use crate::linux::remove_tree::remove_tree;
use crate::options::LocalOptions;

/// All sandboxes of one user.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// The directory of one sandbox, which may not exist.
#[derive(Debug, Clone)]
pub(crate) struct SandboxDir {
    path: PathBuf,
}

/// A sandbox's directory, locked: it is ours.
#[derive(Debug)]
pub(crate) struct Held {
    dir: SandboxDir,
    lock: File,
}

/// What the lock tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// There is no such directory.
    Absent,
    /// Its supervisor has ended, and nobody is removing the rest yet.
    Dead,
    /// Somebody holds it: its supervisor, unless that is dead and somebody cleans up.
    Held(Option<ProcessIdentity>),
}

impl StateDir {
    /// The one that the options or the environment name.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when none is set and there is no home directory, or it is not absolute.
    pub(crate) fn of(options: &LocalOptions) -> sandbox_core::Result<Self> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let found = options
            .state_dir
            .clone()
            // The specification has relative values ignored.
            .or_else(|| {
                variable("XDG_STATE_HOME")
                    .filter(|path| path.is_absolute())
                    .map(|path| path.join("sandbox"))
            })
            .or_else(|| variable("HOME").map(|home| home.join(".local/state/sandbox")));
        match found {
            Some(path) if path.is_absolute() => Ok(Self { path }),
            Some(path) => Err(Error::Config {
                message: format!(
                    "the state directory {} is not an absolute path",
                    path.display()
                ),
            }),
            None => Err(Error::Config {
                message: "there is no HOME to keep sandboxes in; set the state directory".into(),
            }),
        }
    }

    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn sandbox(&self, id: &SandboxId) -> SandboxDir {
        SandboxDir {
            path: self.path.join(id.as_str()),
        }
    }

    /// The ids of all that is there; other files are not ours.
    pub(crate) fn ids(&self) -> io::Result<Vec<SandboxId>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            ids.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok()),
            );
        }
        Ok(ids)
    }

    /// Makes and takes the directory of a new sandbox; `None` when there is one by that name.
    pub(crate) fn claim(&self, id: &SandboxId) -> io::Result<Option<Held>> {
        private_directories().recursive(true).create(&self.path)?;
        self.check_owner()?;
        let dir = self.sandbox(id);
        let _appearing = self.lock(FlockOperation::LockShared)?;
        match private_directories().create(&dir.path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
            created => created?,
        }
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(dir.lock_file())?;
        flock(&lock, FlockOperation::LockExclusive)?;
        writeln!(lock, "{}", ProcessIdentity::of_this_process()?)?;
        Ok(Some(Held { dir, lock }))
    }

    /// Takes what a dead sandbox left; `None` when it lives, somebody else has it, or it is gone.
    pub(crate) fn take_dead(&self, id: &SandboxId) -> io::Result<Option<Held>> {
        let dir = self.sandbox(id);
        let _appearing = match self.lock(FlockOperation::LockExclusive) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            lock => lock?,
        };
        if !fs::exists(&dir.path)? {
            return Ok(None);
        }
        let lock = match OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .mode(0o600)
            .open(dir.lock_file())
        {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            lock => lock?,
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Held { dir, lock })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whoever else could write here could put links and sockets of his own in our way.
    fn check_owner(&self) -> io::Result<()> {
        let meta = fs::metadata(&self.path)?;
        if meta.uid() == geteuid().as_raw() && meta.mode() & 0o022 == 0 {
            return Ok(());
        }
        let path = self.path.display();
        let message = format!(
            "others can write to {path}: chown it to yourself and chmod 700 it, or set another state directory"
        );
        Err(io::Error::new(ErrorKind::PermissionDenied, message))
    }

    fn lock(&self, operation: FlockOperation) -> io::Result<File> {
        let directory = File::open(&self.path)?;
        flock(&directory, operation)?;
        Ok(directory)
    }
}

impl SandboxDir {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }
    pub(crate) fn record_file(&self) -> PathBuf {
        self.path.join("record.json")
    }
    pub(crate) fn client_key_file(&self) -> PathBuf {
        self.path.join("client_key")
    }
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("ssh.sock")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }
    pub(crate) fn disk(&self) -> PathBuf {
        self.path.join("disk")
    }
    pub(crate) fn staging(&self) -> PathBuf {
        self.path.join("root")
    }

    /// Whether it lives.
    pub(crate) fn life(&self) -> io::Result<Life> {
        let lock = match File::open(self.lock_file()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(if fs::exists(&self.path)? {
                    Life::Dead
                } else {
                    Life::Absent
                });
            }
            lock => lock?,
        };
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(if fs::exists(self.lock_file())? {
                Life::Dead
            } else {
                Life::Absent
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let content = io::read_to_string(&lock)?;
                Ok(Life::Held(
                    content.lines().next().and_then(|line| line.parse().ok()),
                ))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until nobody else is about to replace the record.
    pub(crate) fn lock_for_change(&self) -> io::Result<File> {
        let directory = File::open(&self.path)?;
        flock(&directory, FlockOperation::LockExclusive)?;
        Ok(directory)
    }
}

impl Held {
    pub(crate) fn dir(&self) -> &SandboxDir {
        &self.dir
    }

    /// It is ours for as long as any copy of this is open, in any process.
    pub(crate) fn lock(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.lock)
    }

    /// Removes the directory and all that is in it, the lock last.
    pub(crate) fn remove(self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir.path)? {
            let entry = entry?;
            if entry.file_name() != "lock" {
                remove_tree(&entry.path())?;
            }
        }
        fs::remove_file(self.dir.lock_file())?;
        fs::remove_dir(&self.dir.path)?;
        drop(self.lock);
        Ok(())
    }
}

/// For its owner alone.
pub(crate) fn private_directories() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}
