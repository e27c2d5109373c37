//! Errors and notes on stderr, and text on stdout.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use sandbox::{CommandCause, Error};

use crate::exit::{EXIT_FAILURE, EXIT_TIMED_OUT, Outcome};
use crate::ui::printable::Printable;
use crate::ui::stdio::{Stderr, Stdout};

/// Prints an error with its causes and returns the exit code for it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    print_error(error);
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

/// Prints an error with its causes.
pub(crate) fn print_error(error: &anyhow::Error) {
    write_message(&error_text(error));
}

/// Methods that errors of the library suggest, and the options of the command in their place.
const OPTIONS: [(&str, &str); 1] = [("unverified_egress()", "--egress-unverified")];

/// Returns the text of an error, a line for each cause, not escaped yet.
pub(crate) fn error_text(error: &anyhow::Error) -> String {
    let text = library_text(error);
    OPTIONS
        .iter()
        .fold(text, |text, (method, option)| text.replace(method, option))
}

fn library_text(error: &anyhow::Error) -> String {
    let mut above = error.to_string();
    let mut text = indent_further_lines(&above);
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some libraries repeat the cause in their own message.
        if !above.contains(&cause) {
            text.push_str(&format!("\n  caused by: {}", indent_further_lines(&cause)));
        }
        above = cause;
    }
    let errors = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Error>());
    for log in errors.filter_map(|error| match error {
        // If the server could not be started, the message has this text already.
        Error::Creation(error) => Some(error.log_tail.trim())
            .filter(|log| !log.is_empty() && !error.message.contains(log)),
        _ => None,
    }) {
        text.push_str(&format!(
            "\n  end of the log:\n  {}",
            indent_further_lines(log)
        ));
    }
    text
}

/// Prints a note, which is not an error.
pub(crate) fn print_note(text: &str) {
    write_stderr(&format_note(text));
}

/// Returns the line or lines of a note.
pub(crate) fn format_note(text: &str) -> Printable {
    format_message(&indent_further_lines(text))
}

/// Prints text to stdout. A closed pipe is not an error, as with `sandbox ls | head
/// -1`.
///
/// # Errors
///
/// If stdout cannot be written to for another reason.
pub(crate) fn print_stdout(text: &Printable) -> Outcome {
    match Stdout
        .write_all(text.as_str().as_bytes())
        .and_then(|()| Stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(0),
    }
}

/// Prints what clap returned, an error about the arguments or the text for `--help` or `--version`,
/// and returns the exit code for it.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    // There is no other place for the message if stderr is closed.
    let _closed = error.print();
    if error.use_stderr() {
        ExitCode::from(EXIT_FAILURE)
    } else {
        ExitCode::SUCCESS
    }
}

/// Indents all lines but the first, so that none of them looks like a message of this program.
fn indent_further_lines(text: &str) -> String {
    text.trim_end().lines().collect::<Vec<_>>().join("\n  ")
}

/// Writes a message whose further lines are indented already.
fn write_message(text: &str) {
    write_stderr(&format_message(text));
}

fn format_message(text: &str) -> Printable {
    Printable::trusted("sandbox: ")
        .with(&Printable::indented(text, ""))
        .with_trusted("\n")
}

/// Writes text to stderr.
pub(crate) fn write_stderr(text: &Printable) {
    // There is no other place for the message if stderr is closed.
    let _closed = Stderr.write_all(text.as_str().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_suggests_options_and_no_methods() {
        let error = Error::unsupported("egress", "it", "accept that with unverified_egress()");
        assert_eq!(
            error_text(&error.into()),
            "it does not support egress: accept that with --egress-unverified"
        );
    }
}
