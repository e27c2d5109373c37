//! The protocol between the SDK's client and sandbox-sshd, beyond plain SSH.
//!
//! It consists of environment variables and subsystems with agreed names, so it is ordinary SSH. It does not affect other servers, because a
//! client uses it only if the server's identification string begins with [`SERVER_ID`].
//!
//! | to | the client sends | the server replies |
//! |---|---|---|
//! | send a command line that is longer than [`MAX_REQUEST_TEXT`] | `env` [`COMMAND_PART`] for each part but the last ([`encode_command_part`]), then `exec` with the last | as to `exec` |
//! | start a job | `env` [`JOB`] = id, then `exec` | exit-status 0 once it runs; 126 or 127 and a message if it cannot |
//! | attach to a job | `env` [`JOB`], [`JOB_OFFSET`], [`JOB_FOLLOW`], then `subsystem` [`JOB_SUBSYSTEM`] | the log from that byte, then the job's exit-status or exit-signal if it has ended; `signal` requests reach the job |
//! | list jobs | `subsystem` [`JOBS_SUBSYSTEM`] | one line of JSON per job, see [`JobRecord`] |
//! | run a command or start a job as a user | `env` [`RUN_AS`], with a reply; if that is a failure, `env` [`UNKNOWN_USER`] asks whether there is no such user; then as below | success if it can |
//! | run a command | `env` [`OUTPUT_GRACE_MS`], then `exec` | the output and the end of the command; [`NOTICE_DATA`] for what they lack |
//! | extend the `ttl` | `env` [`EXTEND_SECONDS`], then `subsystem` [`LIFETIME_SUBSYSTEM`] | exit-status 0 and the seconds left, as decimal text |
//! | start a `ttl` | `env` [`TTL_SECONDS`], then `subsystem` [`LIFETIME_SUBSYSTEM`] | as above |
//! | claim a sandbox of a pool | `env` [`CLAIM_KEY`], and [`CLAIM_ATTACH_SECONDS`], [`CLAIM_MAX_SECONDS`], [`TTL_SECONDS`] where they are wanted, then `subsystem` [`CLAIM_SUBSYSTEM`] | exit-status 0; else the code and the message of a [`ClaimRefusal`] |
//! | copy a directory tree | `subsystem` [`TREE_SUBSYSTEM`], then the frames of [`tree_stream`](crate::tree_stream) | frames |
//! | share processes, watch files, pause the sandbox, … | `subsystem` [`GUEST_SUBSYSTEM`], then the frames of [`guest`](crate::guest) | frames |

use serde::{Deserialize, Serialize};

use crate::FilePath;

/// The prefix of sandbox-sshd's SSH identification string; its version follows (RFC 4253 §4.2).
pub const SERVER_ID: &str = "SSH-2.0-sandbox_sshd_";

/// The prefix of the SDK's own SSH identification string; its version follows (RFC 4253 §4.2).
pub const CLIENT_ID: &str = "SSH-2.0-sandbox_ssh_";

/// The prefix of sandbox-sshd's own variables. Commands never get such variables.
pub const RESERVED_PREFIX: &str = "SANDBOX_SSHD_";

/// The variable that makes a server claimable, once, and names its pool: `NAME/KEY`. Unlike an option,
/// a server that does not know it ignores it, and then refuses to be claimed.
pub const POOL_VARIABLE: &str = "SANDBOX_SSHD_POOL";

/// The version of this protocol, which is that of the crates.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the version in the identification string of sandbox-sshd; `None` for another server.
///
/// ```
/// use sandbox_core::protocol::server_version;
///
/// assert_eq!(server_version(b"SSH-2.0-sandbox_sshd_0.1.0"), Some("0.1.0"));
/// assert_eq!(server_version(b"SSH-2.0-OpenSSH_9.2p1"), None);
/// ```
pub fn server_version(identification: &[u8]) -> Option<&str> {
    let version = identification.strip_prefix(SERVER_ID.as_bytes())?;
    std::str::from_utf8(version).ok()
}

/// Returns whether this client works with a server of this version: whether the two are compatible
/// under Semantic Versioning (the same major version, and below 1.0 the same minor version).
pub fn is_compatible(version: &str) -> bool {
    compatible_part(version).is_some_and(|part| compatible_part(VERSION) == Some(part))
}

fn compatible_part(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    match (parts.next()??, parts.next()??) {
        (0, minor) => Some((0, minor)),
        (major, _) => Some((major, 0)),
    }
}

