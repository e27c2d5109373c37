//! The root file system of a sandbox, with the parts of the outside that it needs.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::{self, MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process;

use super::etc;
use super::mounts::{DEVICE, MountTree, SYSTEM, WRITABLE, make_read_only, mount_file_system};
use super::namespace_limits::NamespaceLimits;
use super::sysfs::{clone_topology, mount_cgroups};
use super::user::{INSIDE_ID, home_of};
use crate::linux::failure::{Failure, IoContext, NamespaceContext};

/// The contents of the root.
pub(crate) struct RootPlan<'a> {
    /// An empty directory outside, on which the root is mounted.
    pub(crate) staging: &'a Path,
    /// The storage of home and /tmp.
    pub(crate) disk: Disk<'a>,
    /// Additional files and directories of the outside, mounted read-only at the same path.
    pub(crate) read_only_paths: &'a [PathBuf],
    /// The name in /etc/hostname and /etc/hosts.
    pub(crate) hostname: &'a str,
    /// The login name inside.
    pub(crate) user: &'a str,
    /// The size of each of /run and /dev/shm, in bytes.
    pub(crate) shared_memory: u64,
}

/// The storage of home and /tmp.
pub(crate) enum Disk<'a> {
    /// A directory outside that contains `home` and `tmp`.
    Directory(&'a Path),
    /// A tmpfs of this size in bytes.
    Memory(u64),
}

/// The mounts of the outside, cloned before the root changes.
pub(crate) struct OutsideMounts {
    trees: Vec<MountTree>,
    /// The trees of the options, whose targets may be inside any of the others.
    requested: Vec<MountTree>,
    links: Vec<(PathBuf, PathBuf)>,
    disk_bytes: Option<u64>,
}

/// The directories with programs and libraries, mounted read-only.
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
/// The device nodes below /dev.
pub(super) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Clones the mounts that the sandbox will see, with the permissions of the caller. From here on,
/// changes of mounts propagate neither in nor out.
pub(crate) fn clone_outside(plan: &RootPlan<'_>) -> Result<OutsideMounts, Failure> {
    mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .namespace_context("make the mounts private")?;
    let mut outside = OutsideMounts {
        trees: Vec::new(),
        requested: Vec::new(),
        links: Vec::new(),
        disk_bytes: None,
    };
    for path in SYSTEM_DIRECTORIES.iter().map(Path::new) {
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_symlink() => {
                let target = fs::read_link(path)
                    .isolation_context(format!("read the link {}", path.display()))?;
                outside.links.push((target, relative(path)));
            }
            Ok(_) => outside
                .trees
                .push(MountTree::clone_from(path, relative(path), SYSTEM)?),
            Err(_) => {}
        }
    }
    outside.trees.extend(etc::clone_directories()?);
    outside.trees.extend(clone_topology()?);
    for path in plan.read_only_paths {
        outside
            .requested
            .push(MountTree::clone_from(path, relative(path), SYSTEM)?);
    }
    for name in DEVICES
        .iter()
        .filter(|name| Path::new("/dev").join(name).exists())
    {
        outside.trees.push(MountTree::clone_from(
            &Path::new("/dev").join(name),
            Path::new("dev").join(name),
            DEVICE,
        )?);
    }
    match plan.disk {
        Disk::Directory(path) => {
            outside.trees.push(MountTree::clone_from(
                &path.join("home"),
                relative(&home_of(plan.user)),
                WRITABLE,
            )?);
            outside
                .trees
                .push(MountTree::clone_from(&path.join("tmp"), "tmp", WRITABLE)?);
        }
        Disk::Memory(bytes) => outside.disk_bytes = Some(bytes),
    }
    let options = std::ffi::CString::new(tmpfs_options(0o755, 64 << 20))
        .isolation_context("mount the root")?;
    mount::mount(
        "sandbox",
        plan.staging,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        options.as_c_str(),
    )
    .namespace_context("mount the root")?;
    process::chdir(plan.staging).isolation_context("enter the root")?;
    Ok(outside)
}

