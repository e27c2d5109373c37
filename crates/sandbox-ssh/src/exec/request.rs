//! The requests that start a command or a subsystem on an open channel.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use russh::ChannelMsg;
use sandbox_core::{
    ConnectionStage, Env, Error, ExecRequest, JobId, Pty, Result, metrics, protocol,
};

use super::env_script::{self, EnvScript};
use super::errors::{env_refused_error, not_sent_error, not_started_error, pty_refused_error};
use super::run_as::{check_user, request_user};
use super::signal_fallback::CommandTag;
use crate::channel::OpenChannel;
use crate::text::escape;

/// The longest command line that is sent as it is: the longest argument on Linux with 4 KiB pages
/// (`MAX_ARG_STRLEN`, execve(2)), because servers pass it to a shell as one.
const MAX_SHELL_LINE: usize = (128 << 10) - 1;
/// Bytes in each part of a longer one. Each takes two bytes in the worst case.
const COMMAND_PART_SIZE: usize = protocol::MAX_REQUEST_TEXT / 2;

/// Bytes of a variable that fit into a packet of every server (RFC 4253 §6.1), with some to spare.
const MAX_SENT: usize = 32_000;

const LOST: &str = "the connection was lost before the command was sent";

/// A program to start on a channel, and what is expected of its end.
pub(crate) struct StartRequest {
    program: Program,
    env: Env,
    /// Variables of [`protocol`], which only sandbox-sshd understands.
    control: Vec<(&'static str, String)>,
    pty: Option<Pty>,
    /// Whom the program runs as, if the caller has chosen.
    user: Option<String>,
    /// Sent by the SDK for its own needs: not measured, and without a fallback for signals.
    internal: bool,
    /// The program is killed if it runs longer.
    pub(super) timeout: Option<Duration>,
    /// How long the output is read after the command's end, if the caller has chosen.
    pub(super) output_grace: Option<Duration>,
    /// The server may close the channel without an exit status.
    pub(super) may_end_silently: bool,
}

enum Program {
    Command(Vec<u8>),
    Subsystem(&'static str),
}

/// What a started command needs besides its channel.
pub(super) struct Started {
    /// Sent before the command's input.
    pub(super) env_script: Option<EnvScript>,
    /// Present if the server ignores signals.
    pub(super) tag: Option<CommandTag>,
}

impl StartRequest {
    pub(crate) fn for_command(request: ExecRequest) -> Result<Self> {
        request.user.as_deref().map_or(Ok(()), check_user)?;
        Ok(Self {
            program: Program::Command(request.command_line()?),
            user: request.user,
            timeout: request.timeout,
            output_grace: request.output_grace,
            env: request.env,
            control: Vec::new(),
            pty: request.pty,
            internal: false,
            may_end_silently: false,
        })
    }

    /// A command of the SDK itself.
    pub(super) fn for_internal_command(request: ExecRequest) -> Result<Self> {
        Ok(Self {
            internal: true,
            ..Self::for_command(request)?
        })
    }

    /// A job, which outlives its channel. The server answers once it runs, which must not take
    /// longer than `timeout`.
    pub(crate) fn for_job(id: &JobId, request: ExecRequest, timeout: Duration) -> Result<Self> {
        Ok(Self {
            control: vec![(protocol::JOB, id.to_string())],
            timeout: Some(timeout),
            ..Self::for_command(request)?
        })
    }

