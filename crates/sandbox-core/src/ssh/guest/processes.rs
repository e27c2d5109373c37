//! Requests about shared processes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::FilePath;

/// A request about shared processes.
///
/// A *shared process* outlives the channel that started it, and any client may attach to it. Its output goes
/// to the clients that are attached at the moment. What nobody receives is read and dropped, so that it never
/// blocks. Its end is remembered for 30 seconds. A [job](crate::protocol::JOB) has its output in a log instead.
///
/// | request | frames of the client | frames of the server |
/// |---|---|---|
/// | [`Start`](Self::Start), [`Attach`](Self::Attach) | none; closing the channel only detaches | [`ProcessStarted`], output ([`Content`](super::FrameKind::Content), [`Stderr`](super::FrameKind::Stderr), [`Terminal`](super::FrameKind::Terminal)), [`ProcessEnd`] |
/// | [`List`](Self::List) | none | a [`SharedProcess`] each, then [`Done`](super::Done) after a [`ContentEnd`](super::FrameKind::ContentEnd) |
/// | [`Input`](Self::Input) | content, then [`ContentEnd`](super::FrameKind::ContentEnd) | [`Done`](super::Done) once all of it is written |
/// | the others | none | [`Done`](super::Done) |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProcessRequest {
    /// Start a process, and attach to it.
    Start(Box<ProcessSpec>),
    /// Attach to a process: from now on its output arrives.
    Attach(ProcessSelector),
    /// List those that run, the oldest first.
    List,
    /// Write to the input of a process.
    Input {
        /// The process.
        process: ProcessSelector,
        /// Where the content goes.
        target: InputTarget,
    },
    /// Close the standard input of a process. Closing it twice changes nothing.
    CloseInput(ProcessSelector),
    /// Send a signal to the process group of a process.
    Signal {
        /// The process.
        process: ProcessSelector,
        /// Its name without `SIG`, such as `TERM`.
        signal: String,
    },
    /// Set the size of the terminal of a process.
    Resize {
        /// The process.
        process: ProcessSelector,
        /// The new size.
        size: TerminalSize,
    },
}

/// A process to start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessSpec {
    /// The program and its arguments. If there is no such program, the process ends with the exit code 127 and
    /// a message on standard error, as in a shell; with 126 if it cannot be run.
    pub argv: Vec<FilePath>,
    /// The working directory: absolute, relative to the home directory of the user, or beginning with `~/`. One
    /// that does not exist is refused as [`Invalid`](super::RefusalCode::Invalid). Without one it is the home
    /// directory of the sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<FilePath>,
    /// Variables to add to the sandbox's environment: names with values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(FilePath, FilePath)>,
    /// Whether it has standard input. Otherwise it reads end of file at once.
    #[serde(default)]
    pub stdin: bool,
    /// The terminal to run in. Standard output and standard error are then one stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// A name that the client chooses. It need not be unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Kill its process group after so many milliseconds, whether a client is attached or not. The time during
    /// which the sandbox is paused does not count. Those that are attached get the refusal [`TimedOut`](super::RefusalCode::TimedOut).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The user to run it as, by name or number; without one, the sandbox's own. The groups and the home
    /// directory are those in `/etc/group` and `/etc/passwd` of the sandbox. Another user than its own needs a
    /// server that is root, and is refused as [`PermissionDenied`](super::RefusalCode::PermissionDenied) otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl ProcessSpec {
    /// Describes a process that runs this program: a path, or a name that is looked up in `PATH`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use sandbox_core::guest::ProcessSpec;
    ///
    /// let server = ProcessSpec::new("python3")
    ///     .args(["-m", "http.server"])
    ///     .directory("~/www")
    ///     .tag("web")
    ///     .timeout(Duration::from_secs(3600));
    /// assert_eq!(server.argv, ["python3", "-m", "http.server"]);
    /// ```
    pub fn new(program: impl Into<FilePath>) -> Self {
        Self {
            argv: vec![program.into()],
            ..Self::default()
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<FilePath>) -> Self {
        self.argv.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<FilePath>>) -> Self {
        self.argv.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets the working [`directory`](Self#structfield.directory).
    #[must_use]
    pub fn directory(mut self, directory: impl Into<FilePath>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<FilePath>, value: impl Into<FilePath>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Gives it standard input.
    #[must_use]
    pub fn stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Runs it in a terminal of this size.
    #[must_use]
    pub fn terminal(mut self, size: TerminalSize) -> Self {
        self.terminal = Some(size);
        self
    }

    /// Sets a name by which it is found. It need not be unique.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Kills it after this time, of which milliseconds count.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // A longer time than can be told is none.
        self.timeout_ms = u64::try_from(timeout.as_millis()).ok();
        self
    }

    /// Runs it as this user of the sandbox.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "a terminal has columns and rows")]
pub struct TerminalSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// Names a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProcessSelector {
    /// The process with this id inside the sandbox.
    Pid(u32),
    /// The process with this tag that started last.
    Tag(String),
}

impl From<u32> for ProcessSelector {
    fn from(pid: u32) -> Self {
        Self::Pid(pid)
    }
}

impl From<&str> for ProcessSelector {
    fn from(tag: &str) -> Self {
        Self::Tag(tag.to_owned())
    }
}

impl From<String> for ProcessSelector {
    fn from(tag: String) -> Self {
        Self::Tag(tag)
    }
}

/// The input of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InputTarget {
    /// Its standard input. A process with a terminal, or without standard input, refuses it as
    /// [`Invalid`](super::RefusalCode::Invalid).
    Stdin,
    /// Its terminal. A process without one refuses it as [`Invalid`](super::RefusalCode::Invalid).
    Terminal,
}

/// The process runs, or has run, and the client is attached to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessStarted {
    /// Its id inside the sandbox; 0 if its program could not be run.
    pub pid: u32,
}

impl ProcessStarted {
    /// Describes a process.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }
}

/// How a process has ended. All of its output was sent before, as far as it is read
/// ([`output_grace`](crate::ExecRequest::output_grace)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProcessEnd {
    /// It has exited with this code.
    Exited(u32),
    /// A signal has killed it: its name without `SIG`, such as `KILL`.
    Killed(String),
}

/// A shared process that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SharedProcess {
    /// Its id inside the sandbox.
    pub pid: u32,
    /// As it was started.
    pub spec: ProcessSpec,
}

impl SharedProcess {
    /// Describes a process.
    pub fn new(pid: u32, spec: ProcessSpec) -> Self {
        Self { pid, spec }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::GuestRequest;

    #[test]
    fn what_is_absent_is_left_out() {
        let spec = ProcessSpec {
            argv: vec!["ls".into(), FilePath::from(b"caf\xe9")],
            ..ProcessSpec::default()
        };
        let request = GuestRequest::Process(ProcessRequest::Start(Box::new(spec)));
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(
            json,
            r#"{"process":{"start":{"argv":["ls","caf\\xe9"],"stdin":false}}}"#
        );
        assert_eq!(
            serde_json::from_str::<GuestRequest>(&json).unwrap(),
            request
        );
        let list: GuestRequest = serde_json::from_str(r#"{"process":"list"}"#).unwrap();
        assert_eq!(list, GuestRequest::Process(ProcessRequest::List));
    }
}
