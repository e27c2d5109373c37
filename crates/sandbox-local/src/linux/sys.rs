//! The system calls that have no safe wrapper.
#![allow(
    unsafe_code,
    reason = "clone, unshare, mount_setattr, close_range, signal dispositions, an interface ioctl and waiting for a descriptor have no safe wrapper"
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

/// The two returns of [`clone_process`].
pub(crate) enum Cloned {
    /// The call returned in the new process.
    Child,
    /// The call returned in the calling process.
    Parent {
        /// The new process.
        pid: Pid,
        /// A handle on the new process, also after its pid has been reused.
        pidfd: OwnedFd,
    },
}

/// The namespaces of a sandbox, for [`clone_process`].
pub(crate) const NEW_NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET;

/// Forks into new namespaces. Fails if the caller has more than one thread.
pub(crate) fn clone_process(namespaces: libc::c_int) -> io::Result<Cloned> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other(
            "only a process with one thread can be cloned, and this one has more",
        ));
    }
    let flags = libc::c_long::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
    let mut pidfd: libc::c_int = -1;
    // SAFETY: without CLONE_VM and with a null stack this is a fork: the child continues with a
    // copy of this memory, in which no other thread can hold a lock (checked above).
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
            // SAFETY: because of CLONE_PIDFD the kernel stored a new descriptor, which has no other owner.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let pid =
                pid.ok_or_else(|| io::Error::other("clone returned an impossible process id"))?;
            Ok(Cloned::Parent { pid, pidfd })
        }
    }
}

/// The restrictions that [`restrict_mount`] adds.
#[derive(Clone, Copy)]
pub(crate) struct MountLimits {
    /// Forbids writing.
    pub(crate) read_only: bool,
    /// Forbids opening device nodes.
    pub(crate) no_devices: bool,
    /// Forbids executing programs.
    pub(crate) no_exec: bool,
}

/// Restricts a mount and all mounts below it in one step, in addition to their flags. Setuid bits
/// are always ignored. Needs Linux 5.12.
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

/// Creates a cgroup namespace, in which this process's own group is the root.
pub(crate) fn unshare_cgroup_namespace() -> io::Result<()> {
    // SAFETY: unsharing is only unsafe for the table of descriptors, which these flags do not
    // include.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }?)
}

/// Waits until the process behind this pidfd has ended.
pub(crate) async fn wait_for_end(pidfd: OwnedFd) -> io::Result<()> {
    // SAFETY: an `OwnedFd` stays open and unchanged until it is dropped, and the `AsyncFd` that
    // owns it deregisters it before.
    let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
    pidfd.readable().await.map(drop)
}

/// Closes every descriptor above standard error but those in `keep`. Needs Linux 5.9.
///
/// Only a process may call this that has just started, or that was just cloned and never returns to
/// the stack frames that own the closed descriptors.
pub(crate) fn close_other_descriptors(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<RawFd> = keep
        .iter()
        .map(AsRawFd::as_raw_fd)
        .filter(|fd| *fd > 2)
        .collect();
    keep.sort_unstable();
    let mut first: libc::c_uint = 3;
    for fd in keep.into_iter().map(RawFd::cast_unsigned) {
        if first < fd {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, libc::c_uint::MAX)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) -> io::Result<()> {
    // SAFETY: the call touches no memory. The caller guarantees that the descriptors are unused.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Resets the signals that this process ignores to their defaults. SIGPIPE remains ignored, as the Rust
/// runtime sets it; the standard library resets it for each program that it starts.
pub(crate) fn reset_ignored_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        if signal == libc::SIGPIPE {
            continue;
        }
        // SAFETY: a null pointer for the new action only reads; all-zero bytes are a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        // SAFETY: `action` is valid for writes.
        let result = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
        if result == 0 && action.sa_sigaction == libc::SIG_IGN {
            // SAFETY: the default action runs no code of this process.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

/// Enables the interface `lo` in this network namespace.
pub(crate) fn enable_loopback() -> io::Result<()> {
    // The ioctl accepts any socket; this kind needs no network.
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
    // SAFETY: both requests of the callers read and write one `ifreq`, which `request` is.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), what, ptr::from_mut(request)) };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
