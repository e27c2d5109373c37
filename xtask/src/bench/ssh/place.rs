//! Where a run happens: its servers, keys and files, all below one temporary directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::options::Options;
use super::processes::{Client, Listening};
use super::protocol::Target;
use super::python::Python;
use crate::bench::openssh::OpenSsh;

/// The servers of a run, and the way to each with and without a delay.
pub(super) struct Place {
    pub(super) openssh: OpenSsh,
    own: Listening,
    delays: [Listening; 2],
    pub(super) python: Python,
}

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Sshd,
    Own,
}

impl Place {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let openssh = OpenSsh::start_in(&memory())?
            .context("OpenSSH (sshd, ssh, ssh-keygen) is not installed")?;
        let own = Listening::server(openssh.directory())?;
        let delay = |port| Listening::delay(port, options.rtt);
        let delays = [delay(openssh.port())?, delay(own.port)?];
        let place = Self {
            own,
            delays,
            python: Python::find(options.python.as_deref())?,
            openssh,
        };
        place.know_hosts()?;
        std::fs::create_dir(place.path("there"))?;
        std::fs::create_dir(place.path("here"))?;
        Ok(place)
    }

    /// The port of a server; the one behind a delay if so wished.
    fn port(&self, to: To, delayed: bool) -> u16 {
        match (to, delayed) {
            (To::Sshd, false) => self.openssh.port(),
            (To::Own, false) => self.own.port,
            (To::Sshd, true) => self.delays[0].port,
            (To::Own, true) => self.delays[1].port,
        }
    }

    /// Starts a client; `None` when it is not installed.
    pub(super) fn client(
        &self,
        kind: &str,
        to: To,
        delayed: bool,
        stripes: usize,
    ) -> Result<Option<Client>> {
        let target = Target {
            port: self.port(to, delayed),
            user: user()?,
            directory: self.openssh.directory().to_string_lossy().into_owned(),
            own: to == To::Own,
            stripes,
        };
        match kind {
            "paramiko" | "asyncssh" => match self.python.command(kind) {
                Some(command) => Client::start(command, &target).map(Some),
                None => Ok(None),
            },
            "rsync" if crate::bench::openssh::find("rsync").is_none() => Ok(None),
            kind => Client::ours(kind, &target).map(Some),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.openssh.directory().join(name)
    }

    /// A file of noise, which nothing could compress.
    pub(super) fn large(&self, bytes: u64) -> Result<PathBuf> {
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

    /// A tree of files of 1 KiB, a hundred in each directory.
    pub(super) fn small(&self, files: usize) -> Result<PathBuf> {
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

    /// The host key, for every port that it may be met at.
    fn know_hosts(&self) -> Result<()> {
        let key = std::fs::read_to_string(self.path("host.pub"))?;
        let ports = [To::Sshd, To::Own]
            .into_iter()
            .flat_map(|to| [self.port(to, false), self.port(to, true)]);
        let lines: String = ports
            .map(|port| format!("[127.0.0.1]:{port} {key}"))
            .collect();
        Ok(std::fs::write(self.path("known_hosts"), lines)?)
    }
}

/// Memory where there is some to write to, so that no disk is measured.
fn memory() -> PathBuf {
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
        .context("id could not be started")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
