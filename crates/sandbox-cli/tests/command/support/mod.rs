//! Runs the built command with a state directory and home of its own.

#[cfg(unix)]
pub(crate) mod terminal;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The command with its directories. Dropping it deletes all sandboxes that are left.
pub(crate) struct Cli {
    directory: tempfile::TempDir,
}

impl Cli {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// `$HOME` of the command.
    pub(crate) fn home(&self) -> std::path::PathBuf {
        let home = self.directory.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    /// The state directory of the local backend.
    pub(crate) fn state_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    /// OpenSSH's configuration in the home directory.
    pub(crate) fn ssh_config(&self) -> std::path::PathBuf {
        self.home().join(".ssh/config")
    }

    /// Creates a sandbox and runs `ssh-config --install` with `config` as the user's configuration.
    /// Returns the host name of the sandbox.
    pub(crate) fn install_ssh_config(&self, config: &str) -> String {
        std::fs::create_dir_all(self.home().join(".ssh")).unwrap();
        std::fs::write(self.ssh_config(), config).unwrap();
        let id = self.create();
        self.expect_ok(["ssh-config", "--install"]);
        format!("{id}.sandbox")
    }

    /// Runs a tool of OpenSSH with the configuration in the home directory.
    pub(crate) fn run_openssh(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.arg("-F").arg(self.ssh_config()).args(args);
        command
            .current_dir(self.path(""))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Writes a program. Returns a `$PATH` in which it comes first.
    #[cfg(unix)]
    pub(crate) fn add_program(&self, name: &str, script: &str) -> std::ffi::OsString {
        use std::os::unix::fs::PermissionsExt;
        let program = self.write(&format!("bin/{name}"), script);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.path("bin")).chain(std::env::split_paths(&rest));
        std::env::join_paths(all).unwrap()
    }

    /// A path in the working directory of the command; the directory itself for an empty name.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        let files = self.directory.path().join("files");
        std::fs::create_dir_all(&files).unwrap();
        if name.is_empty() {
            files
        } else {
            files.join(name)
        }
    }

    /// The command with these arguments and without the settings of this machine.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"SANDBOX_") {
                command.env_remove(name);
            }
        }
        command
            .env("SANDBOX_STATE_DIR", self.state_dir())
            .env("HOME", self.home());
        command.current_dir(self.path(""));
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Output {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        output
    }

    /// Runs the command, asserts that it succeeds, and returns its stdout.
    pub(crate) fn expect_ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let output = self.run(args);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stdout(&output)
    }

    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// Creates a sandbox and returns its id.
    pub(crate) fn create(&self) -> String {
        let id = self.expect_ok(["create"]);
        assert!(
            id.ends_with('\n') && id.trim_end().parse::<sandbox::SandboxId>().is_ok(),
            "{id:?}"
        );
        id.trim_end().to_owned()
    }

    /// Returns the ids of all sandboxes.
    pub(crate) fn list_ids(&self) -> Vec<String> {
        self.expect_ok(["ls", "-q"])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Cli {
    fn drop(&mut self) {
        let left = self.run(["ls", "-q"]);
        for id in stdout(&left).lines() {
            self.run(["rm", id]);
        }
    }
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The directory of ssh's files for the only sandbox with this id.
pub(crate) fn sandbox_directory(cli: &Cli, id: &str) -> std::path::PathBuf {
    let entries = std::fs::read_dir(cli.home().join(".ssh/sandbox").join(id)).unwrap();
    let mut directories = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    let directory = directories.next().unwrap();
    assert_eq!(directories.next(), None);
    directory
}
