//! The file system of a sandbox: a root of its own, with what it needs of the outside.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::{self, MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process;

use super::tree::{DEVICE, OWN, SYSTEM, Tree, make_read_only, mount_new};
use super::{HOME, INSIDE_ID, etc};
use crate::linux::failure::{Failure, IoContext, NamespaceContext};

/// What the root shall hold.
pub(crate) struct RootPlan<'a> {
    /// An empty directory outside to build it on.
    pub(crate) staging: &'a Path,
    /// What the sandbox writes to.
    pub(crate) disk: Disk<'a>,
    /// More directories and files of the outside to show, at the same path, read-only.
    pub(crate) read_only_paths: &'a [PathBuf],
    /// The name in /etc/hostname and hosts.
    pub(crate) hostname: &'a str,
    /// Bytes that each of /run and /dev/shm may hold.
    pub(crate) shared_memory: u64,
}

/// What a sandbox writes to: its home and /tmp.
pub(crate) enum Disk<'a> {
    /// A directory outside that holds `home` and `tmp`.
    Directory(&'a Path),
    /// Memory, of so many bytes.
    Memory(u64),
}

/// The outside, taken while it can be seen.
pub(crate) struct Taken {
    trees: Vec<Tree>,
    /// What the program asked for, at places that may lie in any of the others.
    asked: Vec<Tree>,
    links: Vec<(PathBuf, PathBuf)>,
    disk_bytes: Option<u64>,
}

pub(super) const SYSTEM_DIRECTORIES: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
];
pub(super) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Takes what the sandbox shall see, as the user who made it. Changes of mounts outside are
/// not seen inside from here on, nor the other way round.
pub(crate) fn take_outside(plan: &RootPlan<'_>) -> Result<Taken, Failure> {
    mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .namespace_context("make the mounts private")?;
    let mut taken = Taken {
        trees: Vec::new(),
        asked: Vec::new(),
        links: Vec::new(),
        disk_bytes: None,
    };
    for path in SYSTEM_DIRECTORIES.iter().map(Path::new) {
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_symlink() => {
                let target = fs::read_link(path)
                    .isolation_context(format!("read the link {}", path.display()))?;
                taken.links.push((target, relative(path)));
            }
            Ok(_) => taken.trees.push(Tree::take(path, relative(path), SYSTEM)?),
            Err(_) => {}
        }
    }
    taken.trees.extend(etc::take_directories()?);
    for path in plan.read_only_paths {
        taken.asked.push(Tree::take(path, relative(path), SYSTEM)?);
    }
    // One that is not there outside either is missed by nobody.
    for name in DEVICES
        .iter()
        .filter(|name| Path::new("/dev").join(name).exists())
    {
        taken.trees.push(Tree::take(
            &Path::new("/dev").join(name),
            Path::new("dev").join(name),
            DEVICE,
        )?);
    }
    match plan.disk {
        Disk::Directory(path) => {
            taken.trees.push(Tree::take(
                &path.join("home"),
                relative(Path::new(HOME)),
                OWN,
            )?);
            taken.trees.push(Tree::take(&path.join("tmp"), "tmp", OWN)?);
        }
        Disk::Memory(bytes) => taken.disk_bytes = Some(bytes),
    }
    let options =
        std::ffi::CString::new(own_tmpfs(0o755, 64 << 20)).isolation_context("mount the root")?;
    mount::mount(
        "sandbox",
        plan.staging,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        options.as_c_str(),
    )
    .namespace_context("mount the root")?;
    process::chdir(plan.staging).isolation_context("enter the root")?;
    Ok(taken)
}

