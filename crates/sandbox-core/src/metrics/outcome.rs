//! Maps results to the few values that the label `outcome` has.

use crate::{CommandCause, CreationReason, Direction, Error, ExitStatus, Result};

pub(super) const OK: &str = "ok";
pub(super) const CANCELLED: &str = "cancelled";

pub(super) fn from_result<T>(result: &Result<T>) -> &'static str {
    result.as_ref().map_or_else(from_error, |_| OK)
}

fn from_error(error: &Error) -> &'static str {
    match error {
        Error::NotFound { .. } => "not_found",
        Error::AlreadyExists { .. } => "already_exists",
        Error::PoolEmpty { .. } => "pool_empty",
        Error::Creation(creation) => from_creation(creation.reason),
        Error::Deletion { .. } => "deletion",
        Error::Connection(_) => "connection",
        Error::Command { cause, .. } => from_cause(cause),
        Error::Transfer(_) => "transfer",
        Error::Config { .. } => "config",
        Error::Invalid { .. } => "invalid",
        Error::Unsupported { .. } => "unsupported",
        Error::Timeout { .. } => "timeout",
        Error::Refused(_) => "refused",
        Error::Backend { .. } => "backend",
    }
}

pub(super) fn from_command(result: &Result<Option<ExitStatus>>) -> &'static str {
    match result {
        Ok(Some(status)) if !status.success() => from_status(status),
        Ok(_) => OK,
        Err(error) => from_error(error),
    }
}

pub(super) fn from_direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Upload => "upload",
        Direction::Download => "download",
        Direction::Inside => "inside",
    }
}

fn from_creation(reason: CreationReason) -> &'static str {
    match reason {
        CreationReason::ImagePull => "image_pull",
        CreationReason::Unschedulable => "unschedulable",
        CreationReason::Quota => "quota",
        CreationReason::Rejected => "rejected",
        CreationReason::Isolation => "isolation",
        CreationReason::NotEnforced => "not_enforced",
        CreationReason::Crashed => "crashed",
        CreationReason::Unreachable => "unreachable",
        CreationReason::Setup => "setup",
        CreationReason::Timeout => "timeout",
        CreationReason::Evicted => "evicted",
        CreationReason::Unavailable => "unavailable",
        CreationReason::Other => "other",
    }
}

fn from_cause(cause: &CommandCause) -> &'static str {
    match cause {
        CommandCause::Failed { status, .. } => from_status(status),
        CommandCause::NotStarted { .. } => "not_started",
        CommandCause::TimedOut { .. } => "timeout",
        CommandCause::Lost => "lost",
        CommandCause::AlreadyEnded => "already_ended",
    }
}

/// Exit codes share one value, because there are too many for a label.
fn from_status(status: &ExitStatus) -> &'static str {
    match status {
        ExitStatus::Code(_) => "exit",
        ExitStatus::Signal(_) => "signal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signal;

    #[test]
    fn a_command_has_one_of_a_few_outcomes() {
        let outcome = |status| from_command(&Ok(Some(status)));
        assert_eq!(outcome(ExitStatus::Code(0)), "ok");
        assert_eq!(
            [outcome(ExitStatus::Code(1)), outcome(ExitStatus::Code(41))],
            ["exit", "exit"]
        );
        assert_eq!(outcome(ExitStatus::Signal(Signal::Kill)), "signal");
        assert_eq!(from_command(&Ok(None)), "ok");
        let lost = Error::Command {
            cause: CommandCause::Lost,
            source: None,
        };
        assert_eq!(from_command(&Err(lost)), "lost");
    }
}
