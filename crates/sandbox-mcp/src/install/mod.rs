//! Adds the server to the configuration of a client, without a risk to what else that has.

pub(crate) mod clients;
mod document;
mod edit;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use similar::TextDiff;

use self::clients::ClientKind;
use crate::error::McpError;

/// The largest file of a client that is changed, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The entry of a server in a client's file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Installation {
    /// The name under which the client shows the server.
    pub name: String,
    /// The program that the client starts.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What the entry changes in a file. Nothing is written before [`write`](Self::write).
#[derive(Debug)]
pub struct Change {
    path: PathBuf,
    before: Option<String>,
    after: String,
}

impl Installation {
    /// Describes an entry with this program and these arguments, named `sandbox`.
    pub fn new(program: impl Into<String>, args: Vec<String>) -> Self {
        Self {
            name: "sandbox".to_owned(),
            program: program.into(),
            args,
        }
    }

    /// Finds out what the entry changes in the file of a client. Everything else in the file stays as it is, byte for byte:
    /// other entries, their order, comments and indentation.
    ///
    /// # Errors
    ///
    /// [`McpError::File`] if the file cannot be read, and [`McpError::ClientFile`] if it is not what such a file is.
    pub fn plan(&self, client: ClientKind, path: &Path) -> Result<Change, McpError> {
        let before = read(path)?;
        let after = edit::set_entry(
            before.as_deref().unwrap_or_default(),
            client.servers_key(),
            &self.name,
            &self.describe(client),
        )
        .map_err(|reason| McpError::ClientFile {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Change {
            path: path.to_owned(),
            before,
            after,
        })
    }

    fn describe(&self, client: ClientKind) -> Value {
        if client.needs_type() {
            json!({"type": "stdio", "command": self.program, "args": self.args})
        } else {
            json!({"command": self.program, "args": self.args})
        }
    }
}

impl Change {
    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file has this entry already.
    pub fn is_empty(&self) -> bool {
        self.before.as_ref() == Some(&self.after)
    }

    /// Returns the difference in the unified format.
    pub fn diff(&self) -> String {
        let name = self.path.display().to_string();
        let former = if self.before.is_some() {
            name.as_str()
        } else {
            "/dev/null"
        };
        TextDiff::from_lines(self.before.as_deref().unwrap_or_default(), &self.after)
            .unified_diff()
            .header(former, &name)
            .to_string()
    }

    /// Writes the file. It appears complete, under its own name, or not at all. Permissions stay; a symbolic link stays one.
    ///
    /// # Errors
    ///
    /// [`McpError::ClientFile`] if it has changed meanwhile, and [`McpError::File`] if it cannot be written.
    pub fn write(&self) -> Result<(), McpError> {
        if self.is_empty() {
            return Ok(());
        }
        if read(&self.path)? != self.before {
            return Err(McpError::ClientFile {
                path: self.path.clone(),
                reason: "another program has changed it meanwhile; try again".to_owned(),
            });
        }
        self.replace()
            .map_err(|source| McpError::file("write", &self.path, source))
    }

    fn replace(&self) -> io::Result<()> {
        // What a link leads to is replaced, not the link.
        let target = if self.before.is_some() {
            fs::canonicalize(&self.path)?
        } else {
            self.path.clone()
        };
        let directory = target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let temporary = directory.join(format!(".sandbox-mcp-{:016x}", u64::from_ne_bytes(random)));
        let written = (|| {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&temporary)?;
            if self.before.is_some() {
                file.set_permissions(fs::metadata(&target)?.permissions())?;
            }
            file.write_all(self.after.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &target)
        })();
        if written.is_err() {
            // The first error is the one to report.
            let _removed = fs::remove_file(&temporary);
        }
        written
    }
}

/// Reads a client's file, or `None` if there is none.
fn read(path: &Path) -> Result<Option<String>, McpError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(McpError::file("read", path, source)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| McpError::file("read", path, source))?;
    let refused = |reason: &str| McpError::ClientFile {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if bytes.len() as u64 > MAX_FILE {
        return Err(refused("it is larger than 16 MiB; is it the right file?"));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| refused("it is not UTF-8; add the entry by hand (--print prints it)"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed assertion is the point")]

    use super::*;

    fn installation() -> Installation {
        Installation::new("/usr/bin/sandbox", vec!["mcp".to_owned()])
    }

    #[test]
    fn a_missing_file_is_created_with_its_directories() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/mcp.json");
        let change = installation().plan(ClientKind::Cursor, &path).unwrap();
        assert!(!change.is_empty());
        assert!(
            change.diff().starts_with("--- /dev/null\n"),
            "{}",
            change.diff()
        );
        assert!(!path.exists(), "a plan writes nothing");
        change.write().unwrap();
        let value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(
            value,
            json!({"mcpServers": {"sandbox": {"command": "/usr/bin/sandbox", "args": ["mcp"]}}})
        );
        assert!(
            installation()
                .plan(ClientKind::Cursor, &path)
                .unwrap()
                .is_empty()
        );
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.json"), dir.path().join("link.json"));
        fs::write(&real, "{}").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("real.json", &link).unwrap();
        installation()
            .plan(ClientKind::Claude, &link)
            .unwrap()
            .write()
            .unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("mcpServers"));
        assert_eq!(
            fs::metadata(&real).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mcp.json");
        let change = installation().plan(ClientKind::VsCode, &path).unwrap();
        fs::write(&path, "{\"mine\": 1}").unwrap();
        assert!(change.write().is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"mine\": 1}");
        fs::write(&path, b"{\"\xff\": 1}").unwrap();
        assert!(installation().plan(ClientKind::VsCode, &path).is_err());
        assert!(installation().plan(ClientKind::VsCode, dir.path()).is_err());
    }
}
