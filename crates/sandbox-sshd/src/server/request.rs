//! From the request on a channel to the task that serves it.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::ChannelOpenFailure;
use russh::server::ChannelOpenHandle;
use sandbox_core::protocol::ClaimRefusal;
use sandbox_core::{Notice, protocol};

use super::owner::OpenConnection;
use super::parameters::{NewLifetime, Parameters};
use super::state::ServerState;
use crate::channel::forward;
use crate::channel::io::{ChannelIo, send_unless_closed};
use crate::channel::output::{ChannelClosed, Exit};
use crate::config::{RESERVED_ENV_PREFIX, ServerConfig};
use crate::guest;
use crate::jobs::{self, AttachOptions};
use crate::lifetime::{Activity, ActivityGuard};
use crate::process::command::{self, Graces, report_start_error};
use crate::process::environment::{Environment, command_environment, set_variable};
use crate::process::program::{Program, StartError};
use crate::process::pty::Terminal;
use crate::process::user::{User, UserProblem};
use crate::sftp;
use crate::tree;

/// A request that starts something on a session channel.
#[derive(Debug)]
pub(crate) enum Request {
    /// Run a command line, as a job if the client has set the job's id.
    Exec(Vec<u8>),
    Shell,
    Sftp,
    AttachJob,
    ListJobs,
    SetLifetime,
    /// Claim the sandbox for the client of this connection.
    Claim(Arc<OpenConnection>),
    Tree,
    /// One operation of the guest protocol.
    Guest,
}

/// The address inside the sandbox to which a channel is connected.
#[derive(Debug)]
pub(crate) enum ForwardTarget {
    Tcp { host: String, port: u32 },
    Unix { path: String },
}

/// A channel on which nothing was started yet.
pub(crate) struct UnstartedChannel {
    channel: ChannelIo,
    activity: ActivityGuard,
    env: Vec<(String, String)>,
    parameters: Parameters,
    /// Whom the command runs as, or why it cannot.
    user: Result<User, UserProblem>,
    terminal: Option<Terminal>,
    /// The client has sent more variables and parts of a command line than are kept.
    is_too_long: bool,
}

impl UnstartedChannel {
    pub(crate) fn new(channel: ChannelIo, activity: ActivityGuard) -> Self {
        Self {
            channel,
            activity,
            env: Vec::new(),
            parameters: Parameters::default(),
            user: Ok(User::Own),
            terminal: None,
            is_too_long: false,
        }
    }

    /// Refuses to run any command, because its variables and its command line are too long.
    pub(crate) fn refuse_as_too_long(&mut self) {
        self.is_too_long = true;
    }

    /// Sets a variable for the command. Returns `false` if no command can have it. Parameters of
    /// the protocol are kept from the command.
    pub(crate) fn set_env(&mut self, name: &str, value: &str, config: &ServerConfig) -> bool {
        let find_user = || User::find(value, config.user.as_deref());
        match name {
            protocol::RUN_AS => {
                self.user = find_user();
                return self.user.is_ok();
            }
            protocol::UNKNOWN_USER => return find_user() == Err(UserProblem::Unknown),
            _ => {}
        }
        if let Some(is_valid) = self.parameters.set(name, value) {
            return is_valid;
        }
        let is_settable = !name.is_empty()
            && !name.contains(['=', '\0'])
            && !value.contains('\0')
            && !name.starts_with(RESERVED_ENV_PREFIX);
        if is_settable {
            self.env.push((name.to_owned(), value.to_owned()));
        }
        is_settable
    }

    pub(crate) fn set_terminal(&mut self, terminal: Terminal) {
        self.terminal = Some(terminal);
    }

    /// Whether a request can be served. If not, the reply to the request is a failure.
    pub(crate) fn can_serve(&self, request: &Request, server: &ServerState) -> bool {
        match request {
            Request::AttachJob => self.attach_options(server).is_some(),
            Request::SetLifetime => self.parameters.new_lifetime().is_some(),
            Request::Exec(_)
            | Request::Shell
            | Request::Sftp
            | Request::ListJobs
            | Request::Claim(_)
            | Request::Tree
            | Request::Guest => true,
        }
    }

