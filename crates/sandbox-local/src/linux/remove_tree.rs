//! Removes a directory tree with hostile content.
//!
//! The tree may be deeper than a path or the stack allows, and its directories may deny their owner
//! every access. So subdirectories are moved to the top one by one, and at most two directories are
//! open at a time. No other process may write to the tree any more.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, chmodat, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

/// Removes a file, or a directory with its content. It is no error if the path does not exist.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    if !meta.is_dir() {
        return fs::remove_file(path);
    }
    let top = open_directory(CWD, path)?;
    let mut moved = 0_u64;
    loop {
        let directories = remove_files(&top)?;
        if directories.is_empty() {
            return fs::remove_dir(path);
        }
        for name in directories {
            let directory = open_directory(&top, &*name)?;
            for inner in remove_files(&directory)? {
                // Moving a directory changes its `..`, so it must be writable itself.
                chmodat(&directory, &*inner, Mode::RWXU, AtFlags::empty())?;
                move_up(&directory, &inner, &top, &mut moved)?;
            }
            unlinkat(&top, &*name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Removes all entries but directories, and returns the names of those.
fn remove_files(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut directories = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if [c".", c".."].contains(&name.as_c_str()) {
            continue;
        }
        match unlinkat(directory, &*name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => directories.push(name),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(directories)
}

/// Moves a directory into `top`, under a number as its name.
fn move_up(from: &OwnedFd, name: &CString, top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match renameat_with(
            from,
            &**name,
            top,
            format!("{moved}"),
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens a directory after giving its owner all permissions.
fn open_directory<P: rustix::path::Arg + Copy>(
    at: impl std::os::fd::AsFd,
    path: P,
) -> io::Result<OwnedFd> {
    let at = at.as_fd();
    chmodat(at, path, Mode::RWXU, AtFlags::empty())?;
    Ok(openat(
        at,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn trees_with_links_and_without_permissions_are_removed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b/1/2")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        fs::create_dir(tree.join("1")).unwrap();
        symlink(outside.path(), tree.join("a/link")).unwrap();
        symlink("/nonexistent", tree.join("dangling")).unwrap();
        for forbidden in ["a/b/1", "a/b", "a", ""] {
            fs::set_permissions(tree.join(forbidden), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!fs::exists(&tree).unwrap());
        assert!(outside.path().join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_a_path_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at = open_directory(CWD, &*tree).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open_directory(&at, "d").unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!fs::exists(&tree).unwrap());
    }
}
