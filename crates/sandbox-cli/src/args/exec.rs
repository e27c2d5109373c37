//! Options of a command to run: what `run` and `exec` have in common.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::{Context, Result};
use sandbox::{Command, Job, Sandbox};

use crate::args::values::{duration, environment};
use crate::ui::docker_hints::Habits;
use crate::ui::terminal;

/// What to run, and with what.
#[derive(clap::Args)]
pub(crate) struct CommandOptions {
    /// Set a variable; NAME alone passes on the value it has here; can be repeated
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Run it in this directory, relative to the home directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<OsString>,
    /// Pass on standard input, also when it is a terminal
    #[arg(short, long)]
    interactive: bool,
    /// Pass on nothing: its input is empty, as with ssh -n
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    no_stdin: bool,
    /// Run it in a terminal; its two outputs become one
    #[arg(short, long)]
    tty: bool,
    /// Kill it when it runs longer, such as 90s or 30m; the exit code is 124 then
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    habits: Habits,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl CommandOptions {
    /// The program that is to run.
    pub(crate) fn program(&self) -> OsString {
        self.command.first().cloned().unwrap_or_default()
    }

    /// Whether the command gets a terminal.
    pub(crate) fn has_tty(&self) -> bool {
        self.tty
    }

    /// # Errors
    ///
    /// When something was asked for that is asked for otherwise here.
    pub(crate) fn check(&self) -> Result<()> {
        self.habits.refuse()
    }

    /// Starts it as a job, which outlives this program.
    pub(crate) async fn start(self, sandbox: &Sandbox) -> Result<Job> {
        Ok(self.described(sandbox)?.spawn_detached().await?)
    }

    pub(crate) fn prepare(&self, sandbox: &Sandbox) -> Result<Command> {
        let mut command = self.described(sandbox)?;
        if !self.no_stdin && (self.interactive || self.tty || !io::stdin().is_terminal()) {
            command = command.stdin_piped();
        }
        if self.tty {
            let size = terminal::size();
            command = command.pty_with_term(terminal::kind(), size.columns, size.rows);
        }
        Ok(command)
    }

    fn described(&self, sandbox: &Sandbox) -> Result<Command> {
        let (program, args) = self
            .command
            .split_first()
            .context("name a command to run")?;
        let mut command = sandbox.command(program).args(args);
        for (name, value) in environment(&self.env)? {
            command = command.env(name, value);
        }
        if let Some(directory) = &self.workdir {
            command = command.current_dir(directory);
        }
        if let Some(timeout) = self.timeout {
            command = command.timeout(timeout);
        }
        Ok(command)
    }
}
