//! The names that Python has for the kinds of the SDK's enums. Where an enum can grow, a kind that this crate does not
//! know is `other`, or the word of its `Debug` form.

use sandbox::{
    ConnectionStage, CreationReason, CreationStage, Direction, Discarded, FileKind, RefusalCode,
    SandboxState, TransferReason,
};

pub(crate) fn creation_stage(stage: CreationStage) -> &'static str {
    match stage {
        CreationStage::Provision => "provision",
        CreationStage::Connect => "connect",
        CreationStage::Isolate => "isolate",
        CreationStage::Personalise => "personalise",
        _ => "other",
    }
}

pub(crate) fn creation_reason(reason: CreationReason) -> &'static str {
    match reason {
        CreationReason::ImagePull => "image-pull",
        CreationReason::Unschedulable => "unschedulable",
        CreationReason::Quota => "quota",
        CreationReason::Rejected => "rejected",
        CreationReason::Isolation => "isolation",
        CreationReason::NotEnforced => "not-enforced",
        CreationReason::Crashed => "crashed",
        CreationReason::Unreachable => "unreachable",
        CreationReason::Setup => "setup",
        CreationReason::Timeout => "timeout",
        CreationReason::Evicted => "evicted",
        CreationReason::Unavailable => "unavailable",
        CreationReason::Other => "other",
        _ => "other",
    }
}

pub(crate) fn connection_stage(stage: ConnectionStage) -> &'static str {
    match stage {
        ConnectionStage::Dial => "dial",
        ConnectionStage::HostKey => "host-key",
        ConnectionStage::Auth => "auth",
        ConnectionStage::Channel => "channel",
        _ => "other",
    }
}

pub(crate) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Upload => "upload",
        Direction::Download => "download",
        Direction::Inside => "inside",
        _ => "other",
    }
}

pub(crate) fn transfer_reason(reason: TransferReason) -> &'static str {
    match reason {
        TransferReason::NotFound => "not-found",
        TransferReason::PermissionDenied => "permission-denied",
        TransferReason::AlreadyExists => "already-exists",
        TransferReason::NoSpace => "no-space",
        TransferReason::BadName => "bad-name",
        TransferReason::SizeChanged => "size-changed",
        TransferReason::TooLarge => "too-large",
        TransferReason::Lost => "lost",
        TransferReason::Other => "other",
        _ => "other",
    }
}

pub(crate) fn refusal_code(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::NotFound => "not-found",
        RefusalCode::AlreadyExists => "already-exists",
        RefusalCode::Invalid => "invalid",
        RefusalCode::NotADirectory => "not-a-directory",
        RefusalCode::IsADirectory => "is-a-directory",
        RefusalCode::PermissionDenied => "permission-denied",
        RefusalCode::UnknownUser => "unknown-user",
        RefusalCode::NoSpace => "no-space",
        RefusalCode::LimitReached => "limit-reached",
        RefusalCode::TimedOut => "timed-out",
        RefusalCode::TooSlow => "too-slow",
        RefusalCode::Unsupported => "unsupported",
        RefusalCode::Paused => "paused",
        RefusalCode::Other => "other",
        _ => "other",
    }
}

pub(crate) fn file_kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Other => "other",
        _ => "other",
    }
}

pub(crate) fn sandbox_state(state: SandboxState) -> &'static str {
    match state {
        SandboxState::Pending => "pending",
        SandboxState::Running => "running",
        SandboxState::Ended => "ended",
        _ => "other",
    }
}

pub(crate) fn discarded(why: Discarded) -> &'static str {
    match why {
        Discarded::Changed => "changed",
        Discarded::Unverified => "unverified",
        Discarded::NotPrivate => "not-private",
        _ => "other",
    }
}
