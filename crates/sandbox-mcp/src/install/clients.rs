//! Where clients keep the servers that they start.

use std::env;
use std::path::PathBuf;

/// A client whose configuration can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientKind {
    /// Claude Desktop.
    Claude,
    /// Claude Code.
    ClaudeCode,
    /// Cursor.
    Cursor,
    /// Visual Studio Code.
    VsCode,
}

/// For which projects the server is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// For all projects of the user.
    User,
    /// For the project in the working directory.
    Project,
}

impl ClientKind {
    /// Returns the scope that is meant if none is named.
    pub fn default_scope(self) -> Scope {
        match self {
            Self::Claude | Self::Cursor => Scope::User,
            // Claude Code writes its user's file all the time, together with much else.
            Self::ClaudeCode | Self::VsCode => Scope::Project,
        }
    }

    /// Returns its file; `None` if it has none of this scope, or the home directory is not known.
    pub fn file(self, scope: Scope) -> Option<PathBuf> {
        match (self, scope) {
            (Self::Claude, Scope::Project) => None,
            (Self::Claude, Scope::User) => {
                Some(settings_dir()?.join("Claude/claude_desktop_config.json"))
            }
            (Self::ClaudeCode, Scope::Project) => Some(PathBuf::from(".mcp.json")),
            (Self::ClaudeCode, Scope::User) => Some(env::home_dir()?.join(".claude.json")),
            (Self::Cursor, Scope::Project) => Some(PathBuf::from(".cursor/mcp.json")),
            (Self::Cursor, Scope::User) => Some(env::home_dir()?.join(".cursor/mcp.json")),
            (Self::VsCode, Scope::Project) => Some(PathBuf::from(".vscode/mcp.json")),
            (Self::VsCode, Scope::User) => Some(settings_dir()?.join("Code/User/mcp.json")),
        }
    }

    /// The key of the object with the servers.
    pub(super) fn servers_key(self) -> &'static str {
        match self {
            Self::Claude | Self::ClaudeCode | Self::Cursor => "mcpServers",
            Self::VsCode => "servers",
        }
    }

    /// Whether an entry says that it is started, and not connected to.
    pub(super) fn needs_type(self) -> bool {
        match self {
            Self::ClaudeCode | Self::VsCode => true,
            Self::Claude | Self::Cursor => false,
        }
    }
}

/// The directory where programs of the desktop keep their settings.
fn settings_dir() -> Option<PathBuf> {
    if cfg!(windows) {
        return env::var_os("APPDATA").map(PathBuf::from);
    }
    if cfg!(target_os = "macos") {
        return Some(env::home_dir()?.join("Library/Application Support"));
    }
    // https://specifications.freedesktop.org/basedir-spec/latest/
    let named = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    named.or_else(|| Some(env::home_dir()?.join(".config")))
}