/// Puts everything into place and leaves the outside for good, as the sandbox's own user.
pub(crate) fn enter(plan: &RootPlan<'_>, taken: Taken) -> Result<(), Failure> {
    let bytes = plan.shared_memory;
    let private = MountFlags::NODEV;
    mount_new(
        "tmpfs",
        "dev",
        MountFlags::NOEXEC,
        &own_tmpfs(0o755, 1 << 20),
    )?;
    if let Some(size) = taken.disk_bytes {
        taken_from_memory(size)?;
    }
    taken.trees.into_iter().try_for_each(Tree::attach)?;
    for (target, link) in taken.links {
        symlink(target, &link).isolation_context(format!("link /{}", link.display()))?;
    }
    mount_new(
        "devpts",
        "dev/pts",
        MountFlags::NOEXEC,
        "newinstance,ptmxmode=0666,mode=0620",
    )?;
    mount_new(
        "tmpfs",
        "dev/shm",
        private | MountFlags::NOEXEC,
        &own_tmpfs(0o1777, bytes),
    )?;
    mount_new("tmpfs", "run", private, &own_tmpfs(0o755, bytes))?;
    etc::write_files(plan.hostname)?;
    fs::create_dir_all("var").isolation_context("make /var")?;
    for (target, link) in [
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
        ("pts/ptmx", "dev/ptmx"),
        ("/run", "var/run"),
        ("/tmp", "var/tmp"),
    ] {
        symlink(target, link).isolation_context(format!("link /{link}"))?;
    }
    mount_proc()?;
    process::pivot_root(".", ".").namespace_context("change the root")?;
    mount::unmount(".", UnmountFlags::DETACH).namespace_context("leave the old root")?;
    process::chdir("/").isolation_context("enter the new root")?;
    // Not before: a link on the way would have led out.
    taken.asked.into_iter().try_for_each(Tree::attach)?;
    make_read_only("/dev", MountFlags::NOEXEC)?;
    make_read_only("/", MountFlags::NODEV)
}

/// Home and /tmp in one tmpfs, so that one limit holds for both.
fn taken_from_memory(bytes: u64) -> Result<(), Failure> {
    mount_new("tmpfs", "disk", MountFlags::NODEV, &own_tmpfs(0o755, bytes))?;
    for (name, mode, target) in [
        ("home", 0o755, relative(Path::new(HOME))),
        ("tmp", 0o1777, "tmp".into()),
    ] {
        let source = Path::new("disk").join(name);
        fs::DirBuilder::new()
            .mode(mode)
            .create(&source)
            .isolation_context("divide the disk")?;
        // The mode given to mkdir is cut by the umask.
        fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .isolation_context("divide the disk")?;
        Tree::take(&source, target, OWN)?.attach()?;
    }
    mount::unmount("disk", UnmountFlags::DETACH).namespace_context("divide the disk")?;
    fs::remove_dir("disk").isolation_context("divide the disk")
}

/// A /proc of this pid namespace, without what tells about the machine or changes it.
fn mount_proc() -> Result<(), Failure> {
    const READ_ONLY: &[&str] = &["sys", "sysrq-trigger", "irq", "bus", "fs"];
    const HIDDEN_FILES: &[&str] = &[
        "kcore",
        "keys",
        "key-users",
        "timer_list",
        "latency_stats",
        "sched_debug",
        "kallsyms",
        "kmsg",
    ];
    const HIDDEN_DIRECTORIES: &[&str] = &["acpi", "scsi", "asound"];
    let limits = MountFlags::NODEV | MountFlags::NOEXEC;
    // Processes that this user could not trace, the server above all, are not listed.
    mount_new("proc", "proc", limits, "hidepid=2").or_else(|_| mount_new("proc", "proc", limits, "")).map_err(|mut failure| {
        failure.message.push_str("; inside a container, /proc must not be masked (docker run --security-opt systempaths=unconfined)");
        failure
    })?;
    let proc = |name: &str| Path::new("proc").join(name);
    for path in READ_ONLY
        .iter()
        .map(|name| proc(name))
        .filter(|path| path.exists())
    {
        Tree::take(&path, path.clone(), SYSTEM)?.attach_over()?;
    }
    for path in HIDDEN_FILES
        .iter()
        .map(|name| proc(name))
        .filter(|path| path.exists())
    {
        Tree::take(Path::new("dev/null"), path, DEVICE)?.attach_over()?;
    }
    for path in HIDDEN_DIRECTORIES
        .iter()
        .map(|name| proc(name))
        .filter(|path| path.exists())
    {
        mount::mount(
            "tmpfs",
            &path,
            "tmpfs",
            limits | MountFlags::NOSUID | MountFlags::RDONLY,
            c"size=4k,mode=555",
        )
        .namespace_context(format!("hide /{}", path.display()))?;
    }
    Ok(())
}

fn own_tmpfs(mode: u32, bytes: u64) -> String {
    format!("mode={mode:o},size={bytes},uid={INSIDE_ID},gid={INSIDE_ID}")
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}
