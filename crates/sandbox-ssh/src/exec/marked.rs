//! Signals for the commands of a server that passes none on.
//!
//! OpenSSH signals no command of root: the process that could is the one that has given its rights
//! up, and root's has not (session.c, `session_signal_req`). So each command carries a word of its own in
//! its environment there, and a signal is a second command, which looks for the word in /proc. Only
//! leaders of sessions are looked at, for sshd makes one of every command; of several the oldest is
//! meant, the others have left its process group themselves.

use std::pin::Pin;
use std::time::Duration;

use sandbox_core::{BoxError, ExecRequest, Result, Signal, Uid};

use super::{Limits, Run, collect};
use crate::pool::SlotPool;

/// How long a signal may take, with a connection for it where the others have no channel left.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Of what the second command writes.
const CAP: usize = 1 << 10;

const VARIABLE: &str = "SANDBOX_COMMAND";

/// `$1` is the signal, `$2` the pattern. Needs `cat` and Linux.
const SCRIPT: &str = r#"
signal=$1 pattern=$2 found= since=
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    IFS= read -r stat <"$process/stat" || continue
    set -- ${stat##*) }
    [ "$pid" = "$3" ] && [ "$pid" = "$4" ] || continue
    case $(cat "$process/environ" "$process/cmdline") in *$pattern*) ;; *) continue ;; esac
    [ -z "$found" ] || [ "${20}" -lt "$since" ] || continue
    found=$pid since=${20}
done 2>/dev/null
[ -n "$found" ] || { echo "no process of it was found" >&2; exit 1; }
kill "-$signal" "-$found"
"#;

/// A word that only the processes of one command have.
#[derive(Debug, Clone)]
pub(super) struct Mark(Uid);

impl Mark {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(Uid::generate()?))
    }

    /// The command line that carries it.
    pub(super) fn before(&self, line: &[u8]) -> Vec<u8> {
        let mut whole = format!("export {VARIABLE}={}; ", self.0).into_bytes();
        whole.extend_from_slice(line);
        whole
    }

    /// Matches it, and not itself.
    fn pattern(&self) -> String {
        let (first, rest) = self.0.as_str().split_at(1);
        format!("{VARIABLE}=[{first}]{rest}")
    }

    fn request(&self, signal: &Signal) -> ExecRequest {
        ExecRequest::from_argv([
            "/bin/sh",
            "-c",
            SCRIPT,
            "sh",
            signal.name(),
            &self.pattern(),
        ])
    }
}

/// A way to a command past its channel.
#[derive(Clone)]
pub(super) struct Reach {
    mark: Mark,
    pool: SlotPool,
    limits: Limits,
}

impl Reach {
    pub(super) fn new(mark: Mark, pool: &SlotPool, limits: Limits) -> Self {
        Self {
            mark,
            pool: pool.clone(),
            limits,
        }
    }

    /// Signals the command's process group.
    // In a box, for the second command has an actor like the first.
    pub(super) fn signal(
        self,
        signal: Signal,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<(), BoxError>> + Send>> {
        Box::pin(async move {
            let run = Run::internal(self.mark.request(&signal))?;
            let limits = Limits {
                checkout: PATIENCE.min(self.limits.checkout),
                ..self.limits
            };
            let output =
                tokio::time::timeout(PATIENCE, collect(&self.pool, run, CAP, limits)).await??;
            output.check()?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    /// A session of its own, as sshd makes it.
    fn session(mark: &Mark, command: &str) -> Child {
        let line = String::from_utf8(mark.before(command.as_bytes())).unwrap();
        let child = Command::new("setsid")
            .args(["sh", "-c", &line])
            .spawn()
            .unwrap();
        let stat = format!("/proc/{}/cmdline", child.id());
        while !std::fs::read(&stat).unwrap().starts_with(b"sleep") {
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    fn signal(shell: &[&str], mark: &Mark, signal: &str) -> bool {
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", SCRIPT, "sh", signal, &mark.pattern()])
            .output()
            .unwrap();
        output.status.success()
    }

    #[test]
    fn every_shell_finds_the_right_one() {
        for shell in super::super::prelude::tests::shells() {
            let (mark, other) = (Mark::new().unwrap(), Mark::new().unwrap());
            let mut bystander = session(&other, "exec sleep 60");
            let mut first = session(&mark, "exec sleep 60");
            std::thread::sleep(Duration::from_millis(30));
            let mut daemon = session(&mark, "exec sleep 60");
            assert!(signal(&shell, &mark, "USR1"), "{shell:?}");
            assert_eq!(first.wait().unwrap().signal(), Some(10), "{shell:?}");
            assert!(
                daemon.try_wait().unwrap().is_none() && bystander.try_wait().unwrap().is_none()
            );
            for child in [&mut daemon, &mut bystander] {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            assert!(
                !signal(&shell, &mark, "KILL"),
                "{shell:?} says that nobody was there"
            );
        }
    }
}