/// The most bytes of text in one request. SSH implementations close the connection at a packet of
/// more than 256 KiB (OpenSSH's `PACKET_MAX_SIZE`).
pub const MAX_REQUEST_TEXT: usize = 128 << 10;
/// The most bytes of the command line and the environment of one command: more than Linux takes
/// (execve(2): at most 6 MiB).
pub const MAX_COMMAND: usize = 8 << 20;
/// Environment request: a part of a command line, before the parts that follow.
pub const COMMAND_PART: &str = "SANDBOX_COMMAND_PART";

/// Encodes a part of a command line as text, a character for each byte (ISO 8859-1), because an
/// environment request carries UTF-8.
pub fn encode_command_part(part: &[u8]) -> String {
    part.iter().copied().map(char::from).collect()
}

/// Decodes what [`encode_command_part`] wrote; `None` for other text.
pub fn decode_command_part(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

/// Environment request: the job to start or to attach to.
pub const JOB: &str = "SANDBOX_JOB";
/// Environment request: the first byte of the log to send, in decimal; beyond the end sends none.
pub const JOB_OFFSET: &str = "SANDBOX_JOB_OFFSET";
/// Environment request: `1` keeps the channel open until the job has ended.
pub const JOB_FOLLOW: &str = "SANDBOX_JOB_FOLLOW";
/// Environment request: the [`output_grace`](crate::ExecRequest::output_grace) of a command, in
/// milliseconds and decimal.
pub const OUTPUT_GRACE_MS: &str = "SANDBOX_OUTPUT_GRACE_MS";
/// Environment request: the user to run the command as, by name or number. A server of a version without it refuses it,
/// as all of [`RESERVED_PREFIX`], and one that cannot run commands as this user does so, too, and runs no command on that
/// channel.
pub const RUN_AS: &str = "SANDBOX_SSHD_RUN_AS";
/// Environment request: accepted if there is no user of this name or number.
pub const UNKNOWN_USER: &str = "SANDBOX_SSHD_UNKNOWN_USER";
/// The names of all environment requests of this protocol but those of [`RESERVED_PREFIX`]. No command gets such a variable.
pub const RESERVED_NAMES: [&str; 10] = [
    JOB,
    JOB_OFFSET,
    JOB_FOLLOW,
    EXTEND_SECONDS,
    TTL_SECONDS,
    OUTPUT_GRACE_MS,
    COMMAND_PART,
    CLAIM_KEY,
    CLAIM_ATTACH_SECONDS,
    CLAIM_MAX_SECONDS,
];
/// The type of the extended data that carries a [`Notice`](crate::Notice) as JSON, one a message.
/// RFC 4254 §5.2 leaves types from 0xFE000000 to private use. The server sends it only to a client
/// whose identification string begins with [`CLIENT_ID`]; others get a line on standard error.
pub const NOTICE_DATA: u32 = 0xFE53_4258;
/// Subsystem that attaches to a job.
pub const JOB_SUBSYSTEM: &str = "sandbox-job";
/// Subsystem that lists the jobs.
pub const JOBS_SUBSYSTEM: &str = "sandbox-jobs";
/// Environment request: let the sandbox live for this many seconds from now, in decimal.
pub const EXTEND_SECONDS: &str = "SANDBOX_EXTEND_SECONDS";
/// Environment request: end the sandbox this many seconds from now, in decimal, also if it would
/// end later.
pub const TTL_SECONDS: &str = "SANDBOX_TTL_SECONDS";
/// Subsystem that extends the sandbox's `ttl`, or starts one.
pub const LIFETIME_SUBSYSTEM: &str = "sandbox-lifetime";
/// Subsystem that sends or receives a directory tree; see [`tree_stream`](crate::tree_stream). A
/// server of a version without it answers the request with a failure.
pub const TREE_SUBSYSTEM: &str = "sandbox-tree";
/// Subsystem for one operation of the guest protocol; see [`guest`](crate::guest). A server of a version without it
/// answers the request with a failure.
pub const GUEST_SUBSYSTEM: &str = "sandbox-guest";

/// Subsystem that claims the sandbox: from then on only [`CLAIM_KEY`] logs in, and every connection but
/// the one of the request is closed. It is served once, and only by a server with [`POOL_VARIABLE`].
/// [`TTL_SECONDS`] starts a `ttl`; without it, that stays as it is.
pub const CLAIM_SUBSYSTEM: &str = "sandbox-claim";
/// Environment request: the public key of the claimer, in OpenSSH's one-line form without options.
pub const CLAIM_KEY: &str = "SANDBOX_CLAIM_KEY";
/// Environment request: the attach timeout from the claim on, in seconds and decimal. Without it, the
/// sandbox is detached.
pub const CLAIM_ATTACH_SECONDS: &str = "SANDBOX_CLAIM_ATTACH_SECONDS";
/// Environment request: end the sandbox at the latest this many seconds after the claim, in decimal.
/// An earlier end stays.
pub const CLAIM_MAX_SECONDS: &str = "SANDBOX_CLAIM_MAX_SECONDS";
/// The most bytes of a public key: more than RSA with 16,384 bits needs.
pub const MAX_CLAIM_KEY: usize = 8 << 10;

/// Why sandbox-sshd refuses to be claimed. It has changed nothing then.
///
/// | exit code | reason |
/// |---|---|
/// | 90 | [`NotClaimable`](Self::NotClaimable) |
/// | 91 | [`AlreadyClaimed`](Self::AlreadyClaimed) |
/// | 92 | [`Malformed`](Self::Malformed) |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClaimRefusal {
    /// It was not created for a pool that processes share.
    NotClaimable,
    /// Another client has claimed it, or this one has.
    AlreadyClaimed,
    /// The key or a time is missing or malformed.
    Malformed,
}

