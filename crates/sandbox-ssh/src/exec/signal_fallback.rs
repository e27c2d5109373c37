//! Signals for the commands of a server that ignores signals.
//!
//! OpenSSH does not signal the commands of root: the process that could is the one that has dropped
//! its privileges, and root's has not (session.c, `session_signal_req`). So on such a server each
//! command carries a tag in its environment, and a signal is a second command, which looks for the
//! tag in /proc. Only session leaders are considered, because sshd starts every command as one. If there
//! are several, the oldest is the command; the others have left its process group themselves.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sandbox_core::{BoxError, ExecRequest, Result, Signal, Uid};

/// How long a signal may take, including a connection for it if the others have no free channel.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// The most of the second command's output that is kept, in bytes.
pub(super) const OUTPUT_CAP: usize = 1 << 10;

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

/// Sends a signal to the process group of one command.
pub(super) type SignalFallback =
    Arc<dyn Fn(Signal) -> BoxFuture<'static, std::result::Result<(), BoxError>> + Send + Sync>;

/// A random value that only the processes of one command have in their environment.
#[derive(Debug, Clone)]
pub(super) struct CommandTag(Uid);

impl CommandTag {
    pub(super) fn generate() -> Result<Self> {
        Ok(Self(Uid::generate()?))
    }

    /// The command line with the tag in its environment.
    pub(super) fn wrap(&self, line: &[u8]) -> Vec<u8> {
        let mut whole = format!("export {VARIABLE}={}; ", self.0).into_bytes();
        whole.extend_from_slice(line);
        whole
    }

    /// The second command, which signals the tagged one.
    pub(super) fn signal_request(&self, signal: &Signal) -> ExecRequest {
        ExecRequest::from_argv([
            "/bin/sh",
            "-c",
            SCRIPT,
            "sh",
            signal.name(),
            &self.pattern(),
        ])
    }

    /// A shell pattern that matches the tag but not itself.
    fn pattern(&self) -> String {
        let (first, rest) = self.0.as_str().split_at(1);
        format!("{VARIABLE}=[{first}]{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    /// Starts a command as a session leader, as sshd does.
    fn start_session(tag: &CommandTag, command: &str) -> Child {
        let line = String::from_utf8(tag.wrap(command.as_bytes())).unwrap();
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

    fn send_signal(shell: &[&str], tag: &CommandTag, signal: &str) -> bool {
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", SCRIPT, "sh", signal, &tag.pattern()])
            .output()
            .unwrap();
        output.status.success()
    }

    #[test]
    fn every_shell_finds_the_right_process() {
        for shell in super::super::env_script::tests::shells() {
            let tag = CommandTag::generate().unwrap();
            let other = CommandTag::generate().unwrap();
            let mut bystander = start_session(&other, "exec sleep 60");
            let mut first = start_session(&tag, "exec sleep 60");
            std::thread::sleep(Duration::from_millis(30));
            let mut daemon = start_session(&tag, "exec sleep 60");
            assert!(send_signal(&shell, &tag, "USR1"), "{shell:?}");
            assert_eq!(first.wait().unwrap().signal(), Some(10), "{shell:?}");
            assert!(
                daemon.try_wait().unwrap().is_none() && bystander.try_wait().unwrap().is_none()
            );
            for child in [&mut daemon, &mut bystander] {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            assert!(
                !send_signal(&shell, &tag, "KILL"),
                "{shell:?} reports that no process was found"
            );
        }
    }
}
