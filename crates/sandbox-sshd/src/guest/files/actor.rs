//! Whom a request about files is carried out for.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, fstat};
use rustix::io::Errno;
use sandbox_core::FilePath;
use sandbox_core::guest::Refusal;

use crate::config::ServerConfig;
use crate::guest::paths::resolve;
use crate::guest::refusals::refuse_user;
use crate::process::user::{User, UserProblem, can_change_owners};

/// Whom a request is carried out for.
pub(super) struct Actor {
    /// Where relative paths begin.
    pub(super) home: PathBuf,
    /// Who owns what is created, if not the user of the server.
    pub(super) owner: Option<Owner>,
}

/// Who owns what is created.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
}

impl Actor {
    /// The user of the server.
    pub(super) fn own(home: PathBuf) -> Self {
        Self { home, owner: None }
    }

    /// Finds a user by name, or by number. It may block.
    ///
    /// # Errors
    ///
    /// If there is no such user, or if this server cannot create files for another one.
    pub(super) fn find(name: &str, config: &ServerConfig) -> Result<Self, Refusal> {
        let refuse = |problem| refuse_user("access files", name, problem);
        match User::find(name, config.user.as_deref()).map_err(refuse)? {
            User::Own => Ok(Self::own(config.home.clone())),
            User::Other(..) if !can_change_owners() => Err(refuse(UserProblem::NotPermitted)),
            User::Other(account, identity) => Ok(Self {
                home: account.home.unwrap_or_else(|| config.home.clone()),
                owner: Some(Owner {
                    uid: Uid::from_raw(identity.uid),
                    gid: Gid::from_raw(identity.gid),
                }),
            }),
        }
    }

    /// Returns the absolute path of a request.
    pub(super) fn resolve(&self, path: &FilePath) -> Result<PathBuf, Refusal> {
        resolve(&self.home, path)
    }
}

impl Owner {
    /// Gives the owner a directory that was just created. Another process may have replaced it: a link is not followed,
    /// and what does not belong to this server stays whose it is.
    pub(super) fn take_directory(self, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        if fstat(&directory)?.st_uid != geteuid().as_raw() {
            return Err(Errno::PERM.into());
        }
        Ok(fchown(&directory, Some(self.uid), Some(self.gid))?)
    }
}
