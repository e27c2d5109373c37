//! The state directory: one directory for each sandbox, with a lock that shows whether it runs.
//!
//! ```text
//! <state>/<id>/            mode 0700
//!     lock                 locked by the supervisor while it runs
//!     record.json          the public description; replaced, never changed in place
//!     client_key           the private key of the client
//!     ssh.sock             the socket on which the server listens
//!     log                  the log of the supervisor and the server
//!     disk/home, disk/tmp  the directories that the sandbox can write to
//!     root                 an empty directory; the sandbox's root is mounted on it
//! ```
//!
//! Only the holder of the lock removes anything. The state directory itself is locked while a
//! sandbox's directory is created, so that no process finds a running sandbox unlocked.

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

/// The directory of all sandboxes of one user.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
}

/// The directory of one sandbox, which may not exist.
#[derive(Debug, Clone)]
pub(crate) struct SandboxDir {
    path: PathBuf,
}

/// A sandbox's directory that this process has locked, and so owns.
#[derive(Debug)]
pub(crate) struct LockedDir {
    dir: SandboxDir,
    lock: File,
}

/// The state of a sandbox's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockState {
    /// The directory does not exist.
    Absent,
    /// The supervisor has ended, and no process is cleaning up yet.
    Ended,
    /// A process holds the lock: the supervisor that is named in it or, if that one has ended, a
    /// process that cleans up.
    Locked(Option<ProcessIdentity>),
}

impl StateDir {
    /// Determines the directory from the options, else from the environment.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if none is set and there is no home directory, or if the path is relative.
    pub(crate) fn from_options(options: &LocalOptions) -> sandbox_core::Result<Self> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let path = options
            .state_dir
            .clone()
            // The XDG specification requires that relative values are ignored.
            .or_else(|| {
                variable("XDG_STATE_HOME")
                    .filter(|path| path.is_absolute())
                    .map(|path| path.join("sandbox"))
            })
            .or_else(|| variable("HOME").map(|home| home.join(".local/state/sandbox")));
        match path {
            Some(path) if path.is_absolute() => Ok(Self { path }),
            Some(path) => Err(Error::Config {
                message: format!(
                    "the state directory {} is not an absolute path",
                    path.display()
                ),
            }),
            None => Err(Error::Config {
                message: "no state directory: HOME is not set; set HOME or the state directory"
                    .into(),
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

    /// Returns the ids of all sandboxes; files with other names are ignored.
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

    /// Creates and locks the directory of a new sandbox; `None` if the id is in use.
    pub(crate) fn claim(&self, id: &SandboxId) -> io::Result<Option<LockedDir>> {
        private_dir_builder().recursive(true).create(&self.path)?;
        self.check_owner()?;
        let dir = self.sandbox(id);
        let _creation_lock = self.lock(FlockOperation::LockShared)?;
        match private_dir_builder().create(&dir.path) {
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
        writeln!(lock, "{}", ProcessIdentity::for_current_process()?)?;
        Ok(Some(LockedDir { dir, lock }))
    }

    /// Locks the directory of an ended sandbox; `None` if it runs, does not exist, or another
    /// process cleans up.
    pub(crate) fn lock_ended(&self, id: &SandboxId) -> io::Result<Option<LockedDir>> {
        let dir = self.sandbox(id);
        let _creation_lock = match self.lock(FlockOperation::LockExclusive) {
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
            Ok(()) => Ok(Some(LockedDir { dir, lock })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that no other user can write here, who could plant links and sockets.
    fn check_owner(&self) -> io::Result<()> {
        let meta = fs::metadata(&self.path)?;
        if meta.uid() == geteuid().as_raw() && meta.mode() & 0o022 == 0 {
            return Ok(());
        }
        let path = self.path.display();
        let message = format!(
            "other users can write to {path}: chown it to yourself and chmod 700 it, or set another state directory"
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

    /// Reads the state of the lock.
    pub(crate) fn lock_state(&self) -> io::Result<LockState> {
        let lock = match File::open(self.lock_file()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(if fs::exists(&self.path)? {
                    LockState::Ended
                } else {
                    LockState::Absent
                });
            }
            lock => lock?,
        };
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(if fs::exists(self.lock_file())? {
                LockState::Ended
            } else {
                LockState::Absent
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let content = io::read_to_string(&lock)?;
                Ok(LockState::Locked(
                    content.lines().next().and_then(|line| line.parse().ok()),
                ))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until no other process is replacing the record, and excludes them.
    pub(crate) fn lock_record(&self) -> io::Result<File> {
        let directory = File::open(&self.path)?;
        flock(&directory, FlockOperation::LockExclusive)?;
        Ok(directory)
    }
}

impl LockedDir {
    pub(crate) fn dir(&self) -> &SandboxDir {
        &self.dir
    }

    /// The lock's descriptor. The lock is held while any copy of it is open, in any process.
    pub(crate) fn lock(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.lock)
    }

    /// Removes the directory with its content, the lock last.
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

/// Returns a builder of directories that only their owner can enter.
pub(crate) fn private_dir_builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Creates a new file that only its owner can read.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}
