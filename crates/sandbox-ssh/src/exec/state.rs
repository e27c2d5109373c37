//! Decides when a command has ended and its output is complete.

use std::time::Duration;

use sandbox_core::{ExecEvent, ExecRequest, ExitStatus, Notice};
use tokio::time::Instant;

/// A background process may keep writing. After this many times the output grace, answers of the
/// server prove that all output of the command itself has arrived.
const MAX_GRACES: u32 = 10;
/// Answers needed then: one for the data that the server had read, one for the data in the pipe.
const ANSWERS: u32 = 2;
/// More bytes than pipes and windows can hold of a command that has ended; a background process has
/// written whatever exceeds it.
const MAX_AFTER_EXIT: usize = 8 << 20;

/// The messages of the server about one command so far.
pub(super) struct CommandState {
    /// The server has sent anything on the channel.
    pub(super) received_any: bool,
    pub(super) exit: Option<ExitStatus>,
    pub(super) eof: bool,
    pub(super) refused: bool,
    /// The channel was closed, or the connection has ended.
    pub(super) ended: bool,
    /// The server has closed the channel.
    pub(super) closed: bool,
    /// After the exit status, this much silence without an end of file means that a background
    /// process holds the output open.
    grace: Duration,
    /// The output is not read any more, although a background process holds it open.
    given_up: bool,
    /// Bytes received after the exit status.
    after_exit: usize,
    /// When the exit status was received.
    exited_at: Option<Instant>,
    /// When the exit status or the last output after it was received.
    quiet_since: Option<Instant>,
    /// Answers to probes that were sent while output trickled.
    answers: u32,
}

impl CommandState {
    pub(super) fn new(output_grace: Option<Duration>) -> Self {
        Self {
            received_any: false,
            exit: None,
            eof: false,
            refused: false,
            ended: false,
            closed: false,
            grace: output_grace
                .unwrap_or(ExecRequest::DEFAULT_OUTPUT_GRACE)
                .min(ExecRequest::MAX_OUTPUT_GRACE),
            given_up: false,
            after_exit: 0,
            exited_at: None,
            quiet_since: None,
            answers: 0,
        }
    }

    pub(super) fn record_exit(&mut self, status: ExitStatus) {
        // The first counts.
        self.exit.get_or_insert(status);
        self.exited_at.get_or_insert_with(Instant::now);
        self.quiet_since = Some(Instant::now());
    }

    pub(super) fn record_output(&mut self, event: &ExecEvent) {
        if let (Some(_), ExecEvent::Stdout(data) | ExecEvent::Stderr(data)) = (&self.exit, event) {
            self.after_exit += data.len();
            // The command's own output is complete: a background process has written the rest.
            self.given_up |= self.after_exit > MAX_AFTER_EXIT && self.is_trickling();
            self.quiet_since = Some(Instant::now());
        }
    }

    /// Bytes received after the exit status.
    pub(super) fn bytes_after_exit(&self) -> usize {
        self.after_exit
    }

    /// Whether a background process keeps writing.
    pub(super) fn is_trickling(&self) -> bool {
        self.exited_at
            .is_some_and(|exited| exited.elapsed() >= self.grace * MAX_GRACES)
    }

    /// Records the answer to a probe, which was sent when [`bytes_after_exit`](Self::bytes_after_exit)
    /// was `before`.
    pub(super) fn record_answer(&mut self, before: usize, trickling: bool) {
        self.answers += u32::from(trickling);
        self.given_up |= self.after_exit == before || self.answers >= ANSWERS;
    }

    /// When to send the next probe.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        Some((self.quiet_since? + self.grace).min(self.exited_at? + self.grace * MAX_GRACES))
    }

    /// Whether all output has arrived that is read.
    pub(super) fn is_complete(&self) -> bool {
        self.eof || self.given_up
    }

    /// Whether a background process holds the output open.
    pub(super) fn is_held(&self) -> bool {
        self.given_up && !self.eof && !self.closed
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended || self.refused || self.exit.is_some() && self.is_complete()
    }
}

/// Parses what the server says is missing. It may be newer than this program, and know more kinds.
pub(super) fn parse_notice(json: &[u8]) -> Option<Notice> {
    serde_json::from_slice(json)
        .inspect_err(|error| tracing::warn!(%error, "unknown notice of the server ignored"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(state: &mut CommandState, length: usize) {
        state.record_output(&ExecEvent::Stdout(vec![0; length].into()));
    }

    #[test]
    fn notices_are_parsed_and_unknown_ones_ignored() {
        for (json, notice) in [
            (r#""output_held""#, Some(Notice::OutputHeld)),
            (
                r#"{"omitted":{"bytes":7}}"#,
                Some(Notice::Omitted { bytes: 7 }),
            ),
            (r#""something_new""#, None),
            ("", None),
        ] {
            assert_eq!(parse_notice(json.as_bytes()), notice, "{json}");
        }
    }

    #[test]
    fn an_end_of_file_and_an_exit_make_an_end_in_any_order() {
        let mut first = CommandState::new(None);
        let mut second = CommandState::new(None);
        first.eof = true;
        second.record_exit(ExitStatus::Code(0));
        assert!(!first.has_ended() && !second.has_ended());
        first.record_exit(ExitStatus::Code(3));
        second.eof = true;
        assert!(first.has_ended() && second.has_ended());
        first.record_exit(ExitStatus::Code(0));
        assert_eq!(first.exit, Some(ExitStatus::Code(3)), "the first counts");
    }

    #[test]
    fn silence_ends_a_command_only_once_the_server_has_answered() {
        let mut state = CommandState::new(None);
        write(&mut state, 100);
        assert!(state.next_probe().is_none() && state.bytes_after_exit() == 0);
        state.record_exit(ExitStatus::Code(0));
        assert!(state.next_probe().is_some() && !state.has_ended());
        let before = state.bytes_after_exit();
        write(&mut state, 1);
        state.record_answer(before, false);
        assert!(!state.has_ended(), "a byte arrived meanwhile");
        state.record_answer(state.bytes_after_exit(), false);
        assert!(state.has_ended() && state.is_held());
        state.eof = true;
        assert!(!state.is_held(), "the end of file arrived after all");
    }

    #[tokio::test(start_paused = true)]
    async fn endless_background_output_is_abandoned() {
        let mut trickle = CommandState::new(None);
        trickle.record_exit(ExitStatus::Code(0));
        for _ in 0..ANSWERS {
            assert!(!trickle.has_ended());
            let before = trickle.bytes_after_exit();
            write(&mut trickle, 1);
            trickle.record_answer(before, true);
        }
        assert!(trickle.has_ended());

        let mut flood = CommandState::new(None);
        flood.record_exit(ExitStatus::Code(0));
        write(&mut flood, MAX_AFTER_EXIT + 1);
        assert!(!flood.has_ended(), "it may end soon");
        tokio::time::advance(ExecRequest::DEFAULT_OUTPUT_GRACE * MAX_GRACES).await;
        write(&mut flood, 1);
        assert!(flood.has_ended() && flood.is_held());
    }
}
