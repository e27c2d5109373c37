//! Users and their groups, as the files of the image list them (passwd(5), group(5)).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use rustix::fs::{Mode, OFlags};
use rustix::thread::CapabilitySet;

/// The most bytes of a file that are read.
const MAX_FILE: u64 = 4 << 20;
/// The most groups that Linux accepts (NGROUPS_MAX).
const MAX_GROUPS: usize = 65_536;

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// All groups, the first of which is `gid`.
    pub(crate) groups: Vec<u32>,
}

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: Option<PathBuf>,
    pub(crate) shell: Option<PathBuf>,
}

/// A user that can be named in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum User {
    /// The one whom the server runs as.
    Own,
    /// Another one, as which this server can run programs.
    Other(Box<Account>, Identity),
}

/// Why nothing can be done as a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UserProblem {
    Unknown,
    /// The server is not root, or may not change its user.
    NotPermitted,
}

impl fmt::Display for UserProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no such user in the sandbox",
            Self::NotPermitted => {
                "cannot run a program as another user: the sandbox's server is not root, or may not change its user"
            }
        })
    }
}

impl User {
    /// Finds a user by name, or by number. `own_name` is the name that the server itself has been given.
    ///
    /// # Errors
    ///
    /// If there is no such user, or if this server cannot act as another one.
    pub(crate) fn find(name: &str, own_name: Option<&str>) -> Result<Self, UserProblem> {
        if own_name == Some(name) {
            return Ok(Self::Own);
        }
        let passwd = read(Path::new("/etc/passwd"));
        let own_uid = geteuid().as_raw();
        let Some(account) = find_named(&passwd, name) else {
            // The user of the server may be in no list.
            return if name.parse() == Ok(own_uid) {
                Ok(Self::Own)
            } else {
                Err(UserProblem::Unknown)
            };
        };
        if account.uid == own_uid {
            return Ok(Self::Own);
        }
        if own_uid != 0 || !can_change_user() {
            return Err(UserProblem::NotPermitted);
        }
        let mut groups = vec![account.gid];
        groups.extend(groups_of(&read(Path::new("/etc/group")), &account.name));
        groups.truncate(MAX_GROUPS);
        let identity = Identity {
            uid: account.uid,
            gid: account.gid,
            groups,
        };
        Ok(Self::Other(Box::new(account), identity))
    }

    /// Whom its programs run as; `None` for the user of the server.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Own => None,
            Self::Other(_, identity) => Some(identity),
        }
    }

    /// The variables that its programs have in place of those of the server's user.
    pub(crate) fn variables(&self) -> Vec<(OsString, OsString)> {
        match self {
            Self::Own => Vec::new(),
            Self::Other(account, _) => account.variables(account.own_home()),
        }
    }

    /// Where its programs start: in its home directory, or in the root directory as after login(1) if there is no such
    /// directory. `own` is that of the server's user.
    pub(crate) fn directory<'a>(&'a self, own: &'a Path) -> &'a Path {
        match self {
            Self::Own => own,
            Self::Other(account, _) => Some(account.own_home())
                .filter(|home| home.is_dir())
                .unwrap_or(Path::new("/")),
        }
    }
}

impl Account {
    /// The variables that depend on the user.
    pub(crate) fn variables(&self, home: &Path) -> Vec<(OsString, OsString)> {
        let mut variables = vec![
            ("HOME".into(), home.into()),
            ("USER".into(), self.name.clone().into()),
            ("LOGNAME".into(), self.name.clone().into()),
        ];
        let shell = self.shell.clone();
        variables.extend(shell.map(|shell| ("SHELL".into(), shell.into())));
        variables
    }

    fn own_home(&self) -> &Path {
        self.home.as_deref().unwrap_or(Path::new("/"))
    }
}

