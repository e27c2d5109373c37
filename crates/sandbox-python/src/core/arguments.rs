//! Arguments and results whose form in Python differs from the SDK's.

use std::time::Duration;

use sandbox::{Error, ExitStatus, Result, Signal};

/// The longest duration that is accepted: 100 years, which is also the longest that a clock of the system can add.
const MAX_SECONDS: f64 = 100.0 * 365.25 * 86_400.0;

/// Returns the exit code as `subprocess` has it: that of the program, or minus the number of the signal that ended it. A
/// signal without a number on Linux is minus 255.
pub(crate) fn returncode(status: &ExitStatus) -> i64 {
    match status {
        ExitStatus::Code(code) => i64::from(*code),
        ExitStatus::Signal(signal) => -signal.number().map_or(255, i64::from),
    }
}

/// Returns a duration of Python: a number of seconds.
///
/// # Errors
///
/// [`Error::Invalid`] for a negative number, one that is too large, and one that is none.
pub(crate) fn duration(argument: &str, seconds: f64) -> Result<Duration> {
    if (0.0..=MAX_SECONDS).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(Error::invalid(
        argument,
        seconds.to_string(),
        "use seconds from 0 to 100 years",
    ))
}

/// Returns a duration that may be missing.
///
/// # Errors
///
/// As [`duration`].
pub(crate) fn optional_duration(argument: &str, seconds: Option<f64>) -> Result<Option<Duration>> {
    seconds
        .map(|seconds| duration(argument, seconds))
        .transpose()
}

/// Returns a signal by its number on Linux.
///
/// # Errors
///
/// [`Error::Invalid`] for a number that is no signal of Linux.
pub(crate) fn signal(number: i64) -> Result<Signal> {
    let found = u8::try_from(number).ok().map(Signal::from_number);
    // A number without a name is named after itself, and no server knows it.
    match found.filter(|signal| signal.number().is_some()) {
        Some(signal) => Ok(signal),
        None => Err(Error::invalid(
            "signal",
            number.to_string(),
            "use a signal that SSH can name, such as signal.SIGTERM, or its name",
        )),
    }
}
