//! A command to run: program, environment, terminal.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::command_line::{CommandLine, InvalidCommand};
use crate::{Error, Result, protocol};

/// A command to run in a sandbox.
///
/// ```
/// use std::time::Duration;
/// use sandbox_core::ExecRequest;
///
/// # fn main() -> sandbox_core::Result<()> {
/// let mut request = ExecRequest::from_argv(["make", "-C", "src"]);
/// request.env.set("LC_ALL", "C")?;
/// request.timeout = Some(Duration::from_secs(60));
/// assert_eq!(request.command_line()?, b"exec 'make' '-C' 'src'");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct ExecRequest {
    /// The program or shell line to run.
    pub program: Program,
    /// The working directory: absolute, or relative to the home directory, which is the default.
    pub directory: Option<Vec<u8>>,
    /// Variables to add to the sandbox's environment.
    pub env: Env,
    /// Whether the command has standard input. Otherwise it reads end of file at once.
    pub stdin: bool,
    /// The terminal to run in. Standard output and standard error are then one stream.
    pub pty: Option<Pty>,
    /// The user of the sandbox to run it as, by name or number; `None` is the sandbox's own. Another one needs a
    /// sandbox-sshd that is root. The command has the groups and the home directory of that user, as `/etc/group` and
    /// `/etc/passwd` list them, and starts in that directory, or in `/` if there is none.
    pub user: Option<String>,
    /// Kill the whole process group if it runs longer than this.
    pub timeout: Option<Duration>,
    /// How long its output is still read after its end while another process holds the output open
    /// and writes nothing; in all ten times as long, at most
    /// [`MAX_OUTPUT_GRACE`](Self::MAX_OUTPUT_GRACE). `None` is
    /// [`DEFAULT_OUTPUT_GRACE`](Self::DEFAULT_OUTPUT_GRACE). The result says if something may be
    /// missing ([`Notice::OutputHeld`](crate::Notice::OutputHeld)).
    pub output_grace: Option<Duration>,
}

/// A program with its arguments, or a shell line.
#[derive(Clone, PartialEq, Eq)]
pub enum Program {
    /// A program and its arguments, passed on unchanged.
    Argv(Vec<Vec<u8>>),
    /// A line for the sandbox's `/bin/sh`.
    Shell(Vec<u8>),
}

/// A terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pty {
    /// The value of TERM, such as `xterm-256color`.
    pub term: String,
    /// Its initial size.
    pub size: PtySize,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtySize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// Environment variables. The values may be secrets: they are wiped from memory when dropped, and
/// never printed.
///
/// ```
/// use sandbox_core::Env;
///
/// # fn main() -> sandbox_core::Result<()> {
/// let mut env = Env::default();
/// env.set("TOKEN", "secret")?;
/// assert!(env.set("A=B", "no").is_err());
/// assert_eq!(format!("{env:?}"), r#"{"TOKEN"}"#);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, Zeroizing<String>>);

impl ExecRequest {
    /// The default of [`output_grace`](Self::output_grace): one second.
    pub const DEFAULT_OUTPUT_GRACE: Duration = Duration::from_secs(1);
    /// The longest [`output_grace`](Self::output_grace), one day. A longer one is reduced to it.
    pub const MAX_OUTPUT_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

    /// Runs a program with its arguments, in the home directory, without input and without a
    /// timeout.
    pub fn from_argv<A: Into<Vec<u8>>>(argv: impl IntoIterator<Item = A>) -> Self {
        Self::new(Program::Argv(argv.into_iter().map(Into::into).collect()))
    }

    /// Runs a shell line, in the home directory, without input and without a timeout.
    pub fn from_shell(line: impl Into<Vec<u8>>) -> Self {
        Self::new(Program::Shell(line.into()))
    }

