//! Requests to sandbox-sshd about jobs and the ttl, and its responses.

use std::time::Duration;

use sandbox_core::protocol::{self, JobRecord};
use sandbox_core::{
    AttachOptions, CommandCause, ConnectionStage, Error, JobId, Notice, Output, Result,
};

use crate::text::escape;

/// The most bytes of a message that explains a failure.
pub(crate) const MESSAGE_CAP: usize = 4 << 10;
/// The most bytes of a list of jobs.
pub(crate) const LIST_CAP: usize = 16 << 20;

/// Checks that a job has started.
pub(crate) fn check_started(output: Output) -> Result<()> {
    if output.environment_truncated {
        tracing::warn!("a job has started: {}", Notice::EnvironmentTruncated);
    }
    if output.status.success() {
        return Ok(());
    }
    let message = match output.stderr_lossy().trim() {
        "" => output.status.to_string(),
        text => escape(text),
    };
    Err(Error::Command {
        cause: CommandCause::NotStarted { message },
        source: None,
    })
}

/// Parses a list of jobs, one line of JSON each.
pub(crate) fn parse_list(output: &Output) -> Result<Vec<JobRecord>> {
    if output.is_truncated() {
        return Err(unreadable_error(
            format!("the list of jobs is longer than {LIST_CAP} bytes"),
            None,
        ));
    }
    let lines = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let record: JobRecord = serde_json::from_slice(line).map_err(|source| {
                unreadable_error("the list of jobs cannot be parsed".into(), Some(source))
            })?;
            // Programs print ids as they are, so a hostile server must not choose their characters.
            if record.id.parse::<JobId>().is_err() {
                return Err(unreadable_error(
                    format!("the list of jobs has an invalid id, {}", escape(&record.id)),
                    None,
                ));
            }
            Ok(record)
        })
        .collect()
}

/// The variables of a request to attach to a job.
pub(crate) fn attach_variables(id: &JobId, options: AttachOptions) -> Vec<(&'static str, String)> {
    let mut control = vec![
        (protocol::JOB, id.to_string()),
        (protocol::JOB_OFFSET, options.offset.to_string()),
    ];
    if options.follow {
        control.push((protocol::JOB_FOLLOW, "1".to_owned()));
    }
    control
}

/// The variables of a request to extend the ttl.
pub(crate) fn extend_variables(ttl: Duration) -> Vec<(&'static str, String)> {
    vec![(protocol::EXTEND_SECONDS, whole_seconds(ttl))]
}

/// The variables of a request to start a ttl.
pub(crate) fn ttl_variables(ttl: Duration) -> Vec<(&'static str, String)> {
    vec![(protocol::TTL_SECONDS, whole_seconds(ttl))]
}

/// Rounds up, so that no end comes early.
pub(crate) fn whole_seconds(duration: Duration) -> String {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
        .to_string()
}

/// Parses the new ttl.
pub(crate) fn parse_extended(output: &Output) -> Result<Duration> {
    let seconds = output
        .stdout_lossy()
        .trim()
        .parse()
        .ok()
        .filter(|_| output.status.success());
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let reason = match output.stderr_lossy().trim() {
            "" => output.status.to_string(),
            text => escape(text),
        };
        unreadable_error(format!("the ttl could not be extended: {reason}"), None)
    })
}

fn unreadable_error(message: String, source: Option<serde_json::Error>) -> Error {
    Error::connection(ConnectionStage::Channel, message, source.map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_core::ExitStatus;

    #[test]
    fn a_listing_is_read_line_by_line() {
        let line = r#"{"id":"job-1","program":"sh","pid":3,"started_ms":1,"log_bytes":2,"dropped_bytes":0,"exit_code":0,"exit_signal":null}"#;
        let jobs = parse_list(&Output::new(
            ExitStatus::Code(0),
            format!("{line}\n{line}\n"),
            "",
        ))
        .unwrap();
        assert_eq!((jobs.len(), jobs[0].id.as_str()), (2, "job-1"));
        assert!(parse_list(&Output::new(ExitStatus::Code(0), "nonsense\n", "")).is_err());
    }

    #[test]
    fn a_listing_with_an_invalid_id_is_refused() {
        let line = r#"{"id":"job-1\u001b]0;x\u0007","program":"sh","pid":3,"started_ms":1,"log_bytes":2,"dropped_bytes":0,"exit_code":0,"exit_signal":null}"#;
        let error = parse_list(&Output::new(ExitStatus::Code(0), line, "")).unwrap_err();
        assert!(!error.to_string().contains('\x1b'), "{error}");
    }

    #[test]
    fn a_new_ttl_is_parsed() {
        assert_eq!(extend_variables(Duration::from_millis(1500))[0].1, "2");
        let parse = |code, text: &'static str| {
            parse_extended(&Output::new(ExitStatus::Code(code), text, "no"))
        };
        assert_eq!(parse(0, "42\n").unwrap(), Duration::from_secs(42));
        assert!(
            parse(0, "soon").is_err() && parse(1, "42").unwrap_err().to_string().contains("no")
        );
    }

    #[test]
    fn a_job_that_did_not_start_says_why() {
        let output = Output::new(
            ExitStatus::Code(127),
            "",
            "sandbox-sshd: nope: no such program\n",
        );
        let error = check_started(output).unwrap_err();
        assert!(error.to_string().contains("no such program"), "{error}");
    }
}
