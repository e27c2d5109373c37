//! What is sent to start something on an open channel.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::ChannelMsg;
use sandbox_core::{
    CommandCause, ConnectionStage, Env, Error, ExecRequest, JobId, Pty, Result, metrics, protocol,
};

use super::marked::Mark;
use super::prelude::{self, Prelude};
use crate::channel::OpenChannel;

/// Something to start on a channel.
pub(crate) struct Start {
    what: What,
    env: Env,
    /// Variables of [`protocol`], which only our server understands.
    control: Vec<(&'static str, String)>,
    pty: Option<Pty>,
    /// The SDK's own: neither measured nor within reach of signals where the server passes none on.
    internal: bool,
}

/// What was sent.
pub(super) struct Begun {
    /// Goes before the command's input.
    pub(super) prelude: Option<Prelude>,
    /// Where the server passes no signals on.
    pub(super) mark: Option<Mark>,
}

enum What {
    Command(Vec<u8>),
    Subsystem(&'static str),
}

impl Start {
    pub(crate) fn command(request: ExecRequest) -> Result<Self> {
        let line = request.command_line()?;
        let (env, pty) = (request.env, request.pty);
        Ok(Self {
            what: What::Command(line),
            env,
            control: Vec::new(),
            pty,
            internal: false,
        })
    }

    /// A subsystem of our server.
    pub(crate) fn subsystem(name: &'static str, control: Vec<(&'static str, String)>) -> Self {
        Self {
            what: What::Subsystem(name),
            env: Env::default(),
            control,
            pty: None,
            internal: true,
        }
    }

    /// As a job that outlives its channel.
    pub(crate) fn as_job(&mut self, id: &JobId) {
        self.control.push((protocol::JOB, id.to_string()));
    }

    /// As a command of the SDK's own, which gets no signals.
    pub(super) fn internally(&mut self) {
        self.internal = true;
    }

    pub(super) fn is_in_terminal(&self) -> bool {
        self.pty.is_some()
    }

    /// Begins to measure it; what the SDK asks for itself is no command.
    pub(super) fn measured(&self, kind: &'static str) -> Option<metrics::Operation> {
        let job = self.control.iter().any(|(name, _)| *name == protocol::JOB);
        (!self.internal && matches!(self.what, What::Command(_)))
            .then(|| metrics::start_command(if job { "job" } else { kind }))
    }

    /// Sends it. Nothing runs yet when this fails.
    pub(super) async fn send(
        &self,
        channel: &mut OpenChannel,
        patience: Duration,
    ) -> Result<Begun> {
        let ours = channel.conn().is_ours();
        if !ours && (!self.control.is_empty() || matches!(self.what, What::Subsystem(_))) {
            return Err(self.not_ours(&channel.conn().server()));
        }
        let conn = Arc::clone(channel.conn());
        let mark = if !self.internal && conn.ignores_signals() {
            Some(Mark::new()?)
        } else {
            None
        };
        let work = async {
            for (name, value) in &self.control {
                sent(channel, channel.write.set_env(false, *name, value).await)?;
            }
            for (name, value) in self.env.iter() {
                sent(channel, channel.write.set_env(!ours, name, value).await)?;
            }
            let mut refused = Vec::new();
            if !ours {
                for variable in self.env.iter() {
                    if !accepted(channel).await? {
                        refused.push(variable);
                    }
                }
            }
            let prelude = self.prelude(&refused, &channel.conn().server())?;
            if let Some(Pty { term, size }) = &self.pty {
                let (columns, rows) = (u32::from(size.columns), u32::from(size.rows));
                sent(
                    channel,
                    channel
                        .write
                        .request_pty(true, term, columns, rows, 0, 0, &[])
                        .await,
                )?;
                if !accepted(channel).await? {
                    return Err(pty_refused(&channel.conn().server()));
                }
            }
            // The reply to this one is waited for by whoever reads the output.
            let result = match &self.what {
                What::Command(line) => {
                    let mut line = Cow::Borrowed(line.as_slice());
                    if let Some(prelude) = &prelude {
                        line = prelude.before(&line).into();
                    }
                    if let Some(mark) = &mark {
                        line = mark.before(&line).into();
                    }
                    channel.write.exec(true, line.as_ref()).await
                }
                What::Subsystem(name) => channel.write.request_subsystem(true, *name).await,
            };
            sent(channel, result)?;
            Ok(Begun { prelude, mark })
        };
        match conn.watched(tokio::time::timeout(patience, work)).await {
            Some(Ok(result)) => result,
            Some(Err(_elapsed)) => {
                // Others may still be well served by it.
                conn.retire();
                Err(unsent("the server did not answer a request on a channel"))
            }
            None => Err(unsent(conn.facts.end().unwrap_or(LOST))),
        }
    }

