//! How failures are told, and with which exit code.

use std::io::Write;
use std::process::ExitCode;

use sandbox::{CommandCause, Error};

use crate::escape::Escaped;

/// The exit code of a subcommand.
pub(crate) type Outcome = anyhow::Result<u8>;

/// This program failed, as docker says it.
pub(crate) const EXIT_FAILURE: u8 = 125;
/// The command ran longer than it was allowed to, as timeout(1) says it.
const EXIT_TIMED_OUT: u8 = 124;

/// One sentence, then its causes.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    tell(error);
    let timed_out = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Error>())
        .any(|error| matches!(error, Error::Command { cause: CommandCause::TimedOut { .. }, .. }));
    ExitCode::from(if timed_out { EXIT_TIMED_OUT } else { EXIT_FAILURE })
}

/// The same without an end to the program.
pub(crate) fn tell(error: &anyhow::Error) {
    let mut text = format!("sandbox: {}\n", indented(&error.to_string()));
    let mut above = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some libraries repeat their cause in their own sentence.
        if !above.contains(&cause) {
            text.push_str(&format!("  caused by: {}\n", indented(&cause)));
        }
        above = cause;
    }
    to_stderr(&text);
}

/// A remark that is no failure.
pub(crate) fn note(text: &str) {
    to_stderr(&format!("sandbox: {}\n", indented(text)));
}

/// Wrong arguments, or a text that was asked for with `--help` or `--version`.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to tell it to when the terminal or pipe has gone.
    let _gone = error.print();
    if error.use_stderr() { ExitCode::from(EXIT_FAILURE) } else { ExitCode::SUCCESS }
}

/// Escaped line by line; further lines are set off, so that none of them looks like ours.
fn indented(text: &str) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(|line| Escaped(line).to_string()).collect();
    lines.join("\n  ")
}

fn to_stderr(text: &str) {
    // Nothing is left to tell it to when the terminal or pipe has gone.
    let _gone = std::io::stderr().write_all(text.as_bytes());
}
