//! Records of the SDK as dictionaries, from which the package makes its classes.

use std::time::SystemTime;

use sandbox::{
    Diagnosis, EgressEvent, ExecEvent, FileInfo, JobRecord, Notice, Output, PoolStatus,
    SandboxEvent, SandboxInfo, TransferReport, TreeReport, Usage,
};

use crate::core::arguments::returncode;
use crate::core::kinds;
use crate::value::Value;

pub(crate) fn info_record(info: &SandboxInfo) -> Value {
    let limits = info.limits.iter();
    Value::Record(vec![
        ("id", Value::text(info.id.as_str())),
        ("uid", Value::text(info.uid.as_str())),
        ("backend", Value::text(&info.backend)),
        ("state", Value::text(kinds::sandbox_state(info.state))),
        (
            "address",
            Value::optional(info.address.as_ref(), Value::text),
        ),
        (
            "port",
            Value::optional(info.port, |port| Value::Int(port.into())),
        ),
        ("user", Value::text(&info.user)),
        ("home", Value::optional(info.home.as_ref(), Value::text)),
        ("image", Value::optional(info.image.as_ref(), Value::text)),
        ("labels", Value::Texts(info.labels.clone())),
        ("annotations", Value::Texts(info.annotations.clone())),
        ("created_at", Value::time(info.created_at)),
        ("expires_at", Value::optional(info.expires_at, Value::time)),
        ("on_expiry", Value::text(info.on_expiry.as_str())),
        ("is_paused", Value::Bool(info.is_paused(SystemTime::now()))),
        ("isolation", Value::text(&info.isolation.kind)),
        (
            "limits",
            Value::Texts(
                limits
                    .map(|limit| (limit.resource.clone(), limit.value.clone()))
                    .collect(),
            ),
        ),
        (
            "end",
            Value::optional(info.end.as_ref(), |end| {
                Value::text(format!("{}: {}", end.cause, end.message))
            }),
        ),
    ])
}

pub(crate) fn event_record(event: &SandboxEvent) -> Value {
    Value::Record(vec![
        ("at", Value::time(event.at)),
        ("kind", Value::text(event.kind.to_string())),
        ("message", Value::text(&event.message)),
    ])
}

pub(crate) fn diagnosis_record(diagnosis: &Diagnosis) -> Value {
    Value::Record(vec![
        ("summary", Value::text(&diagnosis.summary)),
        (
            "reason",
            Value::optional(diagnosis.reason, |reason| {
                Value::text(kinds::creation_reason(reason))
            }),
        ),
        ("is_final", Value::Bool(diagnosis.is_final)),
        (
            "end",
            Value::optional(diagnosis.end, |end| Value::text(end.to_string())),
        ),
        (
            "events",
            Value::List(diagnosis.events.iter().map(event_record).collect()),
        ),
        ("log_tail", Value::text(&diagnosis.log_tail)),
    ])
}

pub(crate) fn output_record(output: Output) -> Value {
    Value::Tuple(vec![
        Value::Signed(returncode(&output.status)),
        Value::Bytes(output.stdout),
        Value::Bytes(output.stderr),
        Value::Int(output.stdout_dropped),
        Value::Int(output.stderr_dropped),
        Value::Bool(output.output_held),
        Value::Bool(output.environment_truncated),
    ])
}

/// An event of a command: what it is, and what belongs to it.
pub(crate) fn exec_event(event: ExecEvent) -> Value {
    let (kind, value) = match event {
        ExecEvent::Stdout(bytes) => ("stdout", Value::Bytes(bytes)),
        ExecEvent::Stderr(bytes) => ("stderr", Value::Bytes(bytes)),
        ExecEvent::Notice(notice) => ("notice", Value::text(notice_text(&notice))),
        ExecEvent::Exited(status) => ("exited", Value::Signed(returncode(&status))),
    };
    Value::Tuple(vec![Value::text(kind), value])
}

fn notice_text(notice: &Notice) -> String {
    match notice {
        Notice::OutputHeld => {
            "another process still holds the output open; what it writes is lost".to_owned()
        }
        Notice::Omitted { bytes } => format!("{bytes} bytes of the log are left out here"),
        Notice::EnvironmentTruncated => {
            "the command ran without some variables of the sandbox, whose environment is too large"
                .to_owned()
        }
        other => format!("{other:?}"),
    }
}

