//! Builds and starts commands.

use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use sandbox_core::{
    ExecRequest, ExitStatus, JobId, Output, Process, Program, Pty, PtySize, Reader, Result,
};
use tokio::io::AsyncWriteExt;

use super::Sandbox;
use super::job::Job;
use crate::sync::lock;

impl Sandbox {
    /// Returns a builder for a command: a program and its arguments, which are passed on unchanged,
    /// without a shell.
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
        Command::new(
            self.clone(),
            Program::Argv(vec![to_bytes(program.as_ref())]),
        )
    }

    /// Returns a builder for a line that the sandbox's `/bin/sh` runs, with pipes, variables and
    /// globs. Never put untrusted text into the line: pass it as an argument of a
    /// [`command`](Self::command).
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let out = sbx.shell("ls | wc -l").output().await?.check()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shell(&self, line: impl AsRef<OsStr>) -> Command {
        Command::new(self.clone(), Program::Shell(to_bytes(line.as_ref())))
    }
}

/// A builder for a command in a sandbox, like [`std::process::Command`]. Created by
/// [`Sandbox::command`] and [`Sandbox::shell`].
///
/// Invalid arguments, such as one with a NUL byte, are reported when the command is started.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
/// let out = sbx
///     .command("sort")
///     .arg("-n")
///     .env("LC_ALL", "C")
///     .current_dir("data")
///     .stdin("3\n1\n2\n")
///     .timeout(Duration::from_secs(10))
///     .output()
///     .await?;
/// assert_eq!(out.stdout, "1\n2\n3\n");
/// # Ok(())
/// # }
/// ```
#[must_use = "a command does nothing until it is started"]
pub struct Command {
    sandbox: Sandbox,
    request: ExecRequest,
    input: Input,
    output_cap: usize,
    mistake: Result<()>,
}

