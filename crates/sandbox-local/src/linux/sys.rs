//! The few system calls that no safe wrapper offers.
#![allow(
    unsafe_code,
    reason = "clone, unshare, mount_setattr, close_range, an interface ioctl and waiting for a descriptor have no safe wrapper"
)]

use std::io;
use std::mem::{self, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::ptr;

use nix::libc;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// On which side of a [`clone_process`] we are.
pub(crate) enum Cloned {
    /// In the new process.
    Child,
    /// In the old one.
    Parent {
        /// The new process.
        pid: Pid,
        /// A handle on it that no other process can come to have.
        pidfd: OwnedFd,
    },
}

/// Namespaces for [`clone_process`].
pub(crate) const NEW_NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET;

/// Like `fork`, in new namespaces. The caller must be single-threaded; it is checked.
pub(crate) fn clone_process(namespaces: libc::c_int) -> io::Result<Cloned> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other(
            "the process has threads, and only a process with one thread can be cloned",
        ));
    }
    let flags = libc::c_long::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
    let mut pidfd: libc::c_int = -1;
    // SAFETY: without CLONE_VM and with a null stack this is a fork: the child goes on with a
    // copy of this memory, in which no other thread can have left a lock taken (checked above).
    // Only `pidfd`, which outlives the call, is written to. The last two arguments, whose order
    // differs between architectures, are both unused.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            ptr::null_mut::<libc::c_void>(),
            &raw mut pidfd,
            0 as libc::c_long,
            0 as libc::c_long,
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: CLONE_PIDFD made the kernel store a new descriptor, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let pid =
                pid.ok_or_else(|| io::Error::other("clone returned an impossible process id"))?;
            Ok(Cloned::Parent { pid, pidfd })
        }
    }
}

/// What [`restrict_mount`] adds.
#[derive(Clone, Copy)]
pub(crate) struct MountLimits {
    /// No writing.
    pub(crate) read_only: bool,
    /// No device nodes.
    pub(crate) no_devices: bool,
    /// No programs.
    pub(crate) no_exec: bool,
}

/// Restricts a mount and all below it, in one step and whatever their flags are now; setuid
/// bits never count. Linux 5.12.
pub(crate) fn restrict_mount(mount: BorrowedFd<'_>, limits: MountLimits) -> io::Result<()> {
    let mut set = libc::MOUNT_ATTR_NOSUID;
    for (wanted, attribute) in [
        (limits.read_only, libc::MOUNT_ATTR_RDONLY),
        (limits.no_devices, libc::MOUNT_ATTR_NODEV),
        (limits.no_exec, libc::MOUNT_ATTR_NOEXEC),
    ] {
        if wanted {
            set |= attribute;
        }
    }
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the descriptor is open, the path is a constant C string, and `attributes` is a
    // valid structure of the size given; the kernel only reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Makes the group this process is in the root of all groups it can see.
pub(crate) fn unshare_cgroup_namespace() -> io::Result<()> {
    // SAFETY: of all that can be unshared, only the table of descriptors is delicate, and it
    // is not asked for.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }?)
}

/// Waits until the process behind this pidfd has ended.
pub(crate) async fn wait_for_end(pidfd: OwnedFd) -> io::Result<()> {
    // SAFETY: an `OwnedFd` stays open, and the same, until it is dropped; and that, being
    // inside, it is only after it was taken off the runtime's list.
    let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
    pidfd.readable().await.map(drop)
}

/// Closes every descriptor above standard error but those in `keep`. Linux 5.9.
///
/// For a process that has just begun, or that has just been cloned and never returns to the
/// frames which own the closed ones.
pub(crate) fn close_other_descriptors(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<RawFd> = keep
        .iter()
        .map(AsRawFd::as_raw_fd)
        .filter(|fd| *fd > 2)
        .collect();
    kept.sort_unstable();
    let mut first: libc::c_uint = 3;
    for fd in kept.into_iter().map(RawFd::cast_unsigned) {
        if first < fd {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, libc::c_uint::MAX)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) -> io::Result<()> {
    // SAFETY: touches no memory; that nobody uses these descriptors is the caller's contract.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Brings up `lo` in this network namespace.
pub(crate) fn bring_up_loopback() -> io::Result<()> {
    // Any socket will do, and this kind needs no network.
    let socket = UnixDatagram::unbound()?;
    // SAFETY: all-zero bytes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    interface_request(socket.as_fd(), libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS has just filled this member of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    interface_request(socket.as_fd(), libc::SIOCSIFFLAGS, &mut request)
}

fn interface_request(
    socket: BorrowedFd<'_>,
    what: libc::Ioctl,
    request: &mut libc::ifreq,
) -> io::Result<()> {
    // SAFETY: both requests used here read and write one `ifreq`, which `request` is.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), what, ptr::from_mut(request)) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