    /// Runs `program` in the home directory, without input and without a timeout.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            directory: None,
            env: Env::default(),
            stdin: false,
            pty: None,
            user: None,
            timeout: None,
            output_grace: None,
        }
    }

    /// Returns the string for the SSH `exec` request. A line for the shell becomes the argument of
    /// `/bin/sh -c`, so that it means the same with any login shell.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an empty command or a NUL byte.
    pub fn command_line(&self) -> Result<Vec<u8>> {
        let argv = match &self.program {
            Program::Argv(argv) => argv.clone(),
            Program::Shell(line) if line.is_empty() => return Err(invalid(InvalidCommand::Empty)),
            Program::Shell(line) if line.contains(&0) => {
                return Err(invalid(InvalidCommand::Nul {
                    part: "the shell line",
                }));
            }
            Program::Shell(line) => vec![b"/bin/sh".to_vec(), b"-c".to_vec(), line.clone()],
        };
        CommandLine {
            directory: self.directory.clone(),
            argv,
        }
        .encode()
        .map_err(invalid)
    }
}

/// Shows only the program's name: arguments may be secrets.
impl fmt::Debug for ExecRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecRequest")
            .field("program", &self.program)
            .field("pty", &self.pty)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argv(argv) => {
                let name = argv.first().map(|arg| String::from_utf8_lossy(arg));
                write!(
                    f,
                    "Argv({:?}, {} arguments)",
                    name.as_deref().unwrap_or(""),
                    argv.len().saturating_sub(1)
                )
            }
            Self::Shell(line) => write!(f, "Shell({} bytes)", line.len()),
        }
    }
}

impl Env {
    /// Sets a variable, in place of an earlier value.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that is empty, has `=` or is reserved for sandbox-sshd, and for
    /// a NUL in name or value. The value is not repeated in the error.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> Result<()> {
        let (name, value) = (name.into(), Zeroizing::new(value.into()));
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Error::invalid(
                "name of an environment variable",
                name,
                "it must not be empty and must contain neither '=' nor NUL",
            ));
        }
        if value.contains('\0') {
            return Err(Error::invalid(
                "value of an environment variable",
                name,
                "its value contains a NUL byte",
            ));
        }
        if protocol::RESERVED_NAMES.contains(&name.as_str())
            || name.starts_with(protocol::RESERVED_PREFIX)
        {
            return Err(Error::invalid(
                "name of an environment variable",
                name,
                "it is reserved for sandbox-sshd",
            ));
        }
        self.0.insert(name, value);
        Ok(())
    }

    /// Adds all variables of `other`, which override existing ones.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(
            other
                .0
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }

    /// Returns the names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Shows the names, never the values.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn invalid(why: InvalidCommand) -> Error {
    Error::invalid("command", "(not shown)", why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_values_are_not_printed() {
        let mut request = ExecRequest::from_argv(["curl", "secret-token"]);
        request.env.set("KEY", "secret-value").unwrap();
        assert!(
            !format!(
                "{request:?} {:?} {:?}",
                request.env,
                Program::Shell(b"secret".to_vec())
            )
            .contains("secret")
        );
    }

    #[test]
    fn a_shell_line_goes_to_sh() {
        let line = ExecRequest::from_shell("a | b").command_line().unwrap();
        assert_eq!(line, b"exec '/bin/sh' '-c' 'a | b'");
    }

    #[test]
    fn bad_names_and_nul_are_refused() {
        let mut env = Env::default();
        for (name, value) in [
            ("", "x"),
            ("A=B", "x"),
            ("A\0", "x"),
            ("A", "x\0secret"),
            (protocol::JOB, "secret"),
            (protocol::TTL_SECONDS, "secret"),
            ("SANDBOX_SSHD_HOST_KEY", "secret"),
        ] {
            let error = env.set(name, value).unwrap_err();
            assert!(!error.to_string().contains("secret"));
        }
        for request in [
            ExecRequest::from_argv(["a", "b\0"]),
            ExecRequest::from_shell("a\0"),
            ExecRequest::from_shell(""),
            ExecRequest::from_argv::<&str>([]),
        ] {
            assert!(matches!(request.command_line(), Err(Error::Invalid { .. })));
        }
    }
}
