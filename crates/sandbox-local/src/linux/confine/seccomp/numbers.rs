//! Numbers of calls that the C library does not define on every architecture.

use nix::libc::c_long;

/// The newest call that the lists take into account: file_setattr, of Linux 6.17.
pub(super) const LAST_KNOWN_CALL: u32 = 469;

#[cfg(target_arch = "x86_64")]
pub(super) const SYS_URETPROBE: c_long = 335;
// From 424, a call has the same number on all architectures.
pub(super) const SYS_MEMFD_SECRET: c_long = 447;
pub(super) const SYS_PROCESS_MRELEASE: c_long = 448;
pub(super) const SYS_FUTEX_WAITV: c_long = 449;
pub(super) const SYS_CACHESTAT: c_long = 451;
pub(super) const SYS_FCHMODAT2: c_long = 452;
pub(super) const SYS_MAP_SHADOW_STACK: c_long = 453;
pub(super) const SYS_FUTEX_WAKE: c_long = 454;
pub(super) const SYS_FUTEX_WAIT: c_long = 455;
pub(super) const SYS_FUTEX_REQUEUE: c_long = 456;
pub(super) const SYS_STATMOUNT: c_long = 457;
pub(super) const SYS_LISTMOUNT: c_long = 458;
pub(super) const SYS_MSEAL: c_long = 462;
pub(super) const SYS_SETXATTRAT: c_long = 463;
pub(super) const SYS_GETXATTRAT: c_long = 464;
pub(super) const SYS_LISTXATTRAT: c_long = 465;
pub(super) const SYS_REMOVEXATTRAT: c_long = 466;
pub(super) const SYS_FILE_GETATTR: c_long = 468;
pub(super) const SYS_FILE_SETATTR: c_long = 469;
