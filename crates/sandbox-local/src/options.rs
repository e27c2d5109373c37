//! The options of the local backend.

use std::path::PathBuf;
use std::time::Duration;

use sandbox_core::{Error, Resources, Result};
use serde::{Deserialize, Serialize};

/// The name of this backend.
pub(crate) const BACKEND: &str = "local";

/// How a sandbox is isolated from this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum IsolationLevel {
    /// [`Namespaces`](Self::Namespaces) if the system permits them, else [`Landlock`](Self::Landlock), and
    /// never less. The sandbox's info reports which of them was used, and why.
    #[default]
    Auto,
    /// Namespaces, a separate root directory, no capabilities, a system call filter. For development and
    /// trusted code, not against attackers: the kernel is shared.
    Namespaces,
    /// Landlock (ABI 6, Linux 6.12) together with a system call filter. System directories are readable,
    /// and only the sandbox's own home and temporary directory are writable. It cannot create sockets,
    /// not even inside, or signal other processes, and there is no `/proc`.
    ///
    /// It sees more than with namespaces: names, sizes and modes of files that it cannot open, and how
    /// many processes there are. If an unprivileged user creates it, it has that user's id. It then cannot
    /// change modes and owners (`chmod` fails, so programs that it compiles cannot be run), nor times by
    /// path, because these could be those of the user's own files.
    Landlock,
    /// **No isolation**: plain processes of the caller's user, which can do everything that the caller can.
    /// Only the life cycle is that of a sandbox.
    None,
}

impl IsolationLevel {
    /// Returns the name of the level.
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
            _ => Err(Error::invalid(
                "isolation level",
                text,
                "use auto, namespaces, landlock or none",
            )),
        }
    }
}

/// Settings of a [`LocalBackend`](crate::LocalBackend).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalOptions {
    /// The directory of sandboxes. `None` means `$XDG_STATE_HOME/sandbox`, else
    /// `~/.local/state/sandbox`.
    pub state_dir: Option<PathBuf>,
    /// The program `sandbox-local-server`. `None` means this program itself, if its `main` begins with
    /// [`init`](crate::init()), else a file of that name beside it or on `PATH`.
    pub server: Option<PathBuf>,
    /// How to isolate sandboxes. A level other than `Auto` is applied or refused, never weakened.
    pub isolation: IsolationLevel,
    /// Default limits, applied as well as this system allows and reported with each sandbox. Without
    /// one, memory is limited to half of the machine's, and processes to 1024.
    pub default_limits: Resources,
    /// The login name inside, unless isolation is `Landlock` or `None`; the home directory is `/home/` and
    /// this name. At most 32 of `a-z`, `0-9`, `_` and `-`, the first a letter or `_`. Default: `sandbox`.
    pub user: String,
    /// Additional files and directories to show inside, read-only, at the same path.
    pub read_only_paths: Vec<PathBuf>,
    /// Timeout for starting a sandbox. Default: 30 seconds.
    pub start_timeout: Duration,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            state_dir: None,
            server: None,
            isolation: IsolationLevel::default(),
            default_limits: Resources::default(),
            user: "sandbox".to_owned(),
            read_only_paths: Vec::new(),
            start_timeout: Duration::from_secs(30),
        }
    }
}