/// Builds the root and makes it the only one, as the user of the sandbox.
pub(crate) fn enter(plan: &RootPlan<'_>, outside: OutsideMounts) -> Result<(), Failure> {
    let bytes = plan.shared_memory;
    let private = MountFlags::NODEV;
    mount_file_system(
        "tmpfs",
        "dev",
        MountFlags::NOEXEC,
        &tmpfs_options(0o755, 1 << 20),
    )?;
    if let Some(size) = outside.disk_bytes {
        mount_memory_disk(size, plan.user)?;
    }
    outside.trees.into_iter().try_for_each(MountTree::attach)?;
    for (target, link) in outside.links {
        symlink(target, &link).isolation_context(format!("link /{}", link.display()))?;
    }
    mount_file_system(
        "devpts",
        "dev/pts",
        MountFlags::NOEXEC,
        // The limit keeps one sandbox from taking all terminals of the machine. A connection has at most
        // 256 channels.
        "newinstance,ptmxmode=0666,mode=0620,max=256",
    )?;
    mount_file_system(
        "tmpfs",
        "dev/shm",
        private | MountFlags::NOEXEC,
        &tmpfs_options(0o1777, bytes),
    )?;
    mount_file_system("tmpfs", "run", private, &tmpfs_options(0o755, bytes))?;
    etc::write_files(plan.hostname, plan.user)?;
    fs::create_dir_all("var").isolation_context("create /var")?;
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
    mount_cgroups()?;
    let namespace_limits = mount_proc()?;
    process::pivot_root(".", ".").namespace_context("change the root")?;
    mount::unmount(".", UnmountFlags::DETACH).namespace_context("leave the old root")?;
    process::chdir("/").isolation_context("enter the new root")?;
    // Earlier, a link in a target path could have led out of the new root.
    outside
        .requested
        .into_iter()
        .try_for_each(MountTree::attach)?;
    make_read_only("/dev", MountFlags::NOEXEC)?;
    make_read_only("/", MountFlags::NODEV)?;
    namespace_limits
        .apply()
        .isolation_context("limit the user namespace")
}

/// Mounts home and /tmp from one tmpfs, whose size limits both.
fn mount_memory_disk(bytes: u64, user: &str) -> Result<(), Failure> {
    mount_file_system(
        "tmpfs",
        "disk",
        MountFlags::NODEV,
        &tmpfs_options(0o755, bytes),
    )?;
    for (name, mode, target) in [
        ("home", 0o755, relative(&home_of(user))),
        ("tmp", 0o1777, "tmp".into()),
    ] {
        let source = Path::new("disk").join(name);
        fs::DirBuilder::new()
            .mode(mode)
            .create(&source)
            .isolation_context("set up home and /tmp in memory")?;
        // mkdir applies the umask to the mode.
        fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .isolation_context("set up home and /tmp in memory")?;
        MountTree::clone_from(&source, target, WRITABLE)?.attach()?;
    }
    mount::unmount("disk", UnmountFlags::DETACH)
        .namespace_context("set up home and /tmp in memory")?;
    fs::remove_dir("disk").isolation_context("set up home and /tmp in memory")
}

/// Mounts the /proc of this pid namespace, without files that describe or change the machine. Returns the
/// limits of the user namespace, which cannot be reached any more afterwards.
fn mount_proc() -> Result<NamespaceLimits, Failure> {
    const READ_ONLY: &[&str] = &["sys", "sysrq-trigger", "irq", "bus", "fs"];
    const HIDDEN_FILES: &[&str] = &[
        // Secrets and addresses of the kernel.
        "kcore",
        "keys",
        "key-users",
        "kallsyms",
        "kmsg",
        // What runs outside. Locks of open files are listed for the whole machine.
        "locks",
        "timer_list",
        "latency_stats",
        "sched_debug",
        // The machine's hardware and kernel, which no ordinary program asks for. Load, memory and processors
        // remain, because `top`, `free`, `lscpu` and language runtimes read them.
        "cmdline",
        "config.gz",
        "diskstats",
        "interrupts",
        "iomem",
        "ioports",
        "partitions",
    ];
    const HIDDEN_DIRECTORIES: &[&str] = &["acpi", "scsi", "asound", "pressure"];
    let limits = MountFlags::NODEV | MountFlags::NOEXEC;
    // hidepid hides processes that this user cannot trace, such as the server.
    mount_file_system("proc", "proc", limits, "hidepid=2").or_else(|_| mount_file_system("proc", "proc", limits, "")).map_err(|mut failure| {
        failure.message.push_str("; inside a container, /proc must not be masked (docker run --security-opt systempaths=unconfined)");
        failure
    })?;
    // The directory is opened before a read-only mount covers it.
    let namespace_limits =
        NamespaceLimits::open(Path::new("proc")).isolation_context("limit the user namespace")?;
    let proc = |name: &str| Path::new("proc").join(name);
    for path in READ_ONLY
        .iter()
        .map(|name| proc(name))
        .filter(|path| path.exists())
    {
        MountTree::clone_from(&path, path.clone(), SYSTEM)?.attach_over()?;
    }
    for path in HIDDEN_FILES
        .iter()
        .map(|name| proc(name))
        .filter(|path| path.exists())
    {
        MountTree::clone_from(Path::new("dev/null"), path, DEVICE)?.attach_over()?;
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
    Ok(namespace_limits)
}

fn tmpfs_options(mode: u32, bytes: u64) -> String {
    format!("mode={mode:o},size={bytes},uid={INSIDE_ID},gid={INSIDE_ID}")
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}
