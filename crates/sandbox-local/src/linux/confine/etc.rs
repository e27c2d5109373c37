//! The `/etc` of a sandbox: only world-readable files that programs need.
//!
//! It never contains shadow, SSH host keys, kubeconfigs, private TLS keys, machine-id, or the files of
//! package managers, which hold tokens.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::mounts::{MountTree, SYSTEM, create_parent};
use super::user::INSIDE_ID;
use crate::linux::failure::{Failure, IoContext};

/// Directories below `/etc` that are mounted. Among them are those that programs in `/usr` link to, such
/// as Maven's configuration. docs/SECURITY.md lists them.
const DIRECTORIES: &[&str] = &[
    "ImageMagick-6",
    "ImageMagick-7",
    "R",
    "X11/app-defaults",
    "alternatives",
    "ant",
    "ca-certificates",
    "emacs",
    "fonts",
    "groff",
    "ld.so.conf.d",
    "maven",
    "perl",
    "pki/ca-trust",
    "pki/tls/certs",
    "profile.d",
    "skel",
    "ssl/certs",
    "terminfo",
    "texmf",
    "vim",
];
/// Prefixes of further directories, whose names contain a version: `java-17-openjdk`, `python3.12`.
const DIRECTORY_PREFIXES: &[&str] = &["java-", "python"];
/// Files below `/etc` that are copied.
const FILES: &[&str] = &[
    "bash.bashrc",
    "ca-certificates.conf",
    "debian_version",
    "gai.conf",
    "host.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "magic",
    "magic.mime",
    "mime.types",
    "mke2fs.conf",
    "networks",
    "os-release",
    "profile",
    "protocols",
    "rpc",
    "services",
    "shells",
    "ssl/openssl.cnf",
    "timezone",
];
/// Larger files are not copied, in bytes.
const MAX_FILE_SIZE: u64 = 8 << 20;

/// Clones the directories, while the outside is still mounted.
pub(crate) fn clone_directories() -> Result<Vec<MountTree>, Failure> {
    let clone = |name: &PathBuf| {
        MountTree::clone_from(
            &Path::new("/etc").join(name),
            Path::new("etc").join(name),
            SYSTEM,
        )
    };
    readable_directories().iter().map(clone).collect()
}

/// Returns the existing world-readable directories, relative to `/etc`.
pub(super) fn readable_directories() -> Vec<PathBuf> {
    let etc = Path::new("/etc");
    let mut names: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    // Errors are ignored: /etc may not exist.
    for entry in fs::read_dir(etc).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if DIRECTORY_PREFIXES
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            names.push(name.into());
        }
    }
    names.retain(|name| {
        fs::metadata(etc.join(name))
            .is_ok_and(|meta| meta.is_dir() && meta.permissions().mode() & 0o005 == 0o005)
    });
    names
}

/// Returns the existing world-readable files.
pub(super) fn readable_files() -> impl Iterator<Item = PathBuf> {
    FILES
        .iter()
        .map(|name| Path::new("/etc").join(name))
        .filter(|path| is_world_readable_file(path))
}

fn is_world_readable_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o004 != 0)
}

/// Writes the files below the working directory.
pub(crate) fn write_files(hostname: &str, user: &str) -> Result<(), Failure> {
    fs::create_dir_all("etc").isolation_context("create /etc")?;
    for name in FILES {
        copy(name).isolation_context(format!("copy /etc/{name}"))?;
    }
    let id = INSIDE_ID;
    let generated = [
        ("passwd", format!("{user}:x:{id}:{id}:{user}:/home/{user}:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n")),
        ("group", format!("{user}:x:{id}:\nnogroup:x:65534:\n")),
        ("hostname", format!("{hostname}\n")),
        ("hosts", format!("127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost ip6-loopback\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n".to_owned()),
        // There is no network, so a lookup must fail at once and not wait for a timeout.
        ("resolv.conf", "options timeout:1 attempts:1\n".to_owned()),
    ];
    for (name, content) in generated {
        fs::write(Path::new("etc").join(name), content)
            .isolation_context(format!("write /etc/{name}"))?;
    }
    symlink("/proc/self/mounts", "etc/mtab").isolation_context("link /etc/mtab")
}

fn copy(name: &str) -> std::io::Result<()> {
    let source = Path::new("/etc").join(name);
    let target = Path::new("etc").join(name);
    // Missing files, dangling links and files that are not world-readable are left out.
    let Ok(real) = fs::canonicalize(&source) else {
        return Ok(());
    };
    let Ok(meta) = fs::metadata(&real) else {
        return Ok(());
    };
    if !meta.is_file() || meta.permissions().mode() & 0o004 == 0 || meta.len() > MAX_FILE_SIZE {
        return Ok(());
    }
    create_parent(&target)?;
    if fs::symlink_metadata(&source)?.is_symlink() && real.starts_with("/usr") {
        return symlink(real, target);
    }
    let mut content = Vec::new();
    File::open(&real)?
        .take(MAX_FILE_SIZE)
        .read_to_end(&mut content)?;
    fs::write(target, content)
}
