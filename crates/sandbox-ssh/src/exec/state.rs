//! What is known of a command's end, and when its output is complete.

use std::time::Duration;

use sandbox_core::{ExecEvent, ExitStatus};
use tokio::time::Instant;

/// After the exit status and without an end of file, this much silence means that something
/// in the background holds the output open.
const QUIET: Duration = Duration::from_millis(100);
/// Something in the background may go on writing: after this long, answers of the server tell
/// that everything of the command itself has come.
const TRICKLE: Duration = Duration::from_secs(2);
/// Answers after that: one for what the server had read, one for what stood in the pipe.
const ANSWERS: u32 = 2;
/// More than pipes and windows can hold of a command that has ended; what comes beyond is of
/// something in the background.
const AFTER_EXIT: usize = 8 << 20;

/// What the server has told so far.
#[derive(Default)]
pub(super) struct State {
    /// It has said anything on the channel.
    pub(super) heard_of: bool,
    pub(super) exit: Option<ExitStatus>,
    pub(super) eof: bool,
    pub(super) refused: bool,
    /// It has closed the channel, or the connection has ended.
    pub(super) over: bool,
    pub(super) closed: bool,
    /// Bytes since the exit status.
    after_exit: usize,
    /// When the exit status came.
    ended: Option<Instant>,
    /// Since the last byte after it.
    quiet: Option<Instant>,
    /// Answers to questions that were asked late.
    answers: u32,
}

impl State {
    pub(super) fn exit(&mut self, status: ExitStatus) {
        // The first counts.
        self.exit.get_or_insert(status);
        self.ended.get_or_insert_with(Instant::now);
        self.quiet = Some(Instant::now());
    }

    pub(super) fn output(&mut self, event: &ExecEvent) {
        if let (Some(_), ExecEvent::Stdout(data) | ExecEvent::Stderr(data)) = (&self.exit, event) {
            self.after_exit += data.len();
            // The command's own output is complete: the rest is of something else.
            self.eof |= self.after_exit > AFTER_EXIT;
            self.quiet = Some(Instant::now());
        }
    }

    /// Bytes since the exit status.
    pub(super) fn after_exit(&self) -> usize {
        self.after_exit
    }

    /// Whether something in the background goes on writing.
    pub(super) fn is_late(&self) -> bool {
        self.ended.is_some_and(|ended| ended.elapsed() >= TRICKLE)
    }

    /// The server answered a question that was asked when there were `before` bytes.
    pub(super) fn answered(&mut self, before: usize, late: bool) {
        self.answers += u32::from(late);
        self.eof |= self.after_exit == before || self.answers >= ANSWERS;
    }

    /// When to ask whether more is to come.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        Some((self.quiet? + QUIET).min(self.ended? + TRICKLE))
    }

    pub(super) fn is_over(&self) -> bool {
        self.over || self.refused || self.exit.is_some() && self.eof
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(state: &mut State, length: usize) {
        state.output(&ExecEvent::Stdout(vec![0; length].into()));
    }

    #[test]
    fn an_end_of_file_and_an_exit_make_an_end_in_any_order() {
        let (mut first, mut second) = (State::default(), State::default());
        first.eof = true;
        second.exit(ExitStatus::Code(0));
        assert!(!first.is_over() && !second.is_over());
        first.exit(ExitStatus::Code(3));
        second.eof = true;
        assert!(first.is_over() && second.is_over());
        first.exit(ExitStatus::Code(0));
        assert_eq!(first.exit, Some(ExitStatus::Code(3)), "the first counts");
    }

    #[test]
    fn silence_is_an_end_only_when_the_server_has_answered() {
        let mut state = State::default();
        wrote(&mut state, 100);
        assert!(state.probe_at().is_none() && state.after_exit() == 0);
        state.exit(ExitStatus::Code(0));
        assert!(state.probe_at().is_some() && !state.is_over());
        let before = state.after_exit();
        wrote(&mut state, 1);
        state.answered(before, false);
        assert!(!state.is_over(), "something came meanwhile");
        state.answered(state.after_exit(), false);
        assert!(state.is_over());
    }

    #[test]
    fn what_never_falls_silent_is_left_behind() {
        let mut trickle = State::default();
        trickle.exit(ExitStatus::Code(0));
        for _ in 0..ANSWERS {
            assert!(!trickle.is_over());
            let before = trickle.after_exit();
            wrote(&mut trickle, 1);
            trickle.answered(before, true);
        }
        assert!(trickle.is_over());

        let mut flood = State::default();
        flood.exit(ExitStatus::Code(0));
        wrote(&mut flood, AFTER_EXIT + 1);
        assert!(flood.is_over());
    }
}
