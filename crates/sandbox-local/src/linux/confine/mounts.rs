//! Mounts that are cloned outside and attached in the new root.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{self, MountFlags, MoveMountFlags, OpenTreeFlags};

use crate::linux::failure::{Failure, FailureKind, IoContext, NamespaceContext};
use crate::linux::sys::{self, MountLimits};

/// The limits of a system directory: read-only, no devices.
pub(crate) const SYSTEM: MountLimits = MountLimits {
    read_only: true,
    no_devices: true,
    no_exec: false,
};
/// The limits of a directory that the sandbox can write to: no devices.
pub(crate) const WRITABLE: MountLimits = MountLimits {
    read_only: false,
    no_devices: true,
    no_exec: false,
};
/// The limits of a device node: no programs.
pub(crate) const DEVICE: MountLimits = MountLimits {
    read_only: false,
    no_devices: false,
    no_exec: true,
};

/// A restricted clone of a mount and the mounts below it, not attached yet.
pub(crate) struct MountTree {
    target: PathBuf,
    is_dir: bool,
    mount: OwnedFd,
}

impl MountTree {
    /// Clones the mount at `source`, to be attached at `target` below the new root.
    pub(crate) fn clone_from(
        source: &Path,
        target: impl Into<PathBuf>,
        limits: MountLimits,
    ) -> Result<Self, Failure> {
        let step = || format!("mount {} in the sandbox", source.display());
        let is_dir = fs::metadata(source).isolation_context(step())?.is_dir();
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let mount = mount::open_tree(CWD, source, flags).namespace_context(step())?;
        sys::restrict_mount(mount.as_fd(), limits).map_err(|error| {
            let hint = if error.raw_os_error() == Some(rustix::io::Errno::NOSYS.raw_os_error()) {
                "; use Linux 5.12 or newer"
            } else {
                ""
            };
            let kind = match error.kind() {
                io::ErrorKind::PermissionDenied => FailureKind::Forbidden,
                _ => FailureKind::Isolation,
            };
            Failure::new(kind, step(), format!("{error}{hint}"))
        })?;
        Ok(Self {
            target: target.into(),
            is_dir,
            mount,
        })
    }

    /// Creates the target below the working directory and attaches the tree there.
    pub(crate) fn attach(self) -> Result<(), Failure> {
        let step = || format!("mount /{}", self.target.display());
        if self.is_dir {
            fs::create_dir_all(&self.target).isolation_context(step())?;
        } else {
            create_parent(&self.target)
                .and_then(|()| File::create(&self.target))
                .isolation_context(step())?;
        }
        self.attach_over()
    }

    /// Attaches the tree over an existing target.
    pub(crate) fn attach_over(self) -> Result<(), Failure> {
        mount::move_mount(
            &self.mount,
            "",
            CWD,
            &self.target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .namespace_context(format!("mount /{}", self.target.display()))
    }
}

/// Mounts a new file system.
pub(crate) fn mount_file_system(
    kind: &str,
    target: impl AsRef<Path>,
    flags: MountFlags,
    options: &str,
) -> Result<(), Failure> {
    let target = target.as_ref();
    let step = || format!("mount {kind} on /{}", target.display());
    let options = std::ffi::CString::new(options).isolation_context(step())?;
    fs::create_dir_all(target).isolation_context(step())?;
    mount::mount(
        kind,
        target,
        kind,
        flags | MountFlags::NOSUID,
        options.as_c_str(),
    )
    .namespace_context(step())
}

/// Forbids writing to an attached mount.
pub(crate) fn make_read_only(target: &str, keep: MountFlags) -> Result<(), Failure> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | keep;
    mount::mount_remount(target, flags, c"").namespace_context(format!("make {target} read-only"))
}

/// Creates the parent directories of `path`.
pub(crate) fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}
