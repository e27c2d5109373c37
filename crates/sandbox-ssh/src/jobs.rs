//! Background jobs, as our server answers about them.

use std::time::Duration;

use sandbox_core::protocol::{self, JobRecord};
use sandbox_core::{AttachOptions, CommandCause, ConnectionStage, Error, JobId, Output, Result};

use crate::text::escaped;

/// The most of a message why a job did not start, in bytes.
pub(crate) const MESSAGE: usize = 4 << 10;
/// The most of a listing, in bytes.
pub(crate) const LISTING: usize = 16 << 20;

/// Whether a job runs now.
pub(crate) fn started(output: Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let message = match output.stderr_lossy().trim() {
        "" => output.status.to_string(),
        text => escaped(text),
    };
    Err(Error::Command {
        cause: CommandCause::NotStarted { message },
        source: None,
    })
}

/// The jobs of a listing, one line of JSON each.
pub(crate) fn listed(output: &Output) -> Result<Vec<JobRecord>> {
    if output.is_truncated() {
        return Err(unreadable(
            format!("the list of jobs is longer than {LISTING} bytes"),
            None,
        ));
    }
    let lines = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            serde_json::from_slice(line).map_err(|source| {
                unreadable("the list of jobs cannot be understood".into(), Some(source))
            })
        })
        .collect()
}

/// What our server is told to attach to a job.
pub(crate) fn attach(id: &JobId, options: AttachOptions) -> Vec<(&'static str, String)> {
    let mut control = vec![
        (protocol::JOB, id.to_string()),
        (protocol::JOB_OFFSET, options.offset.to_string()),
    ];
    if options.follow {
        control.push((protocol::JOB_FOLLOW, "1".to_owned()));
    }
    control
}

/// What our server is told to live longer.
pub(crate) fn extend(ttl: Duration) -> Vec<(&'static str, String)> {
    let seconds = ttl
        .as_secs()
        .saturating_add(u64::from(ttl.subsec_nanos() > 0));
    vec![(protocol::EXTEND_SECONDS, seconds.to_string())]
}

/// How long it lives now.
pub(crate) fn extended(output: &Output) -> Result<Duration> {
    let seconds = output
        .stdout_lossy()
        .trim()
        .parse()
        .ok()
        .filter(|_| output.status.success());
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let said = match output.stderr_lossy().trim() {
            "" => output.status.to_string(),
            text => escaped(text),
        };
        unreadable(format!("its server does not live longer: {said}"), None)
    })
}

fn unreadable(message: String, source: Option<serde_json::Error>) -> Error {
    Error::connection(ConnectionStage::Channel, message, source.map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_core::ExitStatus;

    #[test]
    fn a_listing_is_read_line_by_line() {
        let line = r#"{"id":"job-1","program":"sh","pid":3,"started_ms":1,"log_bytes":2,"dropped_bytes":0,"exit_code":0,"exit_signal":null}"#;
        let jobs = listed(&Output::new(
            ExitStatus::Code(0),
            format!("{line}\n{line}\n"),
            "",
        ))
        .unwrap();
        assert_eq!((jobs.len(), jobs[0].id.as_str()), (2, "job-1"));
        assert!(listed(&Output::new(ExitStatus::Code(0), "nonsense\n", "")).is_err());
    }

    #[test]
    fn a_longer_life_is_read_back() {
        assert_eq!(extend(Duration::from_millis(1500))[0].1, "2");
        let told =
            |code, text: &'static str| extended(&Output::new(ExitStatus::Code(code), text, "no"));
        assert_eq!(told(0, "42\n").unwrap(), Duration::from_secs(42));
        assert!(told(0, "soon").is_err() && told(1, "42").unwrap_err().to_string().contains("no"));
    }

    #[test]
    fn a_job_that_did_not_start_says_why() {
        let output = Output::new(
            ExitStatus::Code(127),
            "",
            "sandbox-sshd: nope: no such program\n",
        );
        let error = started(output).unwrap_err();
        assert!(error.to_string().contains("no such program"), "{error}");
    }
}
