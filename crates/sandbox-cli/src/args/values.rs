//! Values of options that several subcommands share.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use sandbox::ExecRequest;
use sandbox_config::{DURATION_FORM, parse_duration};

/// Parses `NAME=VALUE`, or `NAME` alone, which takes the value from this program's environment.
///
/// # Errors
///
/// If a variable is not set or not UTF-8.
pub(crate) fn parse_environment(variables: &[OsString]) -> Result<Vec<(String, String)>> {
    let pair = |variable: &OsString| {
        let text = variable.to_str().with_context(|| {
            format!(
                "-e {:?} is not UTF-8, which SSH requires of variables",
                variable.to_string_lossy()
            )
        })?;
        match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => match std::env::var(text) {
                Ok(value) => Ok((text.to_owned(), value)),
                Err(std::env::VarError::NotPresent) => Err(anyhow!(
                    "-e {text}: the variable is not set here; write {text}=VALUE"
                )),
                Err(error) => Err(anyhow!("-e {text}: {error}")),
            },
        }
    };
    variables.iter().map(pair).collect()
}

/// Parses a duration above zero.
///
/// # Errors
///
/// If the text has another form.
pub(crate) fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| format!("use {DURATION_FORM}, above zero"))
}

/// Parses how long output is waited for: zero to one day.
///
/// # Errors
///
/// If the text has another form, or is longer.
pub(crate) fn parse_grace(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).filter(|time| *time <= ExecRequest::MAX_OUTPUT_GRACE);
    time.ok_or_else(|| format!("use {DURATION_FORM}, at most a day"))
}

/// Parses `KEY=VALUE`.
///
/// # Errors
///
/// If the text has no `=`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