    /// How a command gets the variables that the server did not take; `None` when it took all.
    fn prelude(&self, refused: &[(&str, &str)], server: &str) -> Result<Option<Prelude>> {
        if refused.is_empty() {
            return Ok(None);
        }
        match refused
            .iter()
            .find(|(name, _)| !prelude::can_be_exported(name))
        {
            Some((name, _)) => Err(env_refused(name, server)),
            None => Ok(Some(Prelude::new(refused, self.pty.is_some()))),
        }
    }
}

const LOST: &str = "the connection was lost before the command was sent";

impl Start {
    /// What is asked for by [`protocol`] needs our own server.
    fn not_ours(&self, server: &str) -> Error {
        let server = format!("the server ({server})");
        match &self.what {
            What::Subsystem(protocol::LIFETIME_SUBSYSTEM) => Error::unsupported_because(
                "extending the ttl",
                server,
                "only sandbox-sshd does",
                "use sandbox-sshd in the sandbox",
            ),
            _ => Error::unsupported_because(
                "background jobs",
                server,
                "only sandbox-sshd does",
                "use sandbox-sshd in the sandbox, or start the command with `nohup … &` in a shell",
            ),
        }
    }
}

/// The answer to the oldest request that is not answered yet.
async fn accepted(channel: &mut OpenChannel) -> Result<bool> {
    let life = channel.conn().life().clone();
    loop {
        let message = tokio::select! {
            biased;
            message = channel.read.wait() => message,
            () = life.ended() => None,
        };
        match message {
            Some(ChannelMsg::Success) => return Ok(true),
            Some(ChannelMsg::Failure) => return Ok(false),
            Some(ChannelMsg::Close) | None => {
                return Err(unsent(channel.conn().facts.end().unwrap_or(LOST)));
            }
            Some(_) => {}
        }
    }
}

fn sent(channel: &OpenChannel, result: std::result::Result<(), russh::Error>) -> Result<()> {
    result.map_err(|source| {
        let why = channel.conn().facts.end().unwrap_or(LOST);
        Error::connection(ConnectionStage::Channel, why, Some(source.into()))
    })
}

fn unsent(message: &str) -> Error {
    Error::connection(ConnectionStage::Channel, message, None)
}

/// The server refused to run anything.
pub(super) fn exec_refused(server: &str) -> Error {
    let message = format!(
        "the server ({server}) refused the request; it may be set up for something else, such as files only"
    );
    Error::Command {
        cause: CommandCause::NotStarted { message },
        source: None,
    }
}

fn env_refused(name: &str, server: &str) -> Error {
    Error::unsupported_because(
        format!("setting the environment variable {name}"),
        format!("the server ({server})"),
        "it refused the variable, and its shell cannot export this name",
        format!("add `AcceptEnv {name}` to its sshd_config, or use sandbox-sshd in the sandbox"),
    )
}

fn pty_refused(server: &str) -> Error {
    Error::unsupported(
        "terminals",
        format!("the server ({server})"),
        "run the command without one, or let the sandbox have /dev/pts and the server permit it (PermitTTY)",
    )
}
