//! Questions at the terminal about what a sandbox may reach.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use async_trait::async_trait;
use sandbox::{AskEgress, EgressAnswer};
use tokio::task::spawn_blocking;

use crate::ui::messages::write_stderr;
use crate::ui::printable::Printable;

/// Held while something is written that comes from a sandbox, and while a question is open: what a sandbox writes could
/// look like another question, or hide the name in this one.
static TERMINAL: Mutex<()> = Mutex::new(());

/// Waits until no question is open, and keeps new ones back.
pub(crate) fn hold_terminal() -> MutexGuard<'static, ()> {
    TERMINAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks the user at the terminal.
#[derive(Debug, Default)]
pub(crate) struct TerminalQuestions {
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl TerminalQuestions {
    /// Creates it, if there is a terminal to ask at.
    ///
    /// # Errors
    ///
    /// If stdin or stderr is none.
    pub(crate) fn new() -> Result<Self> {
        use std::io::IsTerminal;
        if !cfg!(unix) {
            bail!("--egress-ask is not supported on this system; use --egress-allow");
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            bail!(
                "--egress-ask needs a terminal on stdin and stderr, and there is none; use --egress-allow"
            );
        }
        Ok(Self::default())
    }
}

#[async_trait]
impl AskEgress for TerminalQuestions {
    async fn ask(&self, host: &str, port: u16) -> EgressAnswer {
        // A question whose request has ended is withdrawn in a moment; the next one is asked only then.
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let gone = Gone::default();
        let is_gone = Arc::clone(&gone.0);
        let target = format!("{host}:{port}");
        let answer = spawn_blocking(move || {
            let _turn = turn;
            let _held = hold_terminal();
            ask_in_words(&target, &is_gone)
        });
        match answer.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!(%error, "question not answered; the terminal cannot be read");
                EgressAnswer::Never
            }
            Err(_panicked) => EgressAnswer::Never,
        }
    }
}

/// Whether the request that the question is about has ended.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ask_in_words(target: &str, is_gone: &AtomicBool) -> std::io::Result<EgressAnswer> {
    terminal::forget_typed();
    // What the sandbox has written before may have left colours, and no line break.
    let question =
        Printable::trusted("\u{1b}[0m\r\nsandbox: a program in the sandbox wants to reach ")
            .with(&Printable::line(target))
            .with_trusted("\nAllow it? [y] this time, [a] always, [n] never: ");
    write_stderr(&question);
    loop {
        let Some(line) = terminal::read_line(is_gone)? else {
            write_stderr(&Printable::trusted(
                "\nsandbox: refused: the request has ended\n",
            ));
            return Ok(EgressAnswer::Never);
        };
        if let Some(answer) = parse_answer(&line) {
            return Ok(answer);
        }
        write_stderr(&Printable::trusted("Answer y, a or n: "));
    }
}

/// Reads an answer. The end of the input means no.
fn parse_answer(line: &[u8]) -> Option<EgressAnswer> {
    match line.trim_ascii().to_ascii_lowercase().as_slice() {
        b"y" | b"yes" | b"once" => Some(EgressAnswer::Once),
        b"a" | b"always" => Some(EgressAnswer::Always),
        b"n" | b"no" | b"never" => Some(EgressAnswer::Never),
        _ if line.is_empty() => Some(EgressAnswer::Never),
        _ => None,
    }
}

#[cfg(unix)]
mod terminal {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::termios::{QueueSelector, tcflush};

    /// How long keys count as typed before the question, so that an answer to the former one is none to this one.
    const SETTLE_TIME: Duration = Duration::from_millis(300);
    /// How often it is checked whether somebody waits for the answer.
    const CHECK_INTERVAL: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
    const MAX_LINE: usize = 1024;

    /// Drops what was typed before the question.
    pub(super) fn forget_typed() {
        thread::sleep(SETTLE_TIME);
        // What cannot be dropped was not typed at a terminal, and reading it fails, too.
        let _failed = tcflush(io::stdin(), QueueSelector::IFlush);
    }

    /// Reads a line, which is empty at the end of the input. `None` once the request has ended.
    pub(super) fn read_line(is_gone: &AtomicBool) -> io::Result<Option<Vec<u8>>> {
        let stdin = io::stdin();
        loop {
            if is_gone.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match poll(
                &mut [PollFd::new(&stdin, PollFlags::IN)],
                Some(&CHECK_INTERVAL),
            ) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            // The terminal edits lines, so that one read returns at most one line.
            let mut line = vec![0; MAX_LINE];
            match rustix::io::read(&stdin, &mut line) {
                Ok(length) => {
                    line.truncate(length);
                    return Ok(Some(line));
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(not(unix))]
mod terminal {
    use std::io;
    use std::sync::atomic::AtomicBool;

    pub(super) fn forget_typed() {}

    pub(super) fn read_line(_: &AtomicBool) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clear_answers_count() {
        for (line, answer) in [
            ("y\n", Some(EgressAnswer::Once)),
            (" YES \r\n", Some(EgressAnswer::Once)),
            ("a\n", Some(EgressAnswer::Always)),
            ("n\n", Some(EgressAnswer::Never)),
            ("", Some(EgressAnswer::Never)),
            ("\n", None),
            ("ya\n", None),
            ("y\u{1b}[A\n", None),
        ] {
            assert_eq!(parse_answer(line.as_bytes()), answer, "{line:?}");
        }
    }
}
