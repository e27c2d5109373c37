//! What is kept about a sandbox, for every process that asks.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sandbox_core::{PublicKey, SandboxInfo};
use serde::{Deserialize, Serialize};

use crate::linux::process_identity::ProcessIdentity;
use crate::linux::state::SandboxDir;

/// The format; a newer one is refused instead of misread.
const VERSION: u32 = 1;

/// Everything about a sandbox that is not secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// What people see.
    pub(crate) info: SandboxInfo,
    /// The hard end, in milliseconds since 1970.
    hard_end: u64,
    /// The host's public key, to be pinned.
    host_key: String,
    /// The first process inside, as it is seen from outside.
    pub(crate) server: Option<ProcessIdentity>,
    /// Its control groups.
    pub(crate) cgroups: Vec<PathBuf>,
    /// What it writes to, where that is not in its directory.
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

    /// Reads the record of a sandbox; the error's kind is `NotFound` when there is none.
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
                "{} has format {version}, and this version knows {VERSION}",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        serde_json::from_str(&text).map_err(damaged)
    }

    /// Replaces the record in one step. The caller holds [`SandboxDir::lock_for_change`].
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

    /// When it ends whatever anybody says.
    pub(crate) fn hard_end(&self) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_millis(self.hard_end))
            .unwrap_or(UNIX_EPOCH)
    }

    /// The host's public key.
    pub(crate) fn host_key(&self) -> sandbox_core::Result<PublicKey> {
        self.host_key.parse()
    }

    /// Puts the soft end off to `ttl` from now, never nearer and never past the hard end.
    pub(crate) fn extend(&mut self, ttl: Duration) {
        let asked = SystemTime::now()
            .checked_add(ttl)
            .unwrap_or(self.hard_end());
        let end = self.info.expires_at.map_or(asked, |now| now.max(asked));
        self.info.expires_at = Some(end.min(self.hard_end()));
    }
}