pub(crate) fn file_record(info: FileInfo) -> Value {
    Value::Record(vec![
        ("name", Value::Path(info.name)),
        ("kind", Value::text(kinds::file_kind(info.kind))),
        ("size", Value::Int(info.size)),
        ("mode", Value::Int(info.mode.into())),
        ("modified", Value::optional(info.modified, Value::time)),
    ])
}

pub(crate) fn transfer_record(report: TransferReport) -> Value {
    Value::Record(vec![
        ("bytes", Value::Int(report.bytes)),
        ("resumed_at", Value::Int(report.resumed_at)),
        (
            "discarded",
            Value::optional(report.discarded, |why| Value::text(kinds::discarded(why))),
        ),
    ])
}

pub(crate) fn tree_record(report: TreeReport) -> Value {
    let skipped = report.skipped.into_iter();
    let failed = report.failed.into_iter();
    Value::Record(vec![
        ("files", Value::Int(report.files)),
        ("directories", Value::Int(report.directories)),
        ("symlinks", Value::Int(report.symlinks)),
        ("bytes", Value::Int(report.bytes)),
        (
            "skipped",
            Value::List(
                skipped
                    .map(|entry| {
                        Value::Tuple(vec![Value::Path(entry.path), Value::text(entry.reason)])
                    })
                    .collect(),
            ),
        ),
        (
            "failed",
            Value::List(
                failed
                    .map(|entry| {
                        Value::Tuple(vec![Value::Path(entry.path), Value::text(entry.message)])
                    })
                    .collect(),
            ),
        ),
        ("failures", Value::Int(report.failures)),
    ])
}

pub(crate) fn job_record(job: JobRecord) -> Value {
    Value::Record(vec![
        ("id", Value::text(job.id)),
        ("program", Value::Path(job.program)),
        ("pid", Value::Int(job.pid.into())),
        ("started_at", Value::Float(job.started_ms as f64 / 1000.0)),
        ("log_bytes", Value::Int(job.log_bytes)),
        ("dropped_bytes", Value::Int(job.dropped_bytes)),
        (
            "exit_code",
            Value::optional(job.exit_code, |code| Value::Int(code.into())),
        ),
        ("exit_signal", Value::optional(job.exit_signal, Value::text)),
    ])
}

pub(crate) fn usage_record(usage: &Usage) -> Value {
    Value::Record(vec![
        ("at", Value::Float(usage.at_ms as f64 / 1000.0)),
        ("cpu_count", Value::Int(usage.cpu_count.into())),
        ("cpu_percent", Value::Float(usage.cpu_percent)),
        ("memory_total", Value::Int(usage.memory_total)),
        ("memory_used", Value::Int(usage.memory_used)),
        ("memory_cache", Value::Int(usage.memory_cache)),
        ("disk_total", Value::Int(usage.disk_total)),
        ("disk_used", Value::Int(usage.disk_used)),
    ])
}

pub(crate) fn pool_record(status: &PoolStatus) -> Value {
    Value::Record(vec![
        ("waiting", Value::Int(status.waiting as u64)),
        ("filling", Value::Int(status.filling as u64)),
        ("target", Value::Int(status.target as u64)),
        ("hits", Value::Int(status.hits)),
        ("misses", Value::Int(status.misses)),
        (
            "problem",
            Value::optional(status.problem.as_ref(), |problem| {
                Value::text(&problem.message)
            }),
        ),
        ("is_closed", Value::Bool(status.is_closed)),
    ])
}

pub(crate) fn decision_record(event: &EgressEvent) -> Value {
    Value::Record(vec![
        ("at", Value::time(event.time)),
        ("outcome", Value::text(event.outcome.as_str())),
        ("host", Value::text(&event.host)),
        ("port", Value::Int(event.port.into())),
        (
            "address",
            Value::optional(event.address, |address| Value::text(address.to_string())),
        ),
        ("rule", Value::optional(event.rule.as_ref(), Value::text)),
        (
            "reason",
            Value::optional(event.reason.as_ref(), Value::text),
        ),
        ("sent", Value::Int(event.sent)),
        ("received", Value::Int(event.received)),
        ("lost", Value::Int(event.lost)),
    ])
}
