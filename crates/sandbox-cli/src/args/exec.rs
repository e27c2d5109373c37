//! The command to run, and its options: shared by `run` and `exec`.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::{Context, Result};
use sandbox::{Command, Job, Sandbox};

use crate::args::values::{parse_environment, parse_grace, parse_positive_duration};
use crate::ui::docker_hints::DockerOptions;
use crate::ui::terminal;

/// A command to run.
#[derive(clap::Args)]
pub(crate) struct CommandOptions {
    /// Set an environment variable; NAME alone passes on its value; can be repeated
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Set the working directory, relative to the home directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<OsString>,
    /// Run it as this user of the sandbox, by name or number; the sandbox's server has to be root
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Forward stdin even if it is a terminal
    #[arg(short, long)]
    interactive: bool,
    /// Do not forward stdin (like ssh -n)
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    no_stdin: bool,
    /// Allocate a terminal (merges stdout and stderr)
    #[arg(short, long)]
    tty: bool,
    /// Kill the command after this time, such as 90s or 30m; the exit code is then 124
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    timeout: Option<Duration>,
    /// After the end of the command, read its output for this long while a process that it has
    /// started holds it open and writes nothing (default: 1s)
    #[arg(long, value_name = "TIME", value_parser = parse_grace)]
    output_grace: Option<Duration>,
    #[command(flatten)]
    docker_options: DockerOptions,
    /// Program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl CommandOptions {
    /// The name or path of the program.
    pub(crate) fn program(&self) -> OsString {
        self.command.first().cloned().unwrap_or_default()
    }

    /// Whether the command gets a terminal.
    pub(crate) fn has_tty(&self) -> bool {
        self.tty
    }

    /// Whether the terminal, if stdin is one, belongs to the command.
    pub(crate) fn takes_terminal(&self) -> bool {
        self.tty || self.interactive
    }

    /// Rejects options of docker that are not supported here.
    ///
    /// # Errors
    ///
    /// If one of them was given.
    pub(crate) fn check(&self) -> Result<()> {
        self.docker_options.reject()
    }

    /// Starts the command as a job, which outlives this program.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare), and if the job cannot be started.
    pub(crate) async fn start_job(&self, sandbox: &Sandbox) -> Result<Job> {
        Ok(self.describe(sandbox)?.spawn_detached().await?)
    }

    /// Describes the command, with stdin and a terminal as the options say.
    ///
    /// # Errors
    ///
    /// If a variable is not set or not UTF-8.
    pub(crate) fn prepare(&self, sandbox: &Sandbox) -> Result<Command> {
        let mut command = self.describe(sandbox)?;
        if !self.no_stdin && (self.interactive || self.tty || !io::stdin().is_terminal()) {
            command = command.stdin_piped();
        }
        if self.tty {
            let size = terminal::size();
            command = command.pty_with_term(terminal::term_type(), size.columns, size.rows);
        }
        Ok(command)
    }

    fn describe(&self, sandbox: &Sandbox) -> Result<Command> {
        let (program, args) = self.command.split_first().context("no command given")?;
        let mut command = sandbox.command(program).args(args);
        for (name, value) in parse_environment(&self.env)? {
            command = command.env(name, value);
        }
        if let Some(directory) = &self.workdir {
            command = command.current_dir(directory);
        }
        if let Some(user) = &self.user {
            command = command.user(user);
        }
        if let Some(timeout) = self.timeout {
            command = command.timeout(timeout);
        }
        if let Some(grace) = self.output_grace {
            command = command.output_grace(grace);
        }
        Ok(command)
    }
}