    /// Serves the channel until it ends.
    pub(crate) async fn run(mut self, request: Request, server: Arc<ServerState>) {
        self.activity.change_to(Activity::Channel);
        if self.serve(request, &server).await.is_err() {
            tracing::debug!("channel closed by the client before its end");
        }
    }

    async fn serve(mut self, request: Request, server: &ServerState) -> Result<(), ChannelClosed> {
        let _activity = &self.activity;
        match request {
            Request::Exec(line) => {
                let mut whole = std::mem::take(&mut self.parameters.command);
                whole.extend(line);
                let program = self.find_program(server, |config, directory, env| {
                    Program::from_command_line(config, &whole, directory, env)
                });
                self.start(program, server).await
            }
            Request::Shell => {
                let program = self.find_program(server, Program::for_login);
                self.start(program, server).await
            }
            Request::Sftp => sftp::serve(server.config.home.clone(), self.channel).await,
            Request::Tree => tree::serve(server.config.home.clone(), self.channel).await,
            Request::Guest => guest::serve(self.channel, &server.guest).await,
            Request::AttachJob => match self.attach_options(server) {
                Some(options) => jobs::attach(options, self.channel).await,
                // The job was removed after the reply to the request.
                None => self.channel.output.finish(None).await,
            },
            Request::ListJobs => {
                let closed = self.channel.input.closed_token();
                let listing = jobs::send_list(&server.jobs, &self.channel.output);
                send_unless_closed(&closed, listing).await
            }
            Request::SetLifetime => {
                let left = match self.parameters.new_lifetime() {
                    Some(NewLifetime::Extended(time)) => server.lifetime.extend(time),
                    Some(NewLifetime::Started(ttl)) => server.lifetime.start_ttl(ttl),
                    // The reply to the request was a failure.
                    None => return self.channel.output.finish(None).await,
                };
                let closed = self.channel.input.closed_token();
                let output = self.channel.output;
                send_unless_closed(&closed, async {
                    output
                        .send_stdout(left.as_secs().to_string().into())
                        .await?;
                    output.finish(Some(Exit::Code(0))).await
                })
                .await
            }
            Request::Claim(connection) => {
                let claimed = self.claim(&connection, server);
                let closed = self.channel.input.closed_token();
                let output = self.channel.output;
                send_unless_closed(&closed, async {
                    let code = match claimed {
                        Ok(()) => 0,
                        Err(refusal) => {
                            output.send_stderr(refusal.message().into()).await?;
                            refusal.exit_code()
                        }
                    };
                    output.finish(Some(Exit::Code(code.into()))).await
                })
                .await
            }
        }
    }

    /// Makes the client of this connection the sandbox's only one.
    fn claim(&self, connection: &OpenConnection, server: &ServerState) -> Result<(), ClaimRefusal> {
        let Parameters {
            claim, ttl, extend, ..
        } = &self.parameters;
        // A claim of which a part was left out, or that also asks for something else, is not served.
        if self.is_too_long || extend.is_some() {
            return Err(ClaimRefusal::Malformed);
        }
        let (key, limits) = claim.parse(ttl.as_deref())?;
        connection.claim(&key)?;
        let left = server.lifetime.start_anew(limits);
        tracing::info!(?left, "claimed; other connections are closed");
        Ok(())
    }

    /// Starts a program as a job, if the client has set the job's id, or as the channel's command.
    async fn start(
        self,
        program: Result<(Program, bool), StartError>,
        server: &ServerState,
    ) -> Result<(), ChannelClosed> {
        let chosen_grace = self.parameters.output_grace();
        let output_grace = chosen_grace.unwrap_or(server.config.output_grace);
        let (program, is_truncated) = match program {
            Ok((program, is_truncated)) => (Ok(program), is_truncated),
            Err(error) => (Err(error), false),
        };
        if is_truncated {
            let closed = self.channel.input.closed_token();
            let notice = Notice::EnvironmentTruncated;
            send_unless_closed(&closed, self.channel.output.send_notice(notice)).await?;
        }
        match self.parameters.job {
            Some(id) => start_job(&id, program, output_grace, self.channel, server).await,
            None => {
                let graces = Graces {
                    kill: server.config.kill_grace,
                    output: output_grace,
                };
                let spawner = &server.spawner;
                command::run(spawner, program, self.terminal, self.channel, graces).await
            }
        }
    }