    /// A subsystem of sandbox-sshd.
    pub(crate) fn for_subsystem(
        name: &'static str,
        control: Vec<(&'static str, String)>,
        timeout: Option<Duration>,
        may_end_silently: bool,
    ) -> Self {
        Self {
            program: Program::Subsystem(name),
            env: Env::default(),
            control,
            pty: None,
            user: None,
            internal: true,
            timeout,
            output_grace: None,
            may_end_silently,
        }
    }

    pub(super) fn has_terminal(&self) -> bool {
        self.pty.is_some()
    }

    /// Takes the id of the job to which this attaches, if it does.
    pub(super) fn take_attached_job(&mut self) -> Option<String> {
        let Program::Subsystem(protocol::JOB_SUBSYSTEM) = self.program else {
            return None;
        };
        let mut control = std::mem::take(&mut self.control).into_iter();
        control.find_map(|(name, value)| (name == protocol::JOB).then_some(value))
    }

    /// Begins to measure a command; requests of the SDK itself do not count as commands.
    pub(super) fn begin_measuring(&self, kind: &'static str) -> Option<metrics::Operation> {
        let is_job = self.control.iter().any(|(name, _)| *name == protocol::JOB);
        (!self.internal && matches!(self.program, Program::Command(_)))
            .then(|| metrics::start_command(if is_job { "job" } else { kind }))
    }

    /// Sends the requests. If this fails, nothing runs yet.
    pub(super) async fn send(
        &self,
        channel: &mut OpenChannel,
        timeout: Duration,
    ) -> Result<Started> {
        let conn = Arc::clone(channel.conn());
        self.check_variables()?;
        if !conn.is_sandbox_sshd() && self.needs_sandbox_sshd() {
            return Err(self.unsupported_error(&conn.server()));
        }
        let work = async {
            let refused = self.send_variables(channel).await?;
            let env_script = self.script_for(&refused, &conn.server())?;
            if let Some(pty) = &self.pty {
                request_pty(channel, pty).await?;
            }
            let tag = if !self.internal && conn.ignores_signals() {
                Some(CommandTag::generate()?)
            } else {
                None
            };
            // The actor waits for the reply to this request while it reads the output.
            let result = match &self.program {
                Program::Command(line) => {
                    let mut line = Cow::Borrowed(line.as_slice());
                    if let Some(script) = &env_script {
                        line = script.wrap(&line).into();
                    }
                    if let Some(tag) = &tag {
                        line = tag.wrap(&line).into();
                    }
                    let last = send_long_part(channel, &line).await?;
                    channel.write.exec(true, last).await
                }
                Program::Subsystem(name) => channel.write.request_subsystem(true, *name).await,
            };
            check_sent(channel, result)?;
            Ok(Started { env_script, tag })
        };
        match conn.wait_watched(tokio::time::timeout(timeout, work)).await {
            Some(Ok(result)) => result,
            Some(Err(_elapsed)) => {
                // The connection is not killed: it may still serve its other channels well.
                conn.retire();
                Err(not_sent_error(
                    "the server did not answer a request on a channel",
                ))
            }
            None => Err(not_sent_error(conn.state.end_reason().unwrap_or(LOST))),
        }
    }

    /// Sends the variables, and returns those that the server refused or cannot be sent.
    async fn send_variables<'a>(
        &'a self,
        channel: &mut OpenChannel,
    ) -> Result<Vec<(&'a str, &'a str)>> {
        if let Some(user) = &self.user {
            request_user(channel, user).await?;
        }
        let is_sandbox_sshd = channel.conn().is_sandbox_sshd();
        if let (Some(grace), true) = (self.output_grace, is_sandbox_sshd) {
            let grace = grace.min(ExecRequest::MAX_OUTPUT_GRACE);
            let milliseconds = grace.as_millis().to_string();
            let name = protocol::OUTPUT_GRACE_MS;
            let result = channel.write.set_env(false, name, milliseconds).await;
            check_sent(channel, result)?;
        }
        for (name, value) in &self.control {
            let result = channel.write.set_env(false, *name, value).await;
            check_sent(channel, result)?;
        }
        // sandbox-sshd accepts all variables, so no replies are requested.
        let (sendable, mut refused): (Vec<_>, Vec<_>) = self
            .env
            .iter()
            .partition(|(name, value)| is_sandbox_sshd || name.len() + value.len() < MAX_SENT);
        for (name, value) in &sendable {
            let result = channel.write.set_env(!is_sandbox_sshd, *name, *value).await;
            check_sent(channel, result)?;
        }
        if !is_sandbox_sshd {
            for variable in sendable {
                if !is_accepted(channel).await? {
                    refused.push(variable);
                }
            }
        }
        Ok(refused)
    }

    /// The script that sets the refused variables; `None` if there are none.
    fn script_for(&self, refused: &[(&str, &str)], server: &str) -> Result<Option<EnvScript>> {
        if refused.is_empty() {
            return Ok(None);
        }
        let unexportable = |(name, _): &&(&str, &str)| !env_script::is_exportable(name);
        match refused.iter().find(unexportable) {
            Some((name, _)) => Err(env_refused_error(name, server)),
            None => Ok(Some(EnvScript::new(refused, self.pty.is_some()))),
        }
    }

