//! From the requests on a channel to the task that serves it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use russh::ChannelOpenFailure;
use russh::server::ChannelOpenHandle;
use sandbox_core::protocol;

use crate::command::{self, Ends, refuse, unless};
use crate::jobs::{self, Attach};
use crate::launch::{self, CannotLaunch, Launch};
use crate::lifetime::{InUse, Use};
use crate::output::{Exit, Lost};
use crate::pty::Terminal;
use crate::server::Shared;
use crate::{forward, sftp};

/// What a channel is for.
#[derive(Debug)]
pub(crate) enum Request {
    Exec(Vec<u8>),
    Shell,
    Sftp,
    Attach,
    Jobs,
    Extend,
    Tcp { host: String, port: u32 },
    Unix { path: String },
}

/// A channel on which nothing runs yet.
pub(crate) struct Start {
    ends: Ends,
    using: InUse,
    env: Vec<(String, String)>,
    dialect: Dialect,
    terminal: Option<Terminal>,
}

/// The control variables of our own clients.
#[derive(Default)]
struct Dialect {
    job: Option<String>,
    offset: Option<String>,
    follow: Option<String>,
    extend: Option<String>,
}

impl Start {
    pub(crate) fn new(ends: Ends, using: InUse) -> Self {
        Self {
            ends,
            using,
            env: Vec::new(),
            dialect: Dialect::default(),
            terminal: None,
        }
    }

    /// Takes a variable for the command, unless no command can have it. Control variables
    /// are kept back.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) -> bool {
        let control = match name {
            protocol::JOB => &mut self.dialect.job,
            protocol::JOB_OFFSET => &mut self.dialect.offset,
            protocol::JOB_FOLLOW => &mut self.dialect.follow,
            protocol::EXTEND_SECONDS => &mut self.dialect.extend,
            _ if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') => {
                return false;
            }
            _ if name.starts_with(crate::OWN_VARIABLES) => return false,
            _ => {
                self.env.push((name.to_owned(), value.to_owned()));
                return true;
            }
        };
        *control = Some(value.to_owned());
        true
    }

    pub(crate) fn set_terminal(&mut self, terminal: Terminal) {
        self.terminal = Some(terminal);
    }

    /// Whether a request can be served at all; what is refused here the client is told with
    /// the request's reply.
    pub(crate) fn accepts(&self, request: &Request, shared: &Shared) -> bool {
        match request {
            Request::Attach => self.attach(shared).is_some(),
            Request::Extend => self.seconds().is_some(),
            _ => true,
        }
    }

    /// Serves the channel to its end.
    pub(crate) async fn run(mut self, request: Request, shared: Arc<Shared>) {
        self.using.turn_into(Use::Channel);
        let served = self.serve(request, &shared).await;
        if served.is_err() {
            tracing::debug!("the client left a channel before its end");
        }
    }

    async fn serve(self, request: Request, shared: &Arc<Shared>) -> Result<(), Lost> {
        let _using = &self.using;
        match request {
            Request::Exec(line) => {
                let launch = launch::command(&shared.config, &line, self.environment(shared));
                match self.dialect.job {
                    Some(id) => start_job(&id, launch, self.ends, shared).await,
                    None => {
                        command::run(
                            &shared.processes,
                            launch,
                            self.terminal,
                            self.ends,
                            shared.config.kill_grace,
                        )
                        .await
                    }
                }
            }
            Request::Shell => {
                let launch = launch::login(&shared.config, self.environment(shared));
                command::run(
                    &shared.processes,
                    launch,
                    self.terminal,
                    self.ends,
                    shared.config.kill_grace,
                )
                .await
            }
            Request::Sftp => sftp::serve(shared.config.home.clone(), self.ends).await,
            Request::Attach => match self.attach(shared) {
                Some(attach) => jobs::attach(attach, self.ends).await,
                // Forgotten between the request's reply and now.
                None => self.ends.output.finish(None).await,
            },
            Request::Jobs => {
                let gone = self.ends.input.gone();
                unless(&gone, jobs::list(&shared.jobs, &self.ends.output)).await
            }
            Request::Extend => {
                let left = shared.lifetime.extend(self.seconds().unwrap_or_default());
                let gone = self.ends.input.gone();
                unless(&gone, async {
                    self.ends
                        .output
                        .stdout(left.as_secs().to_string().into())
                        .await?;
                    self.ends.output.finish(Some(Exit::Code(0))).await
                })
                .await
            }
            Request::Tcp { .. } | Request::Unix { .. } => self.ends.output.finish(None).await,
        }
    }

    /// Connects inside the sandbox, then opens the channel and copies.
    pub(crate) async fn forward(
        mut self,
        target: Request,
        reply: ChannelOpenHandle,
        shared: Arc<Shared>,
    ) {
        self.using.turn_into(Use::Channel);
        let _using = self.using;
        let copied = match target {
            Request::Tcp { host, port } => match forward::connect_tcp(&host, port).await {
                Ok(stream) => {
                    reply.accept().await;
                    forward::copy(stream, self.ends).await
                }
                Err(error) => return reply.reject(refusal(&error)).await,
            },
            Request::Unix { path } => match forward::connect_unix(&shared.config.home, &path).await
            {
                Ok(stream) => {
                    reply.accept().await;
                    forward::copy(stream, self.ends).await
                }
                Err(error) => return reply.reject(refusal(&error)).await,
            },
            _ => return reply.reject(ChannelOpenFailure::UnknownChannelType).await,
        };
        if copied.is_err() {
            tracing::debug!("the client left a forwarded stream before its end");
        }
    }

    fn environment(&self, shared: &Shared) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
        let mut env = launch::environment(&shared.config, &self.env);
        if let Some(terminal) = &self.terminal {
            launch::set(&mut env, "TERM".into(), terminal.term.clone().into());
        }
        env
    }

    fn attach(&self, shared: &Shared) -> Option<Attach> {
        let offset = match &self.dialect.offset {
            Some(offset) => offset.parse().ok()?,
            None => 0,
        };
        let job = shared.jobs.get(self.dialect.job.as_deref()?)?;
        Some(Attach {
            job,
            offset,
            follow: self.dialect.follow.as_deref() == Some("1"),
        })
    }

    fn seconds(&self) -> Option<Duration> {
        self.dialect
            .extend
            .as_deref()?
            .parse()
            .ok()
            .map(Duration::from_secs)
    }
}

async fn start_job(
    id: &str,
    launch: Result<Launch, CannotLaunch>,
    ends: Ends,
    shared: &Shared,
) -> Result<(), Lost> {
    let started = match launch {
        Ok(launch) => shared.jobs.start(id, launch).await,
        Err(refused) => Err(refused),
    };
    let gone = ends.input.gone();
    unless(&gone, async {
        match started {
            Ok(()) => ends.output.finish(Some(Exit::Code(0))).await,
            Err(refused) => refuse(&ends.output, refused).await,
        }
    })
    .await
}

fn refusal(error: &io::Error) -> ChannelOpenFailure {
    tracing::debug!(%error, "a forwarded stream cannot be opened");
    ChannelOpenFailure::ConnectFailed
}
