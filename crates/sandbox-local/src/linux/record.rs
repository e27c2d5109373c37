//! The record of a sandbox: its description on disk, for every process of the user.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sandbox_core::{Assignment, OnExpiry, PublicKey, SandboxInfo};
use serde::{Deserialize, Serialize};

use crate::linux::process_identity::ProcessIdentity;
use crate::linux::state::SandboxDir;

/// The version of the format. Others are refused, so that they are not misread.
const VERSION: u32 = 1;

/// The description of a sandbox, without secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// The public part.
    pub(crate) info: SandboxInfo,
    /// The hard end, in milliseconds since 1970.
    hard_end: u64,
    /// The host's public key, to be pinned.
    host_key: String,
    /// The first process that the supervisor started: the server process, or its keeper.
    pub(crate) server: Option<ProcessIdentity>,
    /// Its control groups.
    pub(crate) cgroups: Vec<PathBuf>,
    /// The directory that the sandbox writes to, if it is outside the sandbox's own directory.
    #[serde(default)]
    pub(crate) disk: Option<PathBuf>,
}

impl Record {
    pub(crate) fn new(info: SandboxInfo, hard_end: SystemTime, host_key: &PublicKey) -> Self {
        let hard_end = hard_end.duration_since(UNIX_EPOCH).map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        Self {
            version: VERSION,
            info,
            hard_end,
            host_key: host_key.as_str().to_owned(),
            server: None,
            cgroups: Vec::new(),
            disk: None,
        }
    }

    /// Reads the record of a sandbox. The error's kind is `NotFound` if there is none.
    pub(crate) fn read(dir: &SandboxDir) -> io::Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let path = dir.record_file();
        let text = fs::read_to_string(&path)?;
        let damaged = |error: serde_json::Error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: {error}", path.display()),
            )
        };
        let Versioned { version } = serde_json::from_str(&text).map_err(damaged)?;
        if version != VERSION {
            let message = format!(
                "{} has format {version}, but this version reads format {VERSION}; use the version that created the sandbox",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        serde_json::from_str(&text).map_err(damaged)
    }

    /// Replaces the record in one step. The caller holds [`SandboxDir::lock_record`].
    pub(crate) fn write(&self, dir: &SandboxDir) -> io::Result<()> {
        let new = dir.path().join("record.json.new");
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        fs::rename(&new, dir.record_file())
    }

    /// The end that no extension can move.
    pub(crate) fn hard_end(&self) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_millis(self.hard_end))
            .unwrap_or(UNIX_EPOCH)
    }

    /// The public host key.
    pub(crate) fn host_key(&self) -> sandbox_core::Result<PublicKey> {
        self.host_key.parse()
    }

    /// Moves the soft end to `ttl` from now, but never to an earlier time or past the hard end.
    pub(crate) fn extend(&mut self, ttl: Duration) {
        let requested = self.end_after(ttl);
        let end = self
            .info
            .expires_at
            .map_or(requested, |now| now.max(requested));
        self.info.expires_at = Some(end.min(self.hard_end()));
    }

    /// Returns the soft end, unless the sandbox outlives it because it is paused then.
    pub(crate) fn soft_end(&self) -> Option<SystemTime> {
        let is_paused_then = self.info.is_marked_paused
            || match self.info.on_expiry {
                OnExpiry::Pause => true,
                OnExpiry::End => false,
            };
        self.info.expires_at.filter(|_| !is_paused_then)
    }

    /// Sets labels, annotations and marks, and moves the soft end to the `ttl` from now, also to an earlier time. Changes
    /// nothing if there would be too many annotations.
    pub(crate) fn assign(&mut self, assignment: Assignment) -> sandbox_core::Result<()> {
        self.info.annotations = assignment.merge_annotations(&self.info.annotations)?;
        self.info.labels.extend(assignment.labels);
        if let Some(is_paused) = assignment.is_paused {
            self.info.is_marked_paused = is_paused;
        }
        if let Some(on_expiry) = assignment.on_expiry {
            self.info.on_expiry = on_expiry;
        }
        if let Some(ttl) = assignment.ttl {
            self.info.expires_at = Some(self.end_after(ttl));
        }
        Ok(())
    }

    /// Returns the time `ttl` from now, but not past the hard end.
    fn end_after(&self, ttl: Duration) -> SystemTime {
        let hard_end = self.hard_end();
        SystemTime::now()
            .checked_add(ttl)
            .map_or(hard_end, |end| end.min(hard_end))
    }
}