    /// Refuses a variable that would cost the connection.
    fn check_variables(&self) -> Result<()> {
        let is_too_long =
            |(name, value): &(&str, &str)| name.len() + value.len() > protocol::MAX_REQUEST_TEXT;
        match self.env.iter().find(is_too_long) {
            Some((name, value)) => Err(not_started_error(format!(
                "the environment variable {} has {} bytes, and an SSH request takes {} KiB of it; use standard input or a file",
                escape(name),
                value.len(),
                protocol::MAX_REQUEST_TEXT >> 10,
            ))),
            None => Ok(()),
        }
    }

    fn needs_sandbox_sshd(&self) -> bool {
        !self.control.is_empty()
            || self.user.is_some()
            || matches!(self.program, Program::Subsystem(_))
    }

    fn unsupported_error(&self, server: &str) -> Error {
        let server = format!("the server ({server})");
        match &self.program {
            Program::Command(_) if self.user.is_some() => Error::unsupported_because(
                "running commands as another user",
                server,
                "only sandbox-sshd does",
                "use sandbox-sshd in the sandbox, or su(1) or sudo(8) in the command",
            ),
            Program::Subsystem(protocol::LIFETIME_SUBSYSTEM) => Error::unsupported_because(
                "extending the ttl",
                server,
                "only sandbox-sshd does",
                "use sandbox-sshd in the sandbox",
            ),
            Program::Subsystem(protocol::CLAIM_SUBSYSTEM) => Error::unsupported_because(
                "being claimed",
                server,
                "only sandbox-sshd does",
                "use sandbox-sshd in the sandboxes of the pool",
            ),
            Program::Subsystem(_) | Program::Command(_) => Error::unsupported_because(
                "background jobs",
                server,
                "only sandbox-sshd does",
                "use sandbox-sshd in the sandbox, or start the command with `nohup … &` in a shell",
            ),
        }
    }
}

/// Sends all of a command line but what fits into the request that starts it, and returns that.
async fn send_long_part<'a>(channel: &OpenChannel, line: &'a [u8]) -> Result<&'a [u8]> {
    if line.len() <= MAX_SHELL_LINE {
        return Ok(line);
    }
    let conn = channel.conn();
    if !conn.is_sandbox_sshd() {
        return Err(not_started_error(format!(
            "the command line has {} bytes, and the server ({}) passes it to a shell as one argument, of which Linux takes less than 128 KiB; use standard input or a file, or sandbox-sshd in the sandbox",
            line.len(),
            conn.server(),
        )));
    }
    if line.len() > protocol::MAX_COMMAND {
        return Err(not_started_error(format!(
            "the command line has {} bytes, and Linux takes at most 6 MiB; use standard input or a file",
            line.len(),
        )));
    }
    let (first, last) = line.split_at(line.len() - COMMAND_PART_SIZE);
    for part in first.chunks(COMMAND_PART_SIZE) {
        let part = protocol::encode_command_part(part);
        let result = channel
            .write
            .set_env(false, protocol::COMMAND_PART, part)
            .await;
        check_sent(channel, result)?;
    }
    Ok(last)
}

async fn request_pty(channel: &mut OpenChannel, pty: &Pty) -> Result<()> {
    let Pty { term, size } = pty;
    let columns = u32::from(size.columns);
    let rows = u32::from(size.rows);
    let request = channel
        .write
        .request_pty(true, term, columns, rows, 0, 0, &[]);
    let result = request.await;
    check_sent(channel, result)?;
    if is_accepted(channel).await? {
        Ok(())
    } else {
        Err(pty_refused_error(&channel.conn().server()))
    }
}

/// Waits for the reply to the oldest request without one; whether the server accepted it.
pub(super) async fn is_accepted(channel: &mut OpenChannel) -> Result<bool> {
    let kill_switch = channel.conn().kill_switch().clone();
    loop {
        let message = tokio::select! {
            biased;
            message = channel.read.wait() => message,
            () = kill_switch.wait_ended() => None,
        };
        match message {
            Some(ChannelMsg::Success) => return Ok(true),
            Some(ChannelMsg::Failure) => return Ok(false),
            Some(ChannelMsg::Close) | None => {
                let reason = channel.conn().state.end_reason();
                return Err(not_sent_error(reason.unwrap_or(LOST)));
            }
            Some(_) => {}
        }
    }
}

pub(super) fn check_sent(
    channel: &OpenChannel,
    result: std::result::Result<(), russh::Error>,
) -> Result<()> {
    result.map_err(|source| {
        let why = channel.conn().state.end_reason().unwrap_or(LOST);
        Error::connection(ConnectionStage::Channel, why, Some(source.into()))
    })
}
