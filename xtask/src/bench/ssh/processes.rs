//! The processes of a run. None outlives the bench: each ends when its standard input does.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::protocol::{Done, Op, Target};

/// The longest that one operation may take: a client that hangs is a failed row.
const PATIENCE: Duration = Duration::from_secs(90);

/// A helper of the bench that listens on a port of loopback.
pub(super) struct Listening {
    child: Child,
    pub(super) port: u16,
}

impl Listening {
    /// A proxy to a port that adds this round trip, in milliseconds.
    pub(super) fn delay(port: u16, round_trip: u64) -> Result<Self> {
        Self::start(&["ssh-delay", &port.to_string(), &round_trip.to_string()])
    }

    /// Our own server, with the keys of this directory.
    pub(super) fn server(directory: &Path) -> Result<Self> {
        Self::start(&["ssh-server", &directory.to_string_lossy()])
    }

    fn start(args: &[&str]) -> Result<Self> {
        let mut child = xtask()?
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("a helper")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("a helper has no output")?;
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
        end(&mut self.child);
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
        // A group of its own, so that what it started can be ended with it.
        let mut child = command
            .process_group(0)
            .spawn()
            .context("a client could not be started")?;
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

    /// One that is part of this program.
    pub(super) fn ours(kind: &str, target: &Target) -> Result<Self> {
        let mut command = xtask()?;
        command.args(["ssh-client", kind]);
        Self::start(command, target)
    }

    pub(super) fn ask(&mut self, op: &Op) -> Result<Done> {
        let mut line = serde_json::to_vec(op)?;
        line.push(b'\n');
        self.stdin
            .as_mut()
            .context("it has ended")?
            .write_all(&line)
            .context("it has ended")?;
        let answer = match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("no answer within {} s", PATIENCE.as_secs())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("it ended without an answer"),
        };
        let done: Done =
            serde_json::from_str(&answer).with_context(|| format!("not an answer: {answer}"))?;
        match done.error {
            Some(error) => bail!("{error}"),
            None => Ok(done),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It ends by itself now, and takes its connections down.
        drop(self.stdin.take());
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may end at this very moment.
            killpg(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        end(&mut self.child);
    }
}

/// This program again, as one of the bench's helpers.
fn xtask() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bench");
    Ok(command)
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    child.kill().ok();
    child.wait().ok();
}

/// In a helper: ends this process when the bench has ended.
pub(super) fn end_with_stdin() {
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        // Whatever ends the reading ends the helper.
        std::io::stdin().read_to_end(&mut rest).ok();
        std::process::exit(0);
    });
}
