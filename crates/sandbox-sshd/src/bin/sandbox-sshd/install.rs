//! Installing this program into a directory, for an image that does not have it.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Copies this program to `sandbox-sshd` in `directory`, which is created if necessary. The file
/// appears under its name only once it is complete.
///
/// # Errors
///
/// A message with the path and the cause.
pub(crate) fn install(directory: &Path) -> Result<(), String> {
    let target = directory.join("sandbox-sshd");
    copy(directory, &target)
        .map_err(|error| format!("cannot install {}: {error}", target.display()))
}

fn copy(directory: &Path, target: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let partial = directory.join(format!(".sandbox-sshd.{}", std::process::id()));
    let copied = copy_whole(&partial).and_then(|()| std::fs::rename(&partial, target));
    if copied.is_err() {
        // This fails if the file was not created.
        std::fs::remove_file(&partial).ok();
    }
    copied
}

fn copy_whole(partial: &Path) -> io::Result<()> {
    let mut source =
        File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?))?;
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(partial)?;
    io::copy(&mut source, &mut file)?;
    // The mode given to `open` is reduced by the umask.
    file.set_permissions(Permissions::from_mode(0o755))?;
    file.sync_all()
}
