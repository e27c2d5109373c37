//! A server as its own process, and OpenSSH's clients set up for it.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod client;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sandbox_core::KeyPair;

/// A running `sandbox-sshd`; ended, with all that runs in it, when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) port: u16,
}

/// Keys of one sandbox, in files as OpenSSH wants them.
pub(crate) fn write_keys(directory: &Path) -> (KeyPair, KeyPair) {
    let (host, user) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    for (name, pair) in [("host", &host), ("user", &user)] {
        let path = directory.join(name);
        std::fs::write(&path, pair.private.expose()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::write(directory.join("authorized"), user.public.as_str()).unwrap();
    (host, user)
}

impl Process {
    /// With these options beyond keys, home and a free port.
    pub(crate) fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (host, _) = write_keys(directory.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox-sshd"));
        command.env_remove("SANDBOX_TEST_REQUIRE");
        command
            .args(["--listen", "127.0.0.1:0", "--attached", "120", "--host-key"])
            .arg(directory.path().join("host"))
            .arg("--authorized-keys")
            .arg(directory.path().join("authorized"))
            .arg("--home")
            .arg(directory.path().join("home"))
            .args(options);
        Self::adopt(command, directory, &host)
    }

    /// Runs a server that says on standard error where it listens.
    pub(crate) fn adopt(
        mut command: Command,
        directory: tempfile::TempDir,
        host: &KeyPair,
    ) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let port = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("the server did not start: {said}"))
                .unwrap();
            if let Some(address) = line.strip_prefix("sandbox-sshd: listening on ") {
                break address.rsplit(':').next().unwrap().parse().unwrap_or(0);
            }
            said.push_str(&line);
        };
        std::thread::spawn(move || {
            lines.for_each(|line| eprintln!("server: {}", line.unwrap_or_default()))
        });
        let known = format!("[127.0.0.1]:{port} {}\n", host.public.as_str());
        std::fs::write(directory.path().join("known_hosts"), known).unwrap();
        Self {
            child,
            directory,
            port,
        }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// `ssh`, `scp` or `sftp`, with nothing of this machine's configuration.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(self.options())
            .arg(if program == "ssh" { "-p" } else { "-P" })
            .arg(self.port.to_string());
        command
    }

    pub(crate) fn options(&self) -> Vec<String> {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let mut options = vec![
            "-F".to_owned(),
            "/dev/null".to_owned(),
            "-i".to_owned(),
            path("user"),
        ];
        for option in [
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "LogLevel=ERROR",
            "ConnectTimeout=20",
            &format!("UserKnownHostsFile={}", path("known_hosts")),
            "GlobalKnownHostsFile=/dev/null",
        ] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options
    }

    /// Runs a command string by `ssh`.
    pub(crate) fn ssh(&self, line: &str) -> Output {
        self.client("ssh")
            .args(["me@127.0.0.1", line])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).ok();
        let ended = eventually(Duration::from_secs(20), || {
            self.child.try_wait().unwrap().is_some()
        });
        if !ended {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        assert!(
            ended || std::thread::panicking(),
            "the server did not end on SIGTERM"
        );
    }
}

/// Waits for something that must come to pass; false when it has not by far.
pub(crate) fn eventually(longest: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > longest {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes whose command line contains a text that only one test uses.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let program = line.split(' ').next().unwrap_or("");
        if line.contains(text)
            && !program.ends_with("ssh")
            && pid != std::process::id().cast_signed()
        {
            found.push(pid);
        }
    }
    found
}

pub(crate) fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Data that no compression or zero page could stand in for.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut data = Vec::with_capacity(bytes + 8);
    while data.len() < bytes {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(bytes);
    data
}

/// Runs the program in a process group of its own, so that a test can end it by one signal.
pub(crate) fn grouped(command: &mut Command) -> &mut Command {
    command.process_group(0)
}
