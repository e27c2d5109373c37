//! Starts OpenSSH as a peer: its own server on loopback, and a ControlMaster connection to it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running sshd and a master connection to it; dropping this ends both.
pub(crate) struct OpenSsh {
    directory: tempfile::TempDir,
    server: Child,
    port: u16,
}

impl OpenSsh {
    /// Starts both; returns `None` if OpenSSH is not installed.
    pub(crate) fn start() -> Result<Option<Self>> {
        Self::start_in(&std::env::temp_dir())
    }

    /// Starts both, with their files in a new directory below `parent`.
    pub(crate) fn start_in(parent: &Path) -> Result<Option<Self>> {
        let Some(sshd) = find("sshd") else {
            return Ok(None);
        };
        if find("ssh").is_none() || find("ssh-keygen").is_none() {
            return Ok(None);
        }
        let directory = tempfile::tempdir_in(parent)?;
        let path = directory.path();
        for key in ["host", "user"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path.join(key)))?;
        }
        std::fs::copy(path.join("user.pub"), path.join("authorized_keys"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        // The home is empty, because bash reads its rc file for every command of an SSH session,
        // and a heavy one would distort the measurement.
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n\
             SetEnv HOME={0}\nUseDNS no\nMaxSessions 128\nMaxStartups 128\n",
            path.display()
        );
        std::fs::write(path.join("sshd_config"), config)?;
        if needs_separation_directory() {
            std::fs::create_dir_all("/run/sshd").context("sshd needs /run/sshd")?;
        }
        let server = Command::new(sshd)
            .args(["-D", "-e", "-f"])
            .arg(path.join("sshd_config"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sshd")?;
        let peer = Self {
            directory,
            server,
            port,
        };
        peer.connect()?;
        Ok(Some(peer))
    }

    /// The directory of the keys: `host` and `user`, each with its `.pub`.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Runs a command over the master connection with a new `ssh` process, as a script does.
    pub(crate) fn exec(&self, command: &str) -> Result<()> {
        run(self.ssh().arg(command).stdout(Stdio::null()))
    }

    fn connect(&self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let mut master = self.ssh();
            let status = master
                .args(["-o", "ControlMaster=yes", "-fN"])
                .stderr(Stdio::null())
                .status()?;
            if status.success() {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("cannot connect to OpenSSH's server within 10 s");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn ssh(&self) -> Command {
        let path = self.directory.path();
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args([
            "-o",
            "LogLevel=ERROR",
            "-o",
            "BatchMode=yes",
            "-p",
            &self.port.to_string(),
            "-i",
        ])
        .arg(path.join("user"))
        .arg("-S")
        .arg(path.join("master"))
        .arg("127.0.0.1");
        ssh
    }
}

impl Drop for OpenSsh {
    fn drop(&mut self) {
        let mut exit = self.ssh();
        exit.args(["-O", "exit"]).stderr(Stdio::null());
        if let Err(error) = run(&mut exit).and_then(|()| Ok(self.server.kill()?)) {
            eprintln!("xtask: cannot stop OpenSSH's server: {error:#}");
        }
    }
}

fn needs_separation_directory() -> bool {
    // sshd's privilege separation directory; only root starts it with separation.
    std::env::var_os("USER").is_none_or(|user| user == "root") && !Path::new("/run/sshd").exists()
}

pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let more = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    std::env::split_paths(&path)
        .chain(more)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{:?} failed: {status}", command.get_program())
    }
}
