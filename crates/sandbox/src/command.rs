//! Running commands.

use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use sandbox_core::{ExecRequest, ExitStatus, JobId, Output, Process, Program, Pty, PtySize, Reader, Result};
use tokio::io::AsyncWriteExt;

use crate::{Job, Sandbox};

impl Sandbox {
    /// A program to run; its arguments arrive as they are, without a shell.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let out = sbx.command("ls").args(["-l", "my file"]).output().await?;
    /// if !out.status.success() {
    ///     eprintln!("{}", out.stderr_lossy());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        Command::new(self.clone(), Program::Argv(vec![bytes_of(program.as_ref())]))
    }

    /// A line for the sandbox's `/bin/sh`: pipes, variables, globs. Put nothing into it that
    /// somebody else wrote; give that as an argument of a [`command`](Self::command).
    pub fn shell(&self, line: impl AsRef<OsStr>) -> Command {
        Command::new(self.clone(), Program::Shell(bytes_of(line.as_ref())))
    }
}

/// A command to be run: what [`std::process::Command`] is for this machine.
///
/// Mistakes such as a NUL byte are reported when it is started.
#[must_use = "a command does nothing until it is started"]
pub struct Command {
    sandbox: Sandbox,
    request: ExecRequest,
    input: Input,
    output_cap: usize,
    mistake: Result<()>,
}

/// Where the input comes from.
enum Input {
    None,
    Piped,
    Bytes(Bytes),
    Reader(Reader),
}

impl Command {
    fn new(sandbox: Sandbox, program: Program) -> Self {
        let defaults = &sandbox.inner.parts.defaults;
        let mut request = ExecRequest::new(program);
        request.env = sandbox.inner.env.clone();
        request.timeout = defaults.command_timeout;
        let output_cap = defaults.output_cap;
        Self { sandbox, request, input: Input::None, output_cap, mistake: Ok(()) }
    }

