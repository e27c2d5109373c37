//! The directories that a sandbox can write to.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::teardown::Teardown;
use crate::linux::confine::Mechanism;
use crate::linux::protocol::Plan;
use crate::linux::record::Record;
use crate::linux::state::SandboxDir;

/// Creates `home` and `tmp` and returns their parent. It is in the sandbox's directory, unless the
/// sandbox's user has no access to that one.
pub(super) fn create_disk(
    plan: &Plan,
    mechanism: Mechanism,
    own_ids: Option<(u32, u32)>,
    dir: &SandboxDir,
    record: &mut Record,
    teardown: &mut Teardown,
) -> io::Result<PathBuf> {
    let is_public = mechanism == Mechanism::Landlock && own_ids.is_some();
    let (disk, mode, tmp_mode) = if is_public {
        let disk = public_dir().join(format!("sandbox-{}", plan.uid));
        teardown.disk = Some(disk.clone());
        // The record names the directory before it exists, so that a sweep finds it.
        record.disk = Some(disk.clone());
        record.write(dir)?;
        (disk, 0o711, 0o700)
    } else {
        (dir.disk(), 0o700, 0o1777)
    };
    match DirBuilder::new().mode(mode).create(&disk) {
        // An earlier attempt has created it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && disk == dir.disk() => {
            return Ok(disk);
        }
        created => created?,
    }
    // mkdir applies the umask to the mode.
    fs::set_permissions(&disk, fs::Permissions::from_mode(mode))?;
    for (name, mode) in [("home", 0o700), ("tmp", tmp_mode)] {
        let path = disk.join(name);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if let Some((uid, gid)) = own_ids {
            chown(&path, Some(uid), Some(gid))?;
        }
    }
    Ok(disk)
}

/// Returns a directory that every user can access. Names in it are unique and not guessable.
fn public_dir() -> &'static Path {
    ["/var/tmp", "/tmp"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("/tmp"))
}
