//! Runs the built command, with sandboxes kept in a directory of the test's own.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part; a test that cannot go on fails"
)]

#[cfg(unix)]
pub(crate) mod terminal;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// The command, and what it keeps. Dropping it removes every sandbox that is left.
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

    /// Where its sandboxes are kept.
    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    /// OpenSSH's configuration in that home.
    pub(crate) fn ssh_config(&self) -> std::path::PathBuf {
        self.home().join(".ssh/config")
    }

    /// A sandbox that `ssh` reaches by the name that is given back, with the user's own configuration
    /// beneath.
    pub(crate) fn installed(&self, config: &str) -> String {
        std::fs::create_dir_all(self.home().join(".ssh")).unwrap();
        std::fs::write(self.ssh_config(), config).unwrap();
        let id = self.create();
        self.ok(["ssh-config", "--install"]);
        format!("{id}.sandbox")
    }

    /// A tool of OpenSSH, reading the user's file that the command writes to.
    pub(crate) fn tool(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.arg("-F").arg(self.ssh_config()).args(args);
        command
            .current_dir(self.path(""))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// A program of the test's own that the command finds first: its `$PATH`.
    #[cfg(unix)]
    pub(crate) fn path_with(&self, name: &str, script: &str) -> std::ffi::OsString {
        use std::os::unix::fs::PermissionsExt;
        let program = self.write(&format!("bin/{name}"), script);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.path("bin")).chain(std::env::split_paths(&rest));
        std::env::join_paths(all).unwrap()
    }

    /// A directory for files of the test, outside of where sandboxes are kept.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        let files = self.directory.path().join("files");
        std::fs::create_dir_all(&files).unwrap();
        if name.is_empty() {
            files
        } else {
            files.join(name)
        }
    }

    /// The command with these arguments, and nothing of this machine's settings.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"SANDBOX_") {
                command.env_remove(name);
            }
        }
        command
            .env("SANDBOX_STATE_DIR", self.state())
            .env("HOME", self.home());
        command.current_dir(self.path(""));
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn output<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn output_with_input<S: AsRef<OsStr>>(
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

    /// Runs it, insists on success, and gives what it wrote.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let output = self.output(args);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stdout(&output)
    }

    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        self.command(args).spawn().unwrap()
    }

    /// A new sandbox's id.
    pub(crate) fn create(&self) -> String {
        let id = self.ok(["create"]);
        assert!(
            id.ends_with('\n') && id.trim_end().parse::<sandbox::SandboxId>().is_ok(),
            "{id:?}"
        );
        id.trim_end().to_owned()
    }

    /// The ids of all sandboxes there are.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.ok(["ls", "-q"]).lines().map(str::to_owned).collect()
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
        let left = self.output(["ls", "-q"]);
        for id in stdout(&left).lines() {
            self.output(["rm", id]);
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
