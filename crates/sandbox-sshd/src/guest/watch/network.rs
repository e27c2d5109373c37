//! Network file systems, on which inotify(7) does not report what other machines do.

use std::path::Path;

use rustix::fs::{major, minor};

/// File systems of networks, as in /proc/filesystems. Those in user space are judged separately.
const NETWORK_TYPES: [&str; 12] = [
    "afs",
    "ceph",
    "cifs",
    "coda",
    "gfs2",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
];

/// Returns the type of the file system of a path, if it is one of a network. It may block.
pub(super) fn find_network_type(path: &Path) -> Option<String> {
    let device = rustix::fs::stat(path).ok()?.st_dev;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let kind = find_type(&mounts, (major(device), minor(device)))?;
    is_network_type(kind).then(|| kind.to_owned())
}

/// Returns the type of the file system with this device (proc_pid_mountinfo(5)).
fn find_type(mounts: &str, (major, minor): (u32, u32)) -> Option<&str> {
    let device = format!("{major}:{minor}");
    mounts.lines().find_map(|line| {
        let (fields, rest) = line.split_once(" - ")?;
        (fields.split(' ').nth(2)? == device)
            .then(|| rest.split(' ').next())
            .flatten()
    })
}

/// Most file systems in user space are clients of a network, except those that containers are made of.
fn is_network_type(kind: &str) -> bool {
    NETWORK_TYPES.contains(&kind)
        || kind == "fuse"
        || kind
            .strip_prefix("fuse.")
            .is_some_and(|program| program != "fuse-overlayfs" && program != "lxcfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_device_is_found() {
        let mounts = "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                      30 22 0:25 / /mnt rw - nfs4 server:/x rw\n\
                      31 22 0:26 /a /home/u\\040v rw - fuse.sshfs host: rw\n";
        for (device, kind, is_network) in [
            ((8, 1), Some("ext4"), false),
            ((0, 25), Some("nfs4"), true),
            ((0, 26), Some("fuse.sshfs"), true),
            ((0, 27), None, false),
        ] {
            let found = find_type(mounts, device);
            assert_eq!(found, kind);
            assert_eq!(found.is_some_and(is_network_type), is_network);
        }
        for local in [
            "fuse.fuse-overlayfs",
            "fuseblk",
            "virtiofs",
            "9p",
            "overlay",
        ] {
            assert!(!is_network_type(local), "{local}");
        }
    }
}
