//! What of the Python package needs no interpreter.

#[path = "../src/core/mod.rs"]
mod core;

use std::time::Duration;

use core::arguments::{duration, optional_duration, returncode, signal};
use core::fault::{Fault, Field};
use sandbox::{
    CommandCause, ConnectionStage, CreationError, CreationReason, CreationStage, Direction, Error,
    ExitStatus, Refusal, RefusalCode, Signal, TransferReason,
};

fn field<'a>(fault: &'a Fault, name: &str) -> Option<&'a Field> {
    let found = fault.fields.iter().find(|(field, _)| *field == name);
    found.map(|(_, value)| value)
}

fn text(text: &str) -> Option<Field> {
    Some(Field::Text(text.to_owned()))
}

#[test]
fn every_error_has_a_class_of_its_own() {
    let id = || "sbx-one".parse().unwrap();
    let transfer = |reason| Error::transfer(Direction::Upload, b"caf\xe9", reason, "no", None);
    let command = |cause| Error::Command {
        cause,
        source: None,
    };
    let cases: [(Error, &str); 18] = [
        (Error::NotFound { id: id() }, "SandboxNotFoundError"),
        (Error::AlreadyExists { id: id() }, "SandboxExistsError"),
        (
            Error::PoolEmpty {
                message: "no".into(),
                reason: Some(CreationReason::Quota),
            },
            "PoolEmptyError",
        ),
        (
            Error::Deletion {
                id: id(),
                message: "no".into(),
                source: None,
            },
            "SandboxDeletionError",
        ),
        (
            Error::connection(ConnectionStage::Dial, "no", None),
            "SSHConnectionError",
        ),
        (command(CommandCause::Lost), "CommandExecutionError"),
        (
            command(CommandCause::TimedOut {
                after: Duration::from_secs(1),
                killed: true,
            }),
            "CommandTimeoutError",
        ),
        (command(CommandCause::AlreadyEnded), "CommandExecutionError"),
        (transfer(TransferReason::Lost), "FileTransferError"),
        (
            transfer(TransferReason::NotFound),
            "SandboxFileNotFoundError",
        ),
        (
            transfer(TransferReason::PermissionDenied),
            "SandboxPermissionError",
        ),
        (
            transfer(TransferReason::AlreadyExists),
            "SandboxFileExistsError",
        ),
        (
            Error::Config {
                message: "no".into(),
            },
            "ConfigError",
        ),
        (Error::invalid("a", "b", "c"), "InvalidArgumentError"),
        (Error::unsupported("a", "b", "c"), "UnsupportedError"),
        (
            Error::Refused(Box::new(Refusal::new(RefusalCode::Paused, "no"))),
            "RefusedError",
        ),
        (
            Error::Timeout {
                operation: "waiting",
                after: Duration::from_secs(1),
            },
            "OperationTimeoutError",
        ),
        (
            Error::Backend {
                backend: "local",
                operation: "start",
                message: "no".into(),
                transient: true,
                source: None,
            },
            "BackendError",
        ),
    ];
    for (error, class) in cases {
        let sentence = error.to_string();
        let fault = Fault::from(error);
        assert_eq!((fault.class, &fault.message), (class, &sentence));
    }
}

#[test]
fn a_failed_creation_keeps_its_details() {
    let creation = |reason| {
        Fault::from(Error::from(CreationError {
            id: "sbx-one".parse().unwrap(),
            stage: CreationStage::Connect,
            reason,
            message: "no".to_owned(),
            events: Vec::new(),
            log_tail: "log".to_owned(),
            source: Some("inner".into()),
        }))
    };
    let fault = creation(CreationReason::Quota);
    assert_eq!(fault.class, "SandboxCreationError");
    for (name, value) in [
        ("stage", "connect"),
        ("reason", "quota"),
        ("log_tail", "log"),
        ("sandbox_id", "sbx-one"),
    ] {
        assert_eq!(field(&fault, name).cloned(), text(value), "{name}");
    }
    assert_eq!(
        field(&fault, "causes"),
        Some(&Field::Texts(vec!["inner".to_owned()]))
    );
    assert_eq!(field(&fault, "is_retryable"), Some(&Field::Bool(true)));
    assert_eq!(field(&fault, "retry_after"), Some(&Field::Seconds(1.0)));
    assert_eq!(
        creation(CreationReason::Timeout).class,
        "SandboxCreationTimeoutError"
    );
}

#[test]
fn a_path_keeps_bytes_that_are_not_utf8() {
    let error = Error::transfer(
        Direction::Inside,
        b"caf\xe9",
        TransferReason::NoSpace,
        "no",
        None,
    );
    let fault = Fault::from(error);
    assert_eq!(
        field(&fault, "path"),
        Some(&Field::Path(b"caf\xe9".to_vec()))
    );
    assert_eq!(field(&fault, "reason").cloned(), text("no-space"));
    assert_eq!(field(&fault, "direction").cloned(), text("inside"));
}

#[test]
fn a_long_chain_of_causes_is_limited() {
    #[derive(Debug)]
    struct Link(usize, Option<Box<Self>>);
    impl std::fmt::Display for Link {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "link {}", self.0)
        }
    }
    impl std::error::Error for Link {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_deref().map(|link| link as _)
        }
    }
    let chain = (0..100).fold(None, |inner, n| Some(Box::new(Link(n, inner))));
    let error = Error::connection(ConnectionStage::Dial, "no", chain.map(|link| link as _));
    let Some(Field::Texts(causes)) = field(&Fault::from(error), "causes").cloned() else {
        panic!("there are causes");
    };
    assert_eq!((causes.len(), &*causes[0]), (16, "link 99"));
}

#[test]
fn the_end_by_a_signal_is_negative() {
    assert_eq!(returncode(&ExitStatus::Code(3)), 3);
    assert_eq!(returncode(&ExitStatus::Signal(Signal::Kill)), -9);
    assert_eq!(
        returncode(&ExitStatus::Signal(Signal::Other("X".into()))),
        -255
    );
}

#[test]
fn only_signals_of_linux_are_accepted() {
    assert_eq!(signal(15).unwrap(), Signal::Term);
    for number in [-1, 0, 64, 255, 256, i64::MAX] {
        assert!(signal(number).is_err(), "{number}");
    }
}

#[test]
fn only_durations_that_clocks_can_add_are_accepted() {
    assert_eq!(duration("ttl", 0.5).unwrap(), Duration::from_millis(500));
    assert_eq!(optional_duration("ttl", None).unwrap(), None);
    assert!(optional_duration("ttl", Some(-1.0)).is_err());
    for seconds in [-0.1, f64::NAN, f64::INFINITY, 1e300] {
        let error = duration("ttl", seconds).unwrap_err().to_string();
        assert!(error.starts_with("ttl "), "{error}");
    }
}

#[test]
fn kinds_have_one_word() {
    use sandbox::{Discarded, FileKind, SandboxState};
    let words = [
        core::kinds::file_kind(FileKind::Directory),
        core::kinds::sandbox_state(SandboxState::Running),
        core::kinds::discarded(Discarded::NotPrivate),
        core::kinds::refusal_code(RefusalCode::IsADirectory),
    ];
    assert_eq!(
        words,
        ["directory", "running", "not-private", "is-a-directory"]
    );
    assert_eq!(Fault::closed("the client").message, "the client is closed");
}