    /// Connects to a port or socket inside the sandbox, then accepts the channel and copies.
    pub(crate) async fn forward(
        mut self,
        target: ForwardTarget,
        reply: ChannelOpenHandle,
        server: Arc<ServerState>,
    ) {
        self.activity.change_to(Activity::Channel);
        let _activity = self.activity;
        let copied = match target {
            ForwardTarget::Tcp { host, port } => match forward::connect_tcp(&host, port).await {
                Ok(stream) => {
                    reply.accept().await;
                    forward::copy(stream, self.channel).await
                }
                Err(error) => return reject(reply, &error).await,
            },
            ForwardTarget::Unix { path } => {
                match forward::connect_unix(&server.config.home, &path).await {
                    Ok(stream) => {
                        reply.accept().await;
                        forward::copy(stream, self.channel).await
                    }
                    Err(error) => return reject(reply, &error).await,
                }
            }
        };
        if copied.is_err() {
            tracing::debug!("forwarded stream closed by the client before its end");
        }
    }

    fn check_length(&self) -> Result<(), StartError> {
        if self.is_too_long {
            return Err(StartError::not_runnable(format!(
                "the command line and the environment have more than {} MiB; use standard input or a file",
                protocol::MAX_COMMAND >> 20
            )));
        }
        Ok(())
    }

    /// Finds the program that `find` returns for a configuration, a directory to start in and an environment. Also
    /// returns whether that environment is truncated.
    fn find_program(
        &self,
        server: &ServerState,
        find: impl FnOnce(
            &ServerConfig,
            &Path,
            Vec<(OsString, OsString)>,
        ) -> Result<Program, StartError>,
    ) -> Result<(Program, bool), StartError> {
        self.check_length()?;
        // The client may not have waited for the reply.
        let user = self
            .user
            .as_ref()
            .map_err(|problem| StartError::not_runnable(problem.to_string()))?;
        let environment = self.environment(server, user);
        let directory = user.directory(&server.config.home);
        let program = find(&server.config, directory, environment.variables)?;
        let identity = user.identity().cloned();
        Ok((
            Program {
                identity,
                ..program
            },
            environment.is_truncated,
        ))
    }

    fn environment(&self, server: &ServerState, user: &User) -> Environment {
        let requested = self.env.iter();
        let requested = requested.map(|(name, value)| (name.into(), value.into()));
        let variables = user.variables().into_iter().chain(requested);
        let mut env = command_environment(&server.config, variables);
        if let Some(terminal) = &self.terminal {
            set_variable(
                &mut env.variables,
                "TERM".into(),
                terminal.term.clone().into(),
            );
            // Shell profiles and pinentry decide by this variable where they can ask.
            if let Some(device) = terminal.device() {
                set_variable(&mut env.variables, "SSH_TTY".into(), device.into());
            }
        }
        env
    }

    fn attach_options(&self, server: &ServerState) -> Option<AttachOptions> {
        let offset = match &self.parameters.offset {
            Some(offset) => offset.parse().ok()?,
            None => 0,
        };
        let job = server.jobs.get(self.parameters.job.as_deref()?)?;
        Some(AttachOptions {
            job,
            offset,
            follow: self.parameters.follow.as_deref() == Some("1"),
        })
    }
}

async fn start_job(
    id: &str,
    program: Result<Program, StartError>,
    output_grace: Duration,
    channel: ChannelIo,
    server: &ServerState,
) -> Result<(), ChannelClosed> {
    let started = match program {
        Ok(program) => server.jobs.start(id, program, output_grace).await,
        Err(error) => Err(error),
    };
    let closed = channel.input.closed_token();
    send_unless_closed(&closed, async {
        match started {
            Ok(()) => channel.output.finish(Some(Exit::Code(0))).await,
            Err(error) => report_start_error(&channel.output, error).await,
        }
    })
    .await
}

async fn reject(reply: ChannelOpenHandle, error: &io::Error) {
    tracing::debug!(%error, "forwarded stream not opened");
    reply.reject(ChannelOpenFailure::ConnectFailed).await;
}
