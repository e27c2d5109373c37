//! Why the SSH server could not be uploaded.

use sandbox_core::{CreationReason, Error};

use crate::connect::exec::End;
use crate::manifest::options::ServerPrograms;
use crate::manifest::pod::OTHER_WAYS;

/// Whether another attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Once the container runs. Until then every attempt fails.
    Start,
    /// Some times: the connection was lost, or the content was cut or damaged.
    Few,
    /// Never.
    No,
}

/// Why the SSH server could not be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UploadFailure {
    pub(crate) retry: Retry,
    pub(crate) reason: CreationReason,
    /// What failed, why and what to do, in one line. Parts of it come from the sandbox: untrusted text.
    pub(crate) message: String,
}

impl UploadFailure {
    /// The container does not run yet, or the API server does not respond.
    pub(super) fn not_started(why: &str) -> Self {
        Self::new(
            Retry::Start,
            CreationReason::Unavailable,
            &format!(
                "no program can be started in its container: {}",
                in_one_line(why)
            ),
        )
    }

    /// A permission is missing, a policy denies it, or the server cannot be read.
    pub(super) fn from_error(error: Error) -> Self {
        let why = match error {
            Error::Backend { message, .. } => message,
            other => other.to_string(),
        };
        Self::new(Retry::No, CreationReason::Rejected, &in_one_line(&why))
    }

    /// The script did not start.
    pub(super) fn from_start(end: End, stderr: &str) -> Self {
        match end {
            // The exit codes of a shell for a program that may not be run, and for one that does not exist.
            End::Exit(code @ (126 | 127)) => Self::new(
                Retry::No,
                CreationReason::Crashed,
                &format!(
                    "its image has no programs sh and env that can be run{}",
                    detail(&format!("exit code {code}"), stderr)
                ),
            ),
            End::Refused(why) if is_missing_program(&why) => Self::new(
                Retry::No,
                CreationReason::Crashed,
                &format!("its image has no shell ({})", in_one_line(&why)),
            ),
            // A kubelet reports so a container that has just stopped, or does not run yet.
            End::Refused(why) => Self::not_started(&why),
            End::Exit(code) => Self::interrupted(End::Exit(code), stderr),
            End::Cut(why) => Self::not_started(&why),
            End::Unexpected(what) => Self::unexpected(what),
        }
    }

    /// The connection was lost, or the script killed, after it had started.
    pub(super) fn interrupted(end: End, stderr: &str) -> Self {
        let why = match end {
            End::Exit(code) => format!("the script that receives it ended with exit code {code}"),
            End::Refused(why) | End::Cut(why) => in_one_line(&why),
            End::Unexpected(what) => return Self::unexpected(what),
        };
        let why = format!("the connection was cut: {why}{}", detail("", stderr));
        Self::new(Retry::Few, CreationReason::Unavailable, &why)
    }

    /// The script answers something that it never does.
    pub(super) fn unexpected(what: &str) -> Self {
        Self::new(
            Retry::No,
            CreationReason::Other,
            &format!("its container does not answer as expected ({what})"),
        )
    }

    /// The sandbox should have been used by now.
    pub(in crate::connect) fn too_late() -> Self {
        Self::new(
            Retry::No,
            CreationReason::Timeout,
            "its container did not receive it in time",
        )
    }

    /// There is no program for the node.
    pub(super) fn no_program(machine: &str, programs: &ServerPrograms) -> Self {
        let known: Vec<_> = programs
            .architectures()
            .map(|one| one.to_string())
            .collect();
        Self::new(
            Retry::No,
            CreationReason::Rejected,
            &format!(
                "its node's processor is {}, and there is a server only for {}; SANDBOX_SERVER_PATH can name another",
                in_one_line(machine),
                known.join(" and ")
            ),
        )
    }

    /// Returns the failure that the script reports; `None` for an unknown one.
    pub(super) fn from_answer(verb: &str, words: &[&str], stderr: &str) -> Option<Self> {
        let crashed = |why: &str| Self::new(Retry::No, CreationReason::Crashed, why);
        let few = |why: &str| Self::new(Retry::Few, CreationReason::Unavailable, why);
        let words = words.join(" ");
        Some(match verb {
            "missing" => crashed(&format!(
                "its image lacks the programs {}",
                in_one_line(&words)
            )),
            // The first process has not begun to wait yet.
            "early" => Self::not_started("its first process does not wait for the server yet"),
            "unwritable" => crashed(&format!(
                "its directory cannot be written{}",
                detail("", stderr)
            )),
            "unusable" => crashed(&format!(
                "it cannot be run there: the node may mount the directory noexec, or forbid new programs{}",
                detail(&format!("exit code {}", in_one_line(&words)), stderr)
            )),
            "cut" => few(&format!("only {} bytes of it arrived", in_one_line(&words))),
            "damaged" => few("it was damaged on its way: its hash is another"),
            _ => return None,
        })
    }

    fn new(retry: Retry, reason: CreationReason, why: &str) -> Self {
        let remedy = match retry {
            Retry::No => "",
            Retry::Start | Retry::Few => "try again, or ",
        };
        Self {
            retry,
            reason,
            message: format!("the SSH server could not be uploaded: {why}; {remedy}{OTHER_WAYS}"),
        }
    }
}

/// Whether a runtime's message is about a program that does not exist. runc and crun have such messages.
fn is_missing_program(message: &str) -> bool {
    [
        "executable file not found",
        "not found in $PATH",
        "no such file or directory",
    ]
    .iter()
    .any(|sign| message.contains(sign))
}

fn detail(code: &str, stderr: &str) -> String {
    let stderr = in_one_line(stderr);
    match (code, stderr.as_str()) {
        ("", "") => String::new(),
        (one, "") | ("", one) => format!(" ({one})"),
        (code, stderr) => format!(" ({code}: {stderr})"),
    }
}

/// The most characters of untrusted text in a message.
const MAX_DETAIL: usize = 300;

/// Returns untrusted text as a part of a line.
fn in_one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MAX_DETAIL) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
