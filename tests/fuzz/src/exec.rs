//! Commands: what a server answers when it should run one.

use russh::server::Session as ServerSession;
use russh::{ChannelId, Sig};
use sandbox::{
    AttachOptions, CommandCause, Error, ExecEvent, ExecRequest, ExitStatus, Output, Session,
};

use crate::peer::Case;
use crate::world::{World, check_error};

/// What the server said about one command, as far as a client may believe it.
#[derive(Debug, Default)]
pub(crate) struct Said {
    stdout: Vec<u8>,
    /// Of that, what came before there was an end, and so must not be missing.
    before_end: usize,
    exit: Option<ExitStatus>,
    eof: bool,
    ended: bool,
    refused: bool,
    answered: bool,
    disconnected: bool,
}

/// Bytes of output that are kept.
const CAP: usize = 3000;

/// Says what the case says, in any order.
pub(crate) fn play(
    case: &mut Case,
    channel: ChannelId,
    session: &mut ServerSession,
) -> Result<(), russh::Error> {
    let Case { input, said, .. } = case;
    *said = Said::default();
    while !input.is_empty() {
        match input.choice(16) {
            0 | 1 => {
                let data = input.take(40);
                said.output(&data);
                session.data(channel, data)?;
            }
            2 => session.extended_data(channel, 1, input.text())?,
            3 => session.extended_data(channel, input.number32(), input.text())?,
            4 => {
                let data = vec![b'x'; usize::from(input.byte()) * 40];
                said.output(&data);
                session.data(channel, data)?;
            }
            5 | 6 => {
                let code = input.number32();
                said.exit(ExitStatus::Code(code));
                session.exit_status_request(channel, code)?;
            }
            7 => {
                let (name, message) = (lossy(input.text()), lossy(input.text()));
                said.exit(ExitStatus::Signal(
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
                said.eof = true;
                said.note();
                session.eof(channel)?;
            }
            10 | 11 => {
                said.ended = true;
                session.close(channel)?;
                return Ok(());
            }
            12 => {
                said.refused |= !said.answered;
                (said.answered, said.ended) = (true, said.ended || said.refused);
                session.channel_failure(channel)?;
            }
            13 => {
                said.answered = true;
                session.channel_success(channel)?;
            }
            14 => session.xon_xoff_request(channel, input.byte() > 9)?,
            _ if input.choice(8) == 7 => {
                said.disconnected = true;
                return session.disconnect(
                    russh::Disconnect::ByApplication,
                    &lossy(input.text()),
                    "",
                );
            }
            _ => {}
        }
    }
    if !said.answered {
        session.channel_success(channel)?;
    }
    // A command may run for ever; what only asks the server something may not.
    if said.exit.is_none() && !case.may_stay_silent {
        session.close(channel)?;
    }
    Ok(())
}

impl Said {
    fn output(&mut self, data: &[u8]) {
        self.stdout.extend_from_slice(data);
        if !self.ended {
            self.before_end = self.stdout.len();
        }
    }

    fn exit(&mut self, status: ExitStatus) {
        self.exit.get_or_insert(status);
        self.note();
    }

    fn note(&mut self) {
        self.ended |= self.eof && self.exit.is_some();
    }

    /// An end that was never told is not made up, and nothing that was told is lost.
    fn check(&self, status: &ExitStatus, stdout: &[u8]) {
        assert_eq!(
            Some(status),
            self.exit.as_ref(),
            "another end than the server told"
        );
        let most = self.stdout.len().min(CAP);
        assert!(
            self.stdout.starts_with(stdout),
            "output that the server did not send"
        );
        assert!(stdout.len() >= self.before_end.min(most), "output was cut");
    }

    fn check_failure(&self, error: &Error) {
        check_error(error);
        let told = self.exit.is_some() && !self.refused && !self.disconnected;
        assert!(!told, "the end was told, yet {error}: {self:?}");
        if let Error::Command {
            cause: CommandCause::NotStarted { .. },
            ..
        } = error
        {
            assert!(self.refused, "nothing was refused: {error}");
        }
    }
}

pub(crate) fn target(bytes: &[u8]) {
    World::run(bytes, |case, world| async move {
        let (what, ours) = {
            let mut case = case.lock().unwrap();
            let what = case.input.choice(7);
            case.may_stay_silent = matches!(what, 4 | 5);
            (what, case.input.choice(2) == 1)
        };
        let sandbox = world.sandbox(ours || what > 3).await;
        let session = sandbox.session();
        let id = "job-1".parse().unwrap();
        match what {
            0 | 1 => match session.output(ExecRequest::from_argv(["x"]), CAP).await {
                Ok(Output { status, stdout, .. }) => {
                    case.lock().unwrap().said.check(&status, &stdout)
                }
                Err(error) => case.lock().unwrap().said.check_failure(&error),
            },
            2 | 3 => match stream(session.as_ref()).await {
                Ok((status, stdout)) => {
                    let case = case.lock().unwrap();
                    let kept = stdout.len().min(CAP);
                    case.said.check(&status, &stdout[..kept]);
                    assert!(
                        case.said.stdout.starts_with(&stdout),
                        "output that the server did not send"
                    );
                }
                Err(error) => case.lock().unwrap().said.check_failure(&error),
            },
            4 => drop(session.jobs().await.map_err(|error| check_error(&error))),
            5 => drop(
                session
                    .start_job(&id, ExecRequest::from_argv(["x"]))
                    .await
                    .map_err(|error| check_error(&error)),
            ),
            _ => {
                let attached = session.attach_job(&id, AttachOptions::follow()).await;
                if let Ok(mut process) = attached {
                    while let Some(event) = process.next().await {
                        drop(event.map_err(|error| check_error(&error)));
                    }
                }
            }
        }
    });
}

async fn stream(session: &dyn Session) -> Result<(ExitStatus, Vec<u8>), Error> {
    let mut process = session.exec(ExecRequest::from_argv(["x"])).await?;
    let (mut stdout, mut exit) = (Vec::new(), None);
    while let Some(event) = process.next().await {
        match event? {
            ExecEvent::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            ExecEvent::Exited(status) => exit = Some(status),
            _ => {}
        }
    }
    Ok((exit.expect("a command that ends tells how"), stdout))
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