impl ClaimRefusal {
    /// Returns the exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::NotClaimable => 90,
            Self::AlreadyClaimed => 91,
            Self::Malformed => 92,
        }
    }

    /// Returns the message: one line without a line feed.
    pub fn message(self) -> &'static str {
        match self {
            Self::NotClaimable => {
                "the sandbox cannot be claimed: it was not created for a pool; connect to it, or create another"
            }
            Self::AlreadyClaimed => {
                "the sandbox cannot be claimed: it was claimed before; take another"
            }
            Self::Malformed => {
                "the sandbox cannot be claimed: the request is malformed; give one OpenSSH public key without options, and times in whole seconds"
            }
        }
    }

    /// Returns the refusal with this exit code; `None` for any other.
    pub fn from_exit(code: u32) -> Option<Self> {
        [Self::NotClaimable, Self::AlreadyClaimed, Self::Malformed]
            .into_iter()
            .find(|refusal| u32::from(refusal.exit_code()) == code)
    }
}

/// Why sandbox-sshd has ended. It reports this by its exit code, which nothing in the sandbox can
/// forge, and by its termination message, where it runs in a container that has one.
///
/// | exit code | reason |
/// |---|---|
/// | 0 | [`Expired`](Self::Expired); servers before this table ended so for every reason |
/// | 1 | none of these: it failed, and its log says why |
/// | 80 | [`Idle`](Self::Idle) |
/// | 81 | [`NotAttached`](Self::NotAttached) |
/// | 82 | [`NeverUsed`](Self::NeverUsed) |
/// | 143, 130 | [`Terminated`](Self::Terminated) by SIGTERM, SIGINT: 128 plus the signal |
///
/// A Pod that is evicted keeps the reason in its status only if its containers end with a code that
/// is not 0: otherwise its phase becomes `Succeeded`, and the reason belongs to the phase `Failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// The ttl or the maximum lifetime has passed.
    Expired,
    /// No channel, job or request for the idle timeout.
    Idle,
    /// No authenticated connection for the attach timeout.
    NotAttached,
    /// No client has ever logged in, for the time in which the first one was expected.
    NeverUsed,
    /// It was ended by a signal or by the caller.
    Terminated,
}

