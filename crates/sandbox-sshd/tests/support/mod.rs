//! A server in its own process, and OpenSSH's clients configured for it.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod client;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sandbox_core::KeyPair;

/// A running `sandbox-sshd`. Dropping it ends the server and all processes of its sandbox.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) port: u16,
}

/// Writes the keys of a sandbox to files in OpenSSH's format.
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
    /// Starts the server with a free port, keys, a home, and these further options.
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
        Self::run(command, directory, &host)
    }

    /// Runs a command that starts a server, and reads its address from standard error.
    pub(crate) fn run(mut command: Command, directory: tempfile::TempDir, host: &KeyPair) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut output = String::new();
        let port = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("the server did not start: {output}"))
                .unwrap();
            if let Some(address) = line.strip_prefix("sandbox-sshd: listening on ") {
                break address.rsplit(':').next().unwrap().parse().unwrap_or(0);
            }
            output.push_str(&line);
        };
        std::thread::spawn(move || {
            lines.for_each(|line| eprintln!("server: {}", line.unwrap_or_default()))
        });
        let known_host = format!("[127.0.0.1]:{port} {}\n", host.public.as_str());
        std::fs::write(directory.path().join("known_hosts"), known_host).unwrap();
        Self {
            child,
            directory,
            port,
        }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// Returns the command `ssh`, `scp` or `sftp`, without the configuration of this host.
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

    /// Runs a command line over ssh(1).
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
        let ended = wait_until(Duration::from_secs(20), || {
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

/// Waits for a condition. Returns `false` if it is not met within `timeout`.
pub(crate) fn wait_until(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > timeout {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the processes whose command line contains `text`, which only one test uses.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let mut pids = Vec::new();
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
            pids.push(pid);
        }
    }
    pids
}

pub(crate) fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Returns pseudo-random data, which cannot be compressed.
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