/// The source of standard input.
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
        request.env = lock(&sandbox.inner.egress_env).clone();
        request.env.extend(&sandbox.inner.env);
        request.timeout = defaults.command_timeout;
        let output_cap = defaults.output_cap;
        Self {
            sandbox,
            request,
            input: Input::None,
            output_cap,
            mistake: Ok(()),
        }
    }

    /// Adds an argument. It has no effect after [`shell`](Sandbox::shell): write it into the line.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        if let Program::Argv(argv) = &mut self.request.program {
            argv.push(to_bytes(arg.as_ref()));
        }
        self
    }

    /// Adds arguments.
    pub fn args(self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable. It overrides one of the sandbox.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let set = self.request.env.set(name, value);
        if self.mistake.is_ok() {
            self.mistake = set;
        }
        self
    }

    /// Sets the working directory: absolute, or relative to the home directory, which is the
    /// default.
    pub fn current_dir(mut self, directory: impl AsRef<OsStr>) -> Self {
        self.request.directory = Some(to_bytes(directory.as_ref()));
        self
    }

    /// Runs it as this user of the sandbox, by name or number, with the groups of that user. It starts in the home
    /// directory of that user, to which [`current_dir`](Self::current_dir) is then relative, or in `/` if there is none.
    ///
    /// Another user than the sandbox's own needs a server that is root: in a Pod whose image is root, not on this machine
    /// with isolation. Otherwise the command fails with [`Error::Unsupported`](crate::Error::Unsupported), and for a user
    /// that does not exist with [`Error::Refused`](crate::Error::Refused)
    /// ([`UnknownUser`](crate::RefusalCode::UnknownUser)). Nothing was started then.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// sbx.command("pytest").user("nobody").current_dir("/srv").output().await?.check()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.request.user = Some(user.into());
        self
    }

    /// Passes these bytes to its standard input.
    pub fn stdin(mut self, bytes: impl Into<Bytes>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Copies `reader` to its standard input.
    pub fn stdin_from(
        mut self,
        reader: impl tokio::io::AsyncRead + Send + Unpin + 'static,
    ) -> Self {
        self.input = Input::Reader(Box::new(reader));
        self
    }

    /// Lets the caller write to its standard input, through [`Process::take_stdin`].
    ///
    /// ```no_run
    /// # use tokio::io::AsyncWriteExt;
    /// # async fn example(sbx: sandbox::Sandbox) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut process = sbx.command("cat").stdin_piped().spawn().await?;
    /// let mut stdin = process.take_stdin().expect("it is piped");
    /// stdin.write_all(b"hello").await?;
    /// drop(stdin); // end of file
    /// let out = process.output(1024).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn stdin_piped(mut self) -> Self {
        self.input = Input::Piped;
        self
    }

    /// Runs it in a terminal with this many columns and rows. Standard output and standard error
    /// become one stream.
    pub fn pty(self, columns: u16, rows: u16) -> Self {
        self.pty_with_term("xterm-256color", columns, rows)
    }

    /// Runs it in a terminal of this type, the value of `$TERM`.
    pub fn pty_with_term(mut self, term: impl Into<String>, columns: u16, rows: u16) -> Self {
        self.request.pty = Some(Pty {
            term: term.into(),
            size: PtySize { columns, rows },
        });
        self
    }

    /// Kills its whole process group if it runs longer than this.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// Reads its output for this long after its end while a process that it has started still holds
    /// the output open and writes nothing; in all ten times as long. If that process may write
    /// more, [`Output::output_held`] or [`Notice::OutputHeld`](crate::Notice::OutputHeld) says so.
    /// The default is one second, the maximum one day.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let daemon = sbx.shell("server >log 2>&1 &").output().await?; // ends at once
    /// let script = "tar c . > >(sleep 5; gzip)";
    /// let packed = sbx.command("bash").args(["-c", script]).output_grace(Duration::from_secs(10)).output().await?;
    /// assert!(!packed.output_held);
    /// # Ok(())
    /// # }
    /// ```
    pub fn output_grace(mut self, grace: Duration) -> Self {
        self.request.output_grace = Some(grace);
        self
    }

    /// Keeps at most this many bytes of each output stream in memory, half of it from the beginning
    /// and half from the end. The rest is read and discarded, and [`Output::is_truncated`] reports
    /// it. The default is 16 MiB.
    pub fn output_cap(mut self, bytes: usize) -> Self {
        self.output_cap = bytes;
        self
    }

    /// Runs the command to its end and collects its output. A non-zero exit code is not an error;
    /// [`Output::check`] makes it one. Dropping the future ends the command.
    ///
    /// # Errors
    ///
    /// * [`Error::Invalid`](crate::Error::Invalid) for an invalid argument;
    /// * [`Error::Unsupported`](crate::Error::Unsupported) and [`Error::Refused`](crate::Error::Refused) for a
    ///   [`user`](Self::user);
    /// * [`Error::Connection`](crate::Error::Connection) if the command could not be sent;
    /// * [`Error::Command`](crate::Error::Command) if it timed out, or its end is unknown because
    ///   the connection was lost.
    pub async fn output(self) -> Result<Output> {
        self.mistake?;
        match self.input {
            Input::None => {
                let session = self.sandbox.session();
                session.output(self.request, self.output_cap).await
            }
            input => {
                let process = start(&self.sandbox, self.request, input).await?;
                process.output(self.output_cap).await
            }
        }
    }

    /// Runs the command to its end, discards its output, and returns how it ended.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let has_git = sbx.command("git").arg("--version").status().await?.success();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`output`](Self::output).
    pub async fn status(self) -> Result<ExitStatus> {
        Ok(self.output_cap(0).output().await?.status)
    }

    /// Starts the command and returns the running process, to stream its output, write its input
    /// and send signals.
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
    /// As [`output`](Self::output), for failures at the start. Later ones are reported by the
    /// [`Process`], together with what happened to the sandbox.
    pub async fn spawn(self) -> Result<Process> {
        self.mistake?;
        start(&self.sandbox, self.request, self.input).await
    }

    /// Starts the command as a background job, which outlives this program. Both output streams go
    /// to one log file in the sandbox, which keeps the first and the last 32 MiB. What is left out
    /// between them is counted by [`JobRecord::dropped_bytes`](crate::JobRecord::dropped_bytes).
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let job = sbx.command("make").args(["-C", "src"]).spawn_detached().await?;
    /// println!("started {}: {}", job.id(), job.wait().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// * [`Error::Command`](crate::Error::Command) if it cannot be started;
    /// * [`Error::Unsupported`](crate::Error::Unsupported) for a command with input, a terminal or
    ///   a [`timeout`](Self::timeout), and from an SSH server that is not the SDK's own.
    pub async fn spawn_detached(self) -> Result<Job> {
        self.mistake?;
        if self.request.pty.is_some() || !matches!(self.input, Input::None) {
            return Err(sandbox_core::Error::unsupported(
                "jobs with input or a terminal",
                "sandbox-sshd",
                "use spawn(), or let the command read a file",
            ));
        }
        if self.request.timeout.is_some() {
            return Err(sandbox_core::Error::unsupported(
                "jobs with a timeout",
                "sandbox-sshd",
                "put timeout(1) before the command, or end the job with Job::signal",
            ));
        }
        let id = JobId::generate()?;
        self.sandbox.session().start_job(&id, self.request).await?;
        Ok(Job::new(self.sandbox, id))
    }
}

/// Shows only the program's name: arguments may be secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// Starts a command, and copies its input in the background unless the caller writes it.
async fn start(sandbox: &Sandbox, mut request: ExecRequest, input: Input) -> Result<Process> {
    request.stdin = !matches!(input, Input::None);
    let mut process = sandbox.session().exec(request).await?;
    let mut reader: Reader = match input {
        Input::None | Input::Piped => return Ok(process),
        Input::Bytes(bytes) => Box::new(std::io::Cursor::new(bytes)),
        Input::Reader(reader) => reader,
    };
    if let Some(mut stdin) = process.take_stdin() {
        tokio::spawn(async move {
            // A command may end without reading all of its input. That is no failure, and the
            // process reports the end.
            if let Err(error) = tokio::io::copy(&mut reader, &mut stdin).await {
                tracing::debug!(%error, "input not read to its end");
            }
            if let Err(error) = stdin.shutdown().await {
                tracing::debug!(%error, "input closed by the command");
            }
        });
    }
    Ok(process)
}

/// Returns the bytes of an argument. On Unix these may be any bytes but NUL.
fn to_bytes(text: &OsStr) -> Vec<u8> {
    text.as_encoded_bytes().to_vec()
}