impl EndReason {
    /// Returns the exit code; for [`Terminated`](Self::Terminated) that of SIGTERM.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Expired => 0,
            Self::Idle => 80,
            Self::NotAttached => 81,
            Self::NeverUsed => 82,
            Self::Terminated => 143,
        }
    }

    /// Returns the termination message: one line without a line feed.
    pub fn message(self) -> &'static str {
        match self {
            Self::Expired => "the sandbox reached the end of its lifetime",
            Self::Idle => "the sandbox was idle for its idle timeout",
            Self::NotAttached => "no client was connected for the attach timeout",
            Self::NeverUsed => "no client has ever connected",
            Self::Terminated => "the server was ended by a signal",
        }
    }

    /// Returns why a server ended with this exit code and termination message; `None` if it failed,
    /// or is of a version that does not report it. The message is untrusted, so it only distinguishes
    /// what the exit code 0 leaves open.
    ///
    /// ```
    /// use sandbox_core::protocol::EndReason;
    ///
    /// assert_eq!(EndReason::from_exit(80, ""), Some(EndReason::Idle));
    /// assert_eq!(EndReason::from_exit(0, EndReason::Expired.message()), Some(EndReason::Expired));
    /// assert_eq!(EndReason::from_exit(0, ""), None);
    /// ```
    pub fn from_exit(code: i32, message: &str) -> Option<Self> {
        match code {
            0 => (message.trim() == Self::Expired.message()).then_some(Self::Expired),
            80 => Some(Self::Idle),
            81 => Some(Self::NotAttached),
            82 => Some(Self::NeverUsed),
            130 | 143 => Some(Self::Terminated),
            _ => None,
        }
    }

    /// Returns whether this text is the termination message of any reason.
    pub fn is_message(text: &str) -> bool {
        [
            Self::Expired,
            Self::Idle,
            Self::NotAttached,
            Self::NeverUsed,
            Self::Terminated,
        ]
        .iter()
        .any(|reason| text.trim() == reason.message())
    }
}

/// One job, as [`JOBS_SUBSYSTEM`] writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Chosen by the client.
    pub id: String,
    /// The program's name. Arguments may be secrets, and are not included.
    pub program: FilePath,
    /// Process id inside the sandbox.
    pub pid: u32,
    /// Its start, in milliseconds since the Unix epoch, by the sandbox's clock.
    pub started_ms: u64,
    /// Bytes of output in the log.
    pub log_bytes: u64,
    /// Bytes of output that were left out, because the log keeps only the beginning and the end.
    pub dropped_bytes: u64,
    /// The exit code, if it has exited.
    pub exit_code: Option<u32>,
    /// The name of the signal without `SIG`, if it was killed by one.
    pub exit_signal: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_semver_does() {
        assert!(is_compatible(VERSION));
        let (major, minor) = compatible_part(VERSION).unwrap();
        for (version, compatible) in [
            (format!("{major}.{minor}.999"), true),
            (format!("{}.{minor}.0", major + 1), false),
            (format!("0.{}.0", minor + 1), false),
            (String::new(), false),
            ("1".into(), false),
            ("x.y.z".into(), false),
            ("99999999999999999999999.0.0".into(), false),
        ] {
            assert_eq!(is_compatible(&version), compatible, "{version}");
        }
    }

    #[test]
    fn an_exit_code_tells_the_reason() {
        for reason in [
            EndReason::Expired,
            EndReason::Idle,
            EndReason::NotAttached,
            EndReason::NeverUsed,
            EndReason::Terminated,
        ] {
            let (code, message) = (i32::from(reason.exit_code()), reason.message());
            assert_eq!(EndReason::from_exit(code, message), Some(reason));
            assert!(EndReason::is_message(&format!("{message}\n")));
            if reason != EndReason::Expired {
                let forged = EndReason::Expired.message();
                assert_eq!(EndReason::from_exit(code, forged), Some(reason));
            }
        }
        assert_eq!(EndReason::from_exit(130, ""), Some(EndReason::Terminated));
        for (code, message) in [(0, ""), (0, "idle"), (1, ""), (137, ""), (255, "")] {
            assert_eq!(EndReason::from_exit(code, message), None, "{code}");
        }
        assert!(!EndReason::is_message("sandbox-sshd: no host key"));
    }

    #[test]
    fn an_exit_code_tells_why_a_claim_is_refused() {
        for refusal in [
            ClaimRefusal::NotClaimable,
            ClaimRefusal::AlreadyClaimed,
            ClaimRefusal::Malformed,
        ] {
            let code = u32::from(refusal.exit_code());
            assert_eq!(ClaimRefusal::from_exit(code), Some(refusal));
        }
        for code in [0, 1, 89, 93, 90 + 256] {
            assert_eq!(ClaimRefusal::from_exit(code), None, "{code}");
        }
    }

    #[test]
    fn a_part_of_a_command_may_have_any_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = encode_command_part(&bytes);
        assert_eq!(decode_command_part(&text), Some(bytes));
        assert_eq!(decode_command_part("\u{100}"), None);
    }

    #[test]
    fn only_sandbox_sshd_has_a_version() {
        assert_eq!(server_version(b"SSH-2.0-sandbox_sshd_1.2.3"), Some("1.2.3"));
        assert_eq!(server_version(b"SSH-2.0-sandbox_sshd_\xff"), None);
        assert_eq!(server_version(b"SSH-2.0-OpenSSH_9.9"), None);
    }
}
