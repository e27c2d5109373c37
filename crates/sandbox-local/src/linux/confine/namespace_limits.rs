//! Limits of the user namespace, for resources that the kernel otherwise counts for the caller's user in
//! all namespaces together.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open, openat};

/// Without these limits one sandbox could take all inotify instances of its user. The namespaces are a
/// second line of defence behind the system call filter.
const LIMITS: [(&str, u32); 12] = [
    ("max_inotify_instances", 32),
    ("max_inotify_watches", 65_536),
    ("max_fanotify_groups", 0),
    ("max_fanotify_marks", 0),
    ("max_cgroup_namespaces", 0),
    ("max_ipc_namespaces", 0),
    ("max_mnt_namespaces", 0),
    ("max_net_namespaces", 0),
    ("max_pid_namespaces", 0),
    ("max_time_namespaces", 0),
    ("max_user_namespaces", 0),
    ("max_uts_namespaces", 0),
];

/// The directory of the limits. <https://docs.kernel.org/admin-guide/sysctl/user.html>
pub(crate) struct NamespaceLimits(OwnedFd);

impl NamespaceLimits {
    /// Opens the directory in a new mount of /proc, which is writable also in a container.
    pub(crate) fn open(proc: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(open(proc.join("sys/user"), flags, Mode::empty())?))
    }

    /// Sets the limits of this process's user namespace, in which it must still have all capabilities.
    /// No mount can be cloned afterwards, because that needs a mount namespace.
    pub(crate) fn apply(&self) -> io::Result<()> {
        for (name, value) in LIMITS {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            match openat(&self.0, name, flags, Mode::empty()) {
                Ok(file) => File::from(file).write_all(value.to_string().as_bytes())?,
                // An older kernel does not count this resource for a user.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
