//! Runs OpenSSH's programs, and rsync over `ssh`: a process for each operation, as in a script.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::ssh::protocol::{Op, Target};

/// The cipher that our client uses, the fastest if the processor has AES; OpenSSH's own first
/// choice is slower.
const CIPHER: &str = "aes256-gcm@openssh.com";

/// The same for the key exchange: OpenSSH's own first choice takes 0.2 seconds of processor time.
const KEY_EXCHANGE: &str = "KexAlgorithms=curve25519-sha256";

pub(super) struct Tool {
    program: String,
    target: Target,
    master: bool,
}

impl Tool {
    pub(super) fn new(program: &str, target: Target) -> Self {
        Self {
            program: program.to_owned(),
            target,
            master: false,
        }
    }

    pub(super) fn perform(&mut self, op: Op) -> Result<u64> {
        match op {
            // ssh -f goes to the background once it has authenticated.
            Op::Handshake => {
                self.ssh(&["-M", "-S", &self.socket("other"), "-fN"])?;
                self.ssh(&["-S", &self.socket("other"), "-O", "exit"])?;
            }
            Op::Warm => {
                self.ssh(&["-M", "-S", &self.socket("master"), "-fN"])?;
                self.master = true;
            }
            Op::Exec { .. } => self.exec()?,
            Op::Many { callers, seconds } => {
                let until = Instant::now() + Duration::from_secs_f64(seconds);
                let caller = || {
                    let mut count = 0;
                    while Instant::now() < until {
                        self.exec()?;
                        count += 1;
                    }
                    Ok::<u64, anyhow::Error>(count)
                };
                return std::thread::scope(|scope| {
                    let callers: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
                    callers
                        .into_iter()
                        .map(|caller| caller.join().unwrap_or_else(|_| bail!("a caller panicked")))
                        .sum()
                });
            }
            Op::Put { local, remote } => self.transfer(&local, &remote, false, true)?,
            Op::Get { remote, local } => self.transfer(&remote, &local, false, false)?,
            Op::Puttree { local, remote } => self.transfer(&local, &remote, true, true)?,
            Op::Gettree { remote, local } => self.transfer(&remote, &local, true, false)?,
        }
        Ok(0)
    }

    fn exec(&self) -> Result<()> {
        self.ssh(&["-S", &self.socket("master"), "/bin/true"])
    }

    fn transfer(&self, from: &str, to: &str, tree: bool, up: bool) -> Result<()> {
        let there = |path: &str| format!("127.0.0.1:{path}");
        let (source, sink) = if up {
            (from.to_owned(), there(to))
        } else {
            (there(from), to.to_owned())
        };
        let port = self.target.port.to_string();
        let mut command = Command::new(&self.program);
        match self.program.as_str() {
            "sftp" | "sftp-default" => {
                command = Command::new("sftp");
                let batch =
                    Path::new(&self.target.directory).join(format!("batch-{}", std::process::id()));
                let word = match (up, tree) {
                    (true, false) => "put",
                    (true, true) => "put -r",
                    (false, false) => "get",
                    (false, true) => "get -r",
                };
                std::fs::write(&batch, format!("{word} {from} {to}\n"))?;
                command
                    .args(self.options())
                    .args(["-q", "-P", &port, "-b"])
                    .arg(batch)
                    .arg("127.0.0.1");
            }
            "scp" => {
                command.args(self.options()).args(["-q", "-P", &port]);
                command.args(tree.then_some("-r")).args([source, sink]);
            }
            "rsync" => {
                let ssh = format!("ssh {} -p {port}", self.options().join(" "));
                // Without the slash, rsync would create the directory inside the other.
                let slash = if tree { "/" } else { "" };
                command
                    .args(["-a", "-e", &ssh])
                    .arg(format!("{source}{slash}"))
                    .arg(sink);
            }
            other => bail!("unknown client {other}"),
        }
        run(&mut command)
    }

    fn ssh(&self, args: &[&str]) -> Result<()> {
        let mut ssh = Command::new("ssh");
        // Options come first, the command last.
        let (command, args): (Vec<&str>, Vec<&str>) =
            args.iter().partition(|arg| arg.starts_with("/bin/"));
        ssh.args(self.options())
            .args(["-p", &self.target.port.to_string()])
            .args(args)
            .arg("127.0.0.1")
            .args(command);
        run(&mut ssh)
    }

    fn options(&self) -> Vec<String> {
        let directory = &self.target.directory;
        let mut options = vec![
            "-F".to_owned(),
            "none".into(),
            "-i".into(),
            format!("{directory}/user"),
        ];
        if self.program != "sftp-default" {
            options.extend([
                "-c".to_owned(),
                CIPHER.into(),
                "-o".into(),
                KEY_EXCHANGE.into(),
            ]);
        }
        let user = format!("User={}", self.target.user);
        let known = format!("UserKnownHostsFile={directory}/known_hosts");
        for option in [
            &user,
            &known,
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "LogLevel=ERROR",
        ] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options
    }

    /// One for each server and client; a path of a socket may not be long.
    fn socket(&self, name: &str) -> String {
        format!("{}/{name}-{}", self.target.directory, std::process::id())
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        if self.master
            && let Err(error) = self.ssh(&["-S", &self.socket("master"), "-O", "exit"])
        {
            eprintln!("xtask: cannot close a master connection: {error:#}");
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Not a pipe for stderr, because a process in the background would keep it open.
    let stderr = tempfile::tempfile()?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr.try_clone()?);
    let status = command
        .status()
        .with_context(|| format!("cannot start {name}"))?;
    if status.success() {
        return Ok(());
    }
    let mut stderr = stderr;
    std::io::Seek::rewind(&mut stderr)?;
    let text = std::io::read_to_string(stderr)?;
    bail!(
        "{name}: {status} {}",
        text.lines().last().unwrap_or_default()
    )
}
