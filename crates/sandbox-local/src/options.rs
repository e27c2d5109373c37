//! How a program wants its local sandboxes.

use std::path::PathBuf;
use std::time::Duration;

use sandbox_core::{Error, Resources, Result};
use serde::{Deserialize, Serialize};

/// How strictly a sandbox is separated from this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum IsolationLevel {
    /// [`Namespaces`](Self::Namespaces) where this system permits them, found out by trying;
    /// else [`Landlock`](Self::Landlock); never less. Which it came to, and why, stands in the
    /// sandbox's info.
    #[default]
    Auto,
    /// Namespaces, a root of its own, no capabilities, a system call filter. It is for
    /// development and for code one would run oneself, not for attackers: they share a kernel.
    Namespaces,
    /// Landlock (its ABI 6, Linux 6.12) together with a system call filter. System directories
    /// can be read, and nothing but the sandbox's own home and temporary directory written; no
    /// socket can be made, not even inside, no other process signalled, and there is no `/proc`.
    ///
    /// It sees more than namespaces show: names, sizes and modes of files that it cannot open,
    /// and how many processes there are. Made by an ordinary user, whose user id it then has, it
    /// cannot change modes and owners (`chmod` fails, and with it what it compiles cannot be run)
    /// nor times by path, for they could be those of the user's own files.
    Landlock,
    /// **None**: plain processes of the caller's user, who can do all that the caller can. Only
    /// the life cycle is a sandbox's.
    None,
}

impl IsolationLevel {
    /// The one word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::None => "none",
        }
    }
}

impl std::str::FromStr for IsolationLevel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "namespaces" => Ok(Self::Namespaces),
            "landlock" => Ok(Self::Landlock),
            "none" => Ok(Self::None),
            _ => Err(Error::invalid("isolation level", text, "use auto, namespaces, landlock or none")),
        }
    }
}

/// Settings of a [`LocalBackend`](crate::LocalBackend).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalOptions {
    /// Where sandboxes are kept. Otherwise `$XDG_STATE_HOME/sandbox`, else
    /// `~/.local/state/sandbox`.
    pub state_dir: Option<PathBuf>,
    /// The program `sandbox-local-server`. Otherwise this program itself, if its `main` begins
    /// with [`init`](crate::init()), else a file of that name beside it or on `PATH`.
    pub server: Option<PathBuf>,
    /// How strictly to isolate. Nothing weaker than it says is ever taken instead.
    pub isolation: IsolationLevel,
    /// Limits of sandboxes that ask for none, applied as well as this system lets us and
    /// reported with each sandbox. Otherwise half of the machine's memory and 1024 processes.
    pub default_limits: Resources,
    /// More files and directories to show inside, read-only, at the same path.
    pub read_only_paths: Vec<PathBuf>,
    /// How long a sandbox may take to start. 30 seconds.
    pub start_timeout: Duration,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            state_dir: None,
            server: None,
            isolation: IsolationLevel::default(),
            default_limits: Resources::default(),
            read_only_paths: Vec::new(),
            start_timeout: Duration::from_secs(30),
        }
    }
}
