//! How failures are told, and with which exit code.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use sandbox::{CommandCause, Error};

use crate::exit::{EXIT_FAILURE, EXIT_TIMED_OUT, Outcome};
use crate::ui::escape::Escaped;

/// One sentence, then its causes.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    tell(error);
    let timed_out = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Error>())
        .any(|error| {
            matches!(
                error,
                Error::Command {
                    cause: CommandCause::TimedOut { .. },
                    ..
                }
            )
        });
    ExitCode::from(if timed_out {
        EXIT_TIMED_OUT
    } else {
        EXIT_FAILURE
    })
}

/// The same without an end to the program.
pub(crate) fn tell(error: &anyhow::Error) {
    let lines: Vec<String> = told(error)
        .lines()
        .map(|line| Escaped(line).to_string())
        .collect();
    to_stderr(&format!("sandbox: {}\n", lines.join("\n")));
}

/// The text of it, a line for each cause, not escaped yet.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut above = error.to_string();
    let mut text = set_off(&above);
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some libraries repeat their cause in their own sentence.
        if !above.contains(&cause) {
            text.push_str(&format!("\n  caused by: {}", set_off(&cause)));
        }
        above = cause;
    }
    let creations = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Error>());
    for log in creations.filter_map(|error| match error {
        // What could not be started at all has said nothing: its message stands there.
        Error::Creation(error) => Some(error.log_tail.trim())
            .filter(|log| !log.is_empty() && !error.message.contains(log)),
        _ => None,
    }) {
        text.push_str(&format!("\n  the end of its log:\n  {}", set_off(log)));
    }
    text
}

/// A remark that is no failure.
pub(crate) fn note(text: &str) {
    let lines: Vec<String> = set_off(text)
        .lines()
        .map(|line| Escaped(line).to_string())
        .collect();
    to_stderr(&format!("sandbox: {}\n", lines.join("\n")));
}

/// Prints text that is escaped already. A reader that went away has seen enough.
pub(crate) fn print(text: &str) -> Outcome {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(0),
    }
}

/// Wrong arguments, or a text that was asked for with `--help` or `--version`.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to tell it to when the terminal or pipe has gone.
    let _gone = error.print();
    if error.use_stderr() {
        ExitCode::from(EXIT_FAILURE)
    } else {
        ExitCode::SUCCESS
    }
}

/// Further lines are set off, so that none of them looks like ours.
fn set_off(text: &str) -> String {
    text.trim_end().lines().collect::<Vec<_>>().join("\n  ")
}

fn to_stderr(text: &str) {
    // Nothing is left to tell it to when the terminal or pipe has gone.
    let _gone = std::io::stderr().write_all(text.as_bytes());
}
