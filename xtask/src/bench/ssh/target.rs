//! The servers, keys and files of a run, all below one temporary directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::options::Options;
use super::processes::{Client, Listening};
use super::protocol::Target;
use super::python::Python;
use crate::bench::openssh::OpenSsh;

/// The servers under test, each reachable with and without a delay, and the files to transfer.
pub(super) struct TestBed {
    pub(super) openssh: OpenSsh,
    sandbox_sshd: Listening,
    delays: [Listening; 2],
    pub(super) python: Python,
}

/// A server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    OpenSsh,
    SandboxSshd,
}

impl TestBed {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let openssh = OpenSsh::start_in(&memory_directory())?
            .context("OpenSSH (sshd, ssh, ssh-keygen) is not installed")?;
        let sandbox_sshd = Listening::server(openssh.directory())?;
        let delay = |port| Listening::delay(port, options.rtt);
        let delays = [delay(openssh.port())?, delay(sandbox_sshd.port)?];
        let bed = Self {
            sandbox_sshd,
            delays,
            python: Python::find(options.python.as_deref())?,
            openssh,
        };
        bed.write_known_hosts()?;
        std::fs::create_dir(bed.path("there"))?;
        std::fs::create_dir(bed.path("here"))?;
        Ok(bed)
    }

    /// The port of a server, or of the delaying proxy in front of it.
    fn port(&self, server: Server, delayed: bool) -> u16 {
        match (server, delayed) {
            (Server::OpenSsh, false) => self.openssh.port(),
            (Server::SandboxSshd, false) => self.sandbox_sshd.port,
            (Server::OpenSsh, true) => self.delays[0].port,
            (Server::SandboxSshd, true) => self.delays[1].port,
        }
    }

    /// Starts a client; returns `None` if it is not installed.
    pub(super) fn client(
        &self,
        kind: &str,
        server: Server,
        delayed: bool,
        stripes: usize,
    ) -> Result<Option<Client>> {
        let target = Target {
            port: self.port(server, delayed),
            user: user()?,
            directory: self.openssh.directory().to_string_lossy().into_owned(),
            is_sandbox_sshd: server == Server::SandboxSshd,
            stripes,
        };
        match kind {
            "paramiko" | "asyncssh" => match self.python.command(kind) {
                Some(command) => Client::start(command, &target).map(Some),
                None => Ok(None),
            },
            "rsync" if crate::bench::openssh::find("rsync").is_none() => Ok(None),
            kind => Client::start_builtin(kind, &target).map(Some),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.openssh.directory().join(name)
    }

    /// Creates a file of noise, which cannot be compressed.
    pub(super) fn create_large_file(&self, bytes: u64) -> Result<PathBuf> {
        let path = self.path(&format!("here/large-{}", bytes >> 20));
        if !path.exists() {
            let mut file =
                std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(&path)?);
            let mut noise: u64 = 1;
            for _ in 0..bytes / 8 {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                file.write_all(&noise.to_le_bytes())?;
            }
            file.flush()?;
        }
        Ok(path)
    }

    /// Creates a tree of files of 1 KiB, a hundred in each directory.
    pub(super) fn create_small_files(&self, files: usize) -> Result<PathBuf> {
        let top = self.path(&format!("here/small-{files}"));
        for file in 0..files {
            let directory = top.join(format!("d{:03}", file / 100));
            if file % 100 == 0 {
                std::fs::create_dir_all(&directory)?;
            }
            std::fs::write(directory.join(format!("f{:02}", file % 100)), [b'x'; 1024])?;
        }
        Ok(top)
    }

    /// Lists the host key for every port in known_hosts.
    fn write_known_hosts(&self) -> Result<()> {
        let key = std::fs::read_to_string(self.path("host.pub"))?;
        let ports = [Server::OpenSsh, Server::SandboxSshd]
            .into_iter()
            .flat_map(|server| [self.port(server, false), self.port(server, true)]);
        let lines: String = ports
            .map(|port| format!("[127.0.0.1]:{port} {key}"))
            .collect();
        Ok(std::fs::write(self.path("known_hosts"), lines)?)
    }
}

/// A directory in memory if there is one, so that no disk is measured.
fn memory_directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

fn user() -> Result<String> {
    let output = Command::new("id")
        .arg("-un")
        .output()
        .context("cannot start id")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
