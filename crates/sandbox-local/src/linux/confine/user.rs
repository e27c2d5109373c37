//! The user of a sandbox: its name and id inside, and its ids outside.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::process::{Pid, getegid, geteuid};

use crate::linux::failure::{Failure, FailureKind, IoContext, NamespaceContext};

/// The user and group id inside.
pub(crate) const INSIDE_ID: u32 = 1000;
/// Returns the home directory inside of the user with this login name.
pub(crate) fn home_of(user: &str) -> PathBuf {
    Path::new("/home").join(user)
}

/// Checks a login name, which becomes part of /etc/passwd and of a path.
pub(crate) fn check_login_name(name: &str) -> sandbox_core::Result<()> {
    let is_valid = name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
    // These names have ids of their own.
    if is_valid && !matches!(name, "root" | "nobody" | "nogroup") {
        return Ok(());
    }
    Err(sandbox_core::Error::invalid(
        "login name of local sandboxes",
        name,
        "use at most 32 lowercase letters, digits, '_' and '-', beginning with a letter or '_', and not root or nobody",
    ))
}

/// The user and group that a sandbox runs as, as seen from outside.
pub(crate) struct OutsideIds {
    /// User id outside.
    pub(crate) uid: u32,
    /// Group id outside.
    pub(crate) gid: u32,
    /// Whether only this sandbox has these ids. Otherwise they are those of the caller.
    pub(crate) is_exclusive: bool,
    /// Reserves the ids with a lock, which the kernel releases when this process ends.
    _reservation: Option<File>,
}

impl OutsideIds {
    /// Chooses the caller's own ids or, if the caller is root, ids that no user and no other sandbox
    /// has.
    pub(crate) fn choose() -> Result<Self, Failure> {
        if !geteuid().is_root() {
            return Ok(Self::for_caller());
        }
        let users = Extents::read("/proc/self/uid_map")?;
        let groups = Extents::read("/proc/self/gid_map")?;
        let candidates: Vec<u32> = users
            .unused_range()
            .filter(|id| groups.contains(*id))
            .collect();
        if candidates.is_empty() {
            // The caller is root of a user namespace without other ids.
            return Ok(Self::for_caller());
        }
        let start =
            usize::try_from(RandomState::new().build_hasher().finish() % candidates.len() as u64)
                .unwrap_or(0);
        let reservations = open_reservations().context("choose a user for the sandbox")?;
        for id in candidates.iter().cycle().skip(start).take(candidates.len()) {
            if reserve(&reservations, *id).context("choose a user for the sandbox")? {
                return Ok(Self {
                    uid: *id,
                    gid: *id,
                    is_exclusive: true,
                    _reservation: Some(reservations),
                });
            }
        }
        Err(Failure::new(
            FailureKind::Other,
            "choose a user for the sandbox",
            "all user ids that are reserved for sandboxes are in use; delete sandboxes",
        ))
    }

    fn for_caller() -> Self {
        Self {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            is_exclusive: false,
            _reservation: None,
        }
    }

    /// Writes the maps of a new user namespace.
    pub(crate) fn write_maps(&self, child: Pid) -> Result<(), Failure> {
        let proc = |file: &str| format!("/proc/{}/{file}", child.as_raw_nonzero());
        if !self.is_exclusive {
            // An unprivileged user can write gid_map only after this.
            fs::write(proc("setgroups"), "deny").namespace_context("forbid setgroups")?;
        }
        fs::write(proc("uid_map"), format!("{INSIDE_ID} {} 1\n", self.uid))
            .namespace_context("map the sandbox's user")?;
        fs::write(proc("gid_map"), format!("{INSIDE_ID} {} 1\n", self.gid))
            .namespace_context("map the sandbox's group")
    }
}

/// The parents of the directory of the reservations. The first that can be written to is used; /run is
/// read-only in some containers.
const RESERVATION_PARENTS: [&str; 2] = ["/run", "/var/lib"];

/// Opens the file in which each reserved id has one locked byte. Only root can enter its directory, so
/// that no other user can block ids. All supervisors of root on a machine share it, in whichever network
/// namespace they are.
fn open_reservations() -> io::Result<File> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    for parent in RESERVATION_PARENTS {
        result = open_reservations_in(&Path::new(parent).join("sandbox-local"));
        if result.is_ok() {
            break;
        }
    }
    result
}

fn open_reservations_in(directory: &Path) -> io::Result<File> {
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = fs::symlink_metadata(directory)?;
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "{} is not a directory that only root can enter; remove it",
            directory.display()
        )));
    }
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(directory.join("uids"))
}

/// Reserves an id; returns whether it was free. The lock belongs to the open file (fcntl(2), "Open file
/// description locks"), so the processes of the sandbox, which close the file, do not release it.
fn reserve(reservations: &File, id: u32) -> io::Result<bool> {
    let byte = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: libc::off_t::from(id),
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(reservations, FcntlArg::F_OFD_SETLK(&byte)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The ids that exist in this user namespace, as ranges: the first id and the number of ids.
struct Extents(Vec<(u32, u32)>);

impl Extents {
    fn read(path: &str) -> Result<Self, Failure> {
        fs::read_to_string(path)
            .context(format!("read {path}"))
            .map(|text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let extent = |line: &str| {
            let mut numbers = line.split_whitespace();
            Some((numbers.next()?.parse().ok()?, numbers.nth(1)?.parse().ok()?))
        };
        Self(text.lines().filter_map(extent).collect())
    }

    fn contains(&self, id: u32) -> bool {
        self.0
            .iter()
            .any(|(first, count)| id >= *first && id - first < *count)
    }

    /// Returns ids far above those that distributions and systemd assign
    /// (<https://systemd.io/UIDS-GIDS/>), or else the upper end of the last range.
    fn unused_range(&self) -> std::ops::Range<u32> {
        const FIRST: u32 = 1_900_000_000;
        const COUNT: u32 = 65_536;
        if self.contains(FIRST) && self.contains(FIRST + COUNT - 1) {
            return FIRST..FIRST + COUNT;
        }
        let last = self
            .0
            .iter()
            .copied()
            .max_by_key(|(first, _)| *first)
            .unwrap_or((0, 0));
        // 65534 is "nobody"; system users have ids below 1000.
        let end = (last.0 + last.1).min(65_534).max(last.0);
        end.saturating_sub(4096).max(last.0).max(1000)..end.max(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_reserved_once_until_the_file_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ids");
        let first = open_reservations_in(&path).unwrap();
        let second = open_reservations_in(&path).unwrap();
        assert!(reserve(&first, 1_900_000_000).unwrap());
        assert!(!reserve(&second, 1_900_000_000).unwrap());
        assert!(reserve(&second, 1_900_000_001).unwrap());
        drop(first);
        assert!(reserve(&second, 1_900_000_000).unwrap());
    }

    #[test]
    fn reservations_need_a_directory_that_others_cannot_enter() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ids");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(open_reservations_in(&path).is_err());
    }

    #[test]
    fn the_chosen_ids_are_outside_the_ranges_of_users() {
        for (map, expected) in [
            (
                "         0          0 4294967295\n",
                1_900_000_000..1_900_065_536,
            ),
            ("0 100000 65536\n", 61_438..65_534),
            ("0 1000 1\n1 100000 65536\n", 61_438..65_534),
            ("0 1000 1\n", 1000..1000),
            ("", 1000..1000),
        ] {
            assert_eq!(Extents::parse(map).unused_range(), expected, "{map}");
        }
    }
}
