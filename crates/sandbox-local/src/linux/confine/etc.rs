//! `/etc`: what programs need and everybody may read, and nothing else.
//!
//! Never in it: shadow, ssh host keys, the kubeconfigs of clusters, private TLS keys, files
//! of package managers (they hold tokens) and machine-id.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::INSIDE_ID;
use super::tree::{SYSTEM, Tree, make_parent};
use crate::linux::failure::{Failure, IoContext};

/// Directories, taken as they are.
const DIRECTORIES: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "fonts",
    "ld.so.conf.d",
    "perl",
    "pki/ca-trust",
    "pki/tls/certs",
    "profile.d",
    "skel",
    "ssl/certs",
    "terminfo",
];
/// Directories whose names carry a version: `java-17-openjdk`, `python3.12`.
const DIRECTORY_PREFIXES: &[&str] = &["java-", "python"];
/// Files, copied.
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
/// Larger ones are none that belong here.
const LARGEST_FILE: u64 = 8 << 20;

/// Takes the directories while the outside can be seen.
pub(crate) fn take_directories() -> Result<Vec<Tree>, Failure> {
    let take = |name: &PathBuf| {
        Tree::take(
            &Path::new("/etc").join(name),
            Path::new("etc").join(name),
            SYSTEM,
        )
    };
    readable_directories().iter().map(take).collect()
}

/// Those that are there and for everybody, below `/etc`.
pub(super) fn readable_directories() -> Vec<PathBuf> {
    let etc = Path::new("/etc");
    let mut names: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    // A machine without /etc has nothing to take from it.
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

/// The files that are there and for everybody.
pub(super) fn readable_files() -> impl Iterator<Item = PathBuf> {
    FILES
        .iter()
        .map(|name| Path::new("/etc").join(name))
        .filter(|path| is_public(path))
}

fn is_public(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o004 != 0)
}

/// Writes the files, below the working directory.
pub(crate) fn write_files(hostname: &str) -> Result<(), Failure> {
    fs::create_dir_all("etc").isolation_context("make /etc")?;
    for name in FILES {
        copy(name).isolation_context(format!("copy /etc/{name}"))?;
    }
    let id = INSIDE_ID;
    let own = [
        ("passwd", format!("sandbox:x:{id}:{id}:sandbox:/home/sandbox:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n")),
        ("group", format!("sandbox:x:{id}:\nnogroup:x:65534:\n")),
        ("hostname", format!("{hostname}\n")),
        ("hosts", format!("127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost ip6-loopback\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n".to_owned()),
        // There is no network, so no name server: names end here at once instead of at a time-out.
        ("resolv.conf", "options timeout:1 attempts:1\n".to_owned()),
    ];
    for (name, content) in own {
        fs::write(Path::new("etc").join(name), content)
            .isolation_context(format!("write /etc/{name}"))?;
    }
    symlink("/proc/self/mounts", "etc/mtab").isolation_context("link /etc/mtab")
}

fn copy(name: &str) -> std::io::Result<()> {
    let source = Path::new("/etc").join(name);
    let target = Path::new("etc").join(name);
    // What does not exist, leads nowhere or is not for everybody is left out.
    let Ok(real) = fs::canonicalize(&source) else {
        return Ok(());
    };
    let Ok(meta) = fs::metadata(&real) else {
        return Ok(());
    };
    if !meta.is_file() || meta.permissions().mode() & 0o004 == 0 || meta.len() > LARGEST_FILE {
        return Ok(());
    }
    make_parent(&target)?;
    if fs::symlink_metadata(&source)?.is_symlink() && real.starts_with("/usr") {
        return symlink(real, target);
    }
    let mut content = Vec::new();
    File::open(&real)?
        .take(LARGEST_FILE)
        .read_to_end(&mut content)?;
    fs::write(target, content)
}
