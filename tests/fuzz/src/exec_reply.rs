//! The replies of the hostile server to a request to run a command.

use russh::server::Session as ServerSession;
use russh::{ChannelId, Sig};
use sandbox::{CommandCause, Error, ExitStatus};

use crate::input::Input;

/// The messages that the server sent for one command, as far as a client may rely on them.
#[derive(Debug, Default)]
pub(crate) struct SentMessages {
    pub(crate) stdout: Vec<u8>,
    /// The length of the output that was sent before the end of the command. The client must return
    /// at least this much.
    length_at_end: usize,
    exit: Option<ExitStatus>,
    has_eof: bool,
    has_ended: bool,
    is_refused: bool,
    is_answered: bool,
    is_disconnected: bool,
}

/// The bytes of output that the client collects.
pub(crate) const CAP: usize = 3000;

/// Sends the messages that the input describes, in any order, and records them in `sent`. Unless
/// `may_stay_silent` is set, the channel is closed if no exit status was sent.
pub(crate) fn send_messages(
    input: &mut Input,
    sent: &mut SentMessages,
    may_stay_silent: bool,
    channel: ChannelId,
    session: &mut ServerSession,
) -> Result<(), russh::Error> {
    *sent = SentMessages::default();
    while !input.is_empty() {
        match input.choice(16) {
            0 | 1 => {
                let data = input.take(40);
                sent.add_output(&data);
                session.data(channel, data)?;
            }
            2 => session.extended_data(channel, 1, input.text())?,
            3 => session.extended_data(channel, input.number32(), input.text())?,
            4 => {
                let data = vec![b'x'; usize::from(input.byte()) * 40];
                sent.add_output(&data);
                session.data(channel, data)?;
            }
            5 | 6 => {
                let code = input.number32();
                sent.set_exit(ExitStatus::Code(code));
                session.exit_status_request(channel, code)?;
            }
            7 => {
                let name = lossy(input.text());
                let message = lossy(input.text());
                sent.set_exit(ExitStatus::Signal(
                    name.parse().unwrap_or_else(|_| "UNKNOWN".parse().unwrap()),
                ));
                session.exit_signal_request(
                    channel,
                    Sig::Custom(name),
                    input.byte() > 9,
                    &message,
                    "",
                )?;
            }
            8 | 9 => {
                sent.has_eof = true;
                sent.update_end();
                session.eof(channel)?;
            }
            10 | 11 => {
                sent.has_ended = true;
                session.close(channel)?;
                return Ok(());
            }
            12 => {
                sent.is_refused |= !sent.is_answered;
                sent.is_answered = true;
                sent.has_ended |= sent.is_refused;
                session.channel_failure(channel)?;
            }
            13 => {
                sent.is_answered = true;
                session.channel_success(channel)?;
            }
            14 => session.xon_xoff_request(channel, input.byte() > 9)?,
            _ if input.choice(8) == 7 => {
                sent.is_disconnected = true;
                return session.disconnect(
                    russh::Disconnect::ByApplication,
                    &lossy(input.text()),
                    "",
                );
            }
            _ => {}
        }
    }
    if !sent.is_answered {
        session.channel_success(channel)?;
    }
    // A command may run without end, other requests must end.
    if sent.exit.is_none() && !may_stay_silent {
        session.close(channel)?;
    }
    Ok(())
}

impl SentMessages {
    fn add_output(&mut self, data: &[u8]) {
        self.stdout.extend_from_slice(data);
        if !self.has_ended {
            self.length_at_end = self.stdout.len();
        }
    }

    fn set_exit(&mut self, status: ExitStatus) {
        self.exit.get_or_insert(status);
        self.update_end();
    }

    fn update_end(&mut self) {
        self.has_ended |= self.has_eof && self.exit.is_some();
    }

    /// Asserts that the client reports an exit status that was sent, and all output that was sent
    /// before it.
    pub(crate) fn check_result(&self, status: &ExitStatus, stdout: &[u8], dropped: u64) {
        assert_eq!(
            Some(status),
            self.exit.as_ref(),
            "an exit status that the server did not send"
        );
        // Beyond the cap, the first and the last half are kept.
        let (head, tail) = match dropped {
            0 => (stdout, &[][..]),
            _ => stdout.split_at(CAP / 2),
        };
        let is_sent = self.stdout.starts_with(head)
            && self
                .stdout
                .windows(tail.len().max(1))
                .any(|part| tail.is_empty() || part == tail);
        assert!(
            is_sent || stdout.is_empty(),
            "output that the server did not send"
        );
        assert!(
            stdout.len() as u64 + dropped >= self.length_at_end as u64,
            "output was truncated"
        );
    }

    /// Asserts that the client may report this error.
    pub(crate) fn check_failure(&self, error: &Error) {
        let has_exit = self.exit.is_some() && !self.is_refused && !self.is_disconnected;
        assert!(!has_exit, "the exit status was sent, but {error}: {self:?}");
        if let Error::Command {
            cause: CommandCause::NotStarted { .. },
            ..
        } = error
        {
            assert!(self.is_refused, "nothing was refused: {error}");
        }
    }
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
