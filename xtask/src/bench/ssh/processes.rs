//! The processes of a run. None outlives the benchmark, because each ends when its standard input
//! does.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::protocol::{Done, Op, Target};

/// The timeout of one operation; a client that hangs is a failed row.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(90);

/// A process that listens on a port of loopback.
pub(super) struct Listening {
    child: Child,
    pub(super) port: u16,
}

impl Listening {
    /// Starts a proxy to a port that adds a round trip in milliseconds.
    pub(super) fn delay(port: u16, round_trip: u64) -> Result<Self> {
        Self::start(&["ssh-delay", &port.to_string(), &round_trip.to_string()])
    }

    /// Starts sandbox-sshd with the keys of a directory.
    pub(super) fn server(directory: &Path) -> Result<Self> {
        Self::start(&["ssh-server", &directory.to_string_lossy()])
    }

    fn start(args: &[&str]) -> Result<Self> {
        let mut child = xtask()?
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a process of the benchmark")?;
        let mut line = String::new();
        let stdout = child
            .stdout
            .take()
            .context("a process of the benchmark has no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line
            .trim()
            .parse()
            .with_context(|| format!("{} did not start", args[0]))?;
        Ok(Self { child, port })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// A client under test.
pub(super) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: mpsc::Receiver<String>,
}

impl Client {
    pub(super) fn start(mut command: Command, target: &Target) -> Result<Self> {
        command
            .arg(serde_json::to_string(target)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // Its own process group, so that its children can be killed with it.
        let mut child = command
            .process_group(0)
            .spawn()
            .context("cannot start a client")?;
        let (sender, answers) = mpsc::channel();
        let stdout = child.stdout.take().context("a client has no output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            answers,
        })
    }

    /// Starts a client that is part of this program.
    pub(super) fn start_builtin(kind: &str, target: &Target) -> Result<Self> {
        let mut command = xtask()?;
        command.args(["ssh-client", kind]);
        Self::start(command, target)
    }

    /// Sends an operation and waits for its result.
    pub(super) fn perform(&mut self, op: &Op) -> Result<Done> {
        let mut line = serde_json::to_vec(op)?;
        line.push(b'\n');
        self.stdin
            .as_mut()
            .context("the client has ended")?
            .write_all(&line)
            .context("the client has ended")?;
        let answer = match self.answers.recv_timeout(OPERATION_TIMEOUT) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("no result within {} s", OPERATION_TIMEOUT.as_secs())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the client ended without a result"),
        };
        let done: Done =
            serde_json::from_str(&answer).with_context(|| format!("not a result: {answer}"))?;
        match done.error {
            Some(error) => bail!("{error}"),
            None => Ok(done),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Without input the client closes its connections and ends.
        drop(self.stdin.take());
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // The group may have ended meanwhile.
            killpg(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        kill(&mut self.child);
    }
}

/// This program, as a process of the benchmark.
fn xtask() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bench");
    Ok(command)
}

fn kill(child: &mut Child) {
    // The process may have ended by itself.
    child.kill().ok();
    child.wait().ok();
}
