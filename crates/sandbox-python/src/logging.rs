//! Feeds the log of the SDK to `logging`, below the logger `sandbox_sdk`.
//!
//! Whether a record is wanted is decided from an atomic number, before anything is formatted. The level of the logger is
//! read when a call begins. Records wait in a queue of limited length for the delivery thread.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use sandbox::Escaped;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::delivery::deliver;

/// The level of `logging` from which on records are wanted. Above `CRITICAL`: none.
static LEVEL: AtomicUsize = AtomicUsize::new(WARNING);
/// Records that wait.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// Records that were discarded because too many waited.
static DISCARDED: AtomicUsize = AtomicUsize::new(0);

const ERROR: usize = 40;
const WARNING: usize = 30;
const INFO: usize = 20;
const DEBUG: usize = 10;
/// `logging` has no level below this one; trace has the number that other libraries use for it.
const TRACE: usize = 5;

const MAX_WAITING: usize = 1024;
/// How often the level of the logger is read.
const LEVEL_INTERVAL: Duration = Duration::from_millis(100);
/// The crates of the SDK. Those that it uses report what matters to it.
const PREFIX: &str = "sandbox";

static LOGGER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Sends the log of this process to `logging`. A process has one log: later calls change nothing.
pub(crate) fn start() {
    if tracing::subscriber::set_global_default(Log).is_err() {
        tracing::debug!("this process has a log already");
    }
}

/// Reads the level of the logger, unless that was done just now.
pub(crate) fn update_level(py: Python<'_>) {
    static START: OnceLock<Instant> = OnceLock::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let since_start = START.get_or_init(Instant::now).elapsed().as_millis();
    let now = usize::try_from(since_start).unwrap_or(usize::MAX);
    let next = NEXT.load(Ordering::Relaxed);
    let following = now.saturating_add(LEVEL_INTERVAL.as_millis() as usize);
    if now < next
        || NEXT
            .compare_exchange(next, following, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
    {
        return;
    }
    // A logger that does not tell its level gets what it got before.
    let Ok(level) = logger(py)
        .and_then(|logger| logger.call_method0(py, "getEffectiveLevel"))
        .and_then(|level| level.extract::<usize>(py))
    else {
        return;
    };
    if LEVEL.swap(level, Ordering::Relaxed) != level {
        tracing::callsite::rebuild_interest_cache();
    }
}

fn logger(py: Python<'_>) -> PyResult<&'static Py<PyAny>> {
    LOGGER.get_or_try_init(py, || {
        let logger = py
            .import("logging")?
            .call_method1("getLogger", ("sandbox_sdk",))?;
        Ok(logger.unbind())
    })
}

fn level_number(level: &Level) -> usize {
    match *level {
        Level::ERROR => ERROR,
        Level::WARN => WARNING,
        Level::INFO => INFO,
        Level::DEBUG => DEBUG,
        Level::TRACE => TRACE,
    }
}

struct Log;

impl Subscriber for Log {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::sometimes()
        } else {
            // Asked again after a change of the level.
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with(PREFIX)
            && level_number(metadata.level()) >= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let level = LEVEL.load(Ordering::Relaxed);
        let lowest = [
            (TRACE, LevelFilter::TRACE),
            (DEBUG, LevelFilter::DEBUG),
            (INFO, LevelFilter::INFO),
            (WARNING, LevelFilter::WARN),
            (ERROR, LevelFilter::ERROR),
        ]
        .into_iter()
        .find(|(number, _)| *number >= level);
        Some(lowest.map_or(LevelFilter::OFF, |(_, filter)| filter))
    }

    fn event(&self, event: &Event<'_>) {
        if WAITING.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            WAITING.fetch_sub(1, Ordering::Relaxed);
            DISCARDED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let level = level_number(event.metadata().level());
        let name = logger_name(event.metadata().target());
        deliver(Box::new(move |py| {
            WAITING.fetch_sub(1, Ordering::Relaxed);
            let discarded = DISCARDED.swap(0, Ordering::Relaxed);
            if discarded > 0 {
                let message = format!("{discarded} records of the log were discarded");
                emit(py, "sandbox_sdk", WARNING, &message, Vec::new());
            }
            emit(py, &name, level, &text.line(), text.fields);
        }));
    }

    // Spans are not recorded: `logging` has none.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Returns the logger of a module: `sandbox_sdk.ssh.connection` of `sandbox_ssh::connection`.
fn logger_name(target: &str) -> String {
    let path = target.strip_prefix(PREFIX).unwrap_or(target);
    let path = path.trim_start_matches(['_', ':']).replace("::", ".");
    if path.is_empty() {
        "sandbox_sdk".to_owned()
    } else {
        format!("sandbox_sdk.{path}")
    }
}

/// Passes a record on. An error of a handler is that of `logging`, which reports it in its own way.
fn emit(
    py: Python<'_>,
    name: &str,
    level: usize,
    message: &str,
    fields: Vec<(&'static str, String)>,
) {
    let passed = (|| {
        let logger = py.import("logging")?.call_method1("getLogger", (name,))?;
        let extra = PyDict::new(py);
        let named = PyDict::new(py);
        for (name, value) in fields {
            named.set_item(name, value)?;
        }
        extra.set_item("fields", named)?;
        let options = PyDict::new(py);
        options.set_item("extra", extra)?;
        logger.call_method("log", (level, "%s", message), Some(&options))?;
        Ok::<_, PyErr>(())
    })();
    if let Err(error) = passed {
        error.write_unraisable(py, None);
    }
}

/// The text of a record. What a field has may come from a sandbox, so it is escaped.
#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Text {
    fn line(&self) -> String {
        let mut line = self.message.clone();
        for (name, value) in &self.fields {
            line.push_str(&format!(" {name}={value}"));
        }
        line
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let text = Escaped::new(&text).to_string();
        match field.name() {
            "message" => self.message = text,
            name => self.fields.push((name, text)),
        }
    }
}