/// Returns the lines of `/etc/passwd` that have all fields up to the home directory.
pub(crate) fn accounts(passwd: &[u8]) -> impl Iterator<Item = Account> {
    passwd.split(|&byte| byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let [name, _, uid, gid, _, home, rest @ ..] = &fields[..] else {
            return None;
        };
        Some(Account {
            name: std::str::from_utf8(name).ok()?.to_owned(),
            uid: parse_id(uid)?,
            gid: parse_id(gid)?,
            home: to_path(home),
            shell: rest.first().and_then(|shell| to_path(shell)),
        })
    })
}

fn find_named(passwd: &[u8], name: &str) -> Option<Account> {
    let number = parse_id(name.as_bytes());
    accounts(passwd)
        .find(|account| account.name == name)
        .or_else(|| accounts(passwd).find(|account| Some(account.uid) == number))
}

/// Returns the groups that list this user.
fn groups_of(group: &[u8], user: &str) -> Vec<u32> {
    let groups = group.split(|&byte| byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b':').collect();
        let [_, _, gid, members] = &fields[..] else {
            return None;
        };
        let is_member = members
            .split(|&byte| byte == b',')
            .any(|member| !member.is_empty() && member == user.as_bytes());
        parse_id(gid).filter(|_| is_member)
    });
    groups.collect()
}

fn parse_id(field: &[u8]) -> Option<u32> {
    // The last number means "none" to the kernel.
    let id = std::str::from_utf8(field).ok()?.parse().ok()?;
    (id != u32::MAX).then_some(id)
}

fn to_path(field: &[u8]) -> Option<PathBuf> {
    (!field.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(field)))
}

/// Whether this process has the capabilities of root that a change of user needs. A Pod may lack them.
fn can_change_user() -> bool {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Whether this process may give files to other users. A Pod may lack that capability, too.
pub(crate) fn can_change_owners() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::CHOWN))
}

/// Reads the beginning of a file. The workload may have replaced it, so a FIFO is not waited for.
fn read(path: &Path) -> Vec<u8> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mut content = Vec::new();
    let read = rustix::fs::open(path, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|file| File::from(file).take(MAX_FILE).read_to_end(&mut content));
    if let Err(error) = read {
        tracing::debug!(path = %path.display(), %error, "list of users not read");
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0::/root:/bin/sh\nbroken\n7:x:8:9::/seven:\napp:x:1000:1001:App:/srv/app:/bin/bash\nnone:x:7:7:::\nbad:x:-1:7::/:\nnobody:x:4294967295:1::/:\n";

    #[test]
    fn users_are_found_by_name_and_then_by_number() {
        for (name, uid) in [
            ("root", Some(0)),
            ("app", Some(1000)),
            ("1000", Some(1000)),
            ("7", Some(8)),
            ("8", Some(8)),
            ("bad", None),
            ("nobody", None),
            ("4294967295", None),
            ("", None),
            ("app:x", None),
        ] {
            let found = find_named(PASSWD, name).map(|account| account.uid);
            assert_eq!(found, uid, "{name:?}");
        }
        let app = find_named(PASSWD, "app").unwrap();
        assert_eq!((app.gid, app.home), (1001, Some("/srv/app".into())));
        assert_eq!(app.shell, Some("/bin/bash".into()));
    }

    #[test]
    fn groups_are_those_that_list_the_user() {
        let group = b"root:x:0:\nsudo:x:27:app,other\nweb:x:33:other\napp2:x:34:apps\nx:x:no:app\ndocker:x:99:app\n";
        assert_eq!(groups_of(group, "app"), [27, 99]);
        assert!(groups_of(group, "").is_empty());
    }

    #[test]
    fn the_own_user_is_found_by_each_of_its_names() {
        let uid = geteuid().as_raw().to_string();
        assert_eq!(User::find("me", Some("me")), Ok(User::Own));
        assert_eq!(User::find(&uid, None), Ok(User::Own));
        assert_eq!(User::find("no such user", None), Err(UserProblem::Unknown));
    }
}