    /// Adds an argument. After [`shell`](Sandbox::shell) it is not used: write it in the line.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        if let Program::Argv(argv) = &mut self.request.program {
            argv.push(bytes_of(arg.as_ref()));
        }
        self
    }

    /// Adds arguments.
    pub fn args(self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable, over the sandbox's own.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let set = self.request.env.set(name, value);
        if self.mistake.is_ok() {
            self.mistake = set;
        }
        self
    }

    /// Runs it there: absolute, or relative to the home directory, which is the default.
    pub fn current_dir(mut self, directory: impl AsRef<OsStr>) -> Self {
        self.request.directory = Some(bytes_of(directory.as_ref()));
        self
    }

    /// Gives it these bytes as its input.
    pub fn stdin(mut self, bytes: impl Into<Bytes>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Gives it what `reader` gives as its input.
    pub fn stdin_from(mut self, reader: impl tokio::io::AsyncRead + Send + Unpin + 'static) -> Self {
        self.input = Input::Reader(Box::new(reader));
        self
    }

    /// Lets the caller write its input, through [`Process::take_stdin`].
    pub fn stdin_piped(mut self) -> Self {
        self.input = Input::Piped;
        self
    }

    /// Runs it in a terminal of that many columns and rows; its two outputs become one.
    pub fn pty(self, columns: u16, rows: u16) -> Self {
        self.pty_of("xterm-256color", columns, rows)
    }

    /// Runs it in a terminal of that kind, as `$TERM` names it.
    pub fn pty_of(mut self, term: impl Into<String>, columns: u16, rows: u16) -> Self {
        self.request.pty = Some(Pty { term: term.into(), size: PtySize { columns, rows } });
        self
    }

    /// Kills its whole process group when it runs longer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// Keeps at most so many bytes of each output stream in memory; the rest is read and
    /// thrown away, and [`Output::is_truncated`] says so. 16 MiB unless set.
    pub fn output_cap(mut self, bytes: usize) -> Self {
        self.output_cap = bytes;
        self
    }

    /// Runs it to its end and collects what it wrote. A non-zero exit is no error:
    /// [`Output::check`] makes it one. Dropping the future ends the command.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a mistake in the command,
    /// [`Error::Connection`](crate::Error::Connection) when it could not be sent,
    /// [`Error::Command`](crate::Error::Command) when it ran out of time or its end is unknown.
    pub async fn output(self) -> Result<Output> {
        self.mistake?;
        let (sandbox, cap) = (self.sandbox, self.output_cap);
        let session = &sandbox.inner.session;
        let result = match self.input {
            Input::None => session.output(self.request, cap).await,
            input => match start(&sandbox, self.request, input).await {
                Ok(process) => process.output(cap).await,
                Err(error) => Err(error),
            },
        };
        sandbox.inner.explained(result).await
    }

    /// Runs it to its end, throws away what it writes, and says how it ended.
    ///
    /// # Errors
    ///
    /// As [`output`](Self::output).
    pub async fn status(self) -> Result<ExitStatus> {
        Ok(self.output_cap(0).output().await?.status)
    }

    /// Starts it, to read its output as it comes, write its input, signal it.
    ///
    /// ```no_run
    /// # use sandbox::ExecEvent;
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let mut build = sbx.shell("make 2>&1").spawn().await?;
    /// while let Some(event) = build.next().await {
    ///     if let ExecEvent::Stdout(bytes) = event? {
    ///         print!("{}", String::from_utf8_lossy(&bytes));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`output`](Self::output), as far as they show at the start. Those that show later, the
    /// process tells, and also what became of the sandbox.
    pub async fn spawn(self) -> Result<Process> {
        self.mistake?;
        let result = start(&self.sandbox, self.request, self.input).await;
        Ok(self.sandbox.inner.explaining(self.sandbox.inner.explained(result).await?))
    }

    /// Starts it as a job, which outlives this program; its output goes to a capped file.
    ///
    /// # Errors
    ///
    /// [`Error::Command`](crate::Error::Command) when it cannot start, and
    /// [`Error::Unsupported`](crate::Error::Unsupported) with input, a terminal or a time-out,
    /// or by a server that is not ours.
    pub async fn spawn_detached(self) -> Result<Job> {
        self.mistake?;
        if self.request.pty.is_some() || !matches!(self.input, Input::None) {
            return Err(sandbox_core::Error::unsupported(
                "a job with input or a terminal",
                "sandbox-sshd",
                "use spawn(), or let the command read a file",
            ));
        }
        let id = JobId::generate()?;
        let started = self.sandbox.inner.session.start_job(&id, self.request).await;
        self.sandbox.inner.explained(started).await?;
        Ok(Job::new(self.sandbox, id))
    }
}

/// Shows the program's name alone: arguments may be secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("request", &self.request).finish_non_exhaustive()
    }
}

async fn start(sandbox: &Sandbox, mut request: ExecRequest, input: Input) -> Result<Process> {
    request.stdin = !matches!(input, Input::None);
    let mut process = sandbox.inner.session.exec(request).await?;
    let mut reader: Reader = match input {
        Input::None | Input::Piped => return Ok(process),
        Input::Bytes(bytes) => Box::new(std::io::Cursor::new(bytes)),
        Input::Reader(reader) => reader,
    };
    if let Some(mut stdin) = process.take_stdin() {
        tokio::spawn(async move {
            // A command may end without reading all of its input, which is no failure; its
            // end is told by the process.
            if let Err(error) = tokio::io::copy(&mut reader, &mut stdin).await {
                tracing::debug!(%error, "the input was not taken to its end");
            }
            if let Err(error) = stdin.shutdown().await {
                tracing::debug!(%error, "the input was closed from inside");
            }
        });
    }
    Ok(process)
}

/// The bytes of an argument: on Unix whatever they are.
fn bytes_of(text: &OsStr) -> Vec<u8> {
    text.as_encoded_bytes().to_vec()
}
