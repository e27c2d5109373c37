//! `job_wait` and `job_signal`, and the answer of `command_run`.

use std::time::Duration;

use sandbox::{AttachOptions, ExecEvent, ExitStatus, JobId, Notice, Sandbox, Signal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::{Call, Reply};
use crate::failure::Failure;
use crate::output::{Shown, Window};

pub(super) const WAIT: &str = "Wait for the end of a job, and return its output from `offset` on: of a long one the first \
    8 kB and the last 16 kB. Pass the next_offset of the last answer as `offset` to get only what is new. Works for \
    ended jobs, too, as long as their sandbox exists.";
pub(super) const SIGNAL: &str =
    "Send a signal to a job and the processes that it has started, such as INT, TERM or KILL.";

/// The longest that a call waits, in seconds.
pub(crate) const MAX_WAIT: u64 = 45;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitArgs {
    /// Id of the job.
    job_id: String,
    /// Id of the sandbox. Default: the session's own.
    #[serde(default)]
    sandbox: Option<String>,
    /// First byte of the output to return. Default: 0, all of it.
    #[serde(default)]
    offset: u64,
    /// How long to wait for its end, in seconds: 0 to 45. Default: as long as a call may take.
    #[serde(default)]
    #[schemars(range(max = 45))]
    wait_seconds: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignalArgs {
    /// Id of the job.
    job_id: String,
    /// Name of the signal, such as TERM.
    signal: String,
    /// Id of the sandbox. Default: the session's own.
    #[serde(default)]
    sandbox: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct JobReply {
    sandbox: String,
    job_id: String,
    /// Whether it runs still. Then there is no exit code, and job_wait waits for it.
    still_running: bool,
    exit_code: Option<u32>,
    /// The signal that ended it, without SIG.
    signal: Option<String>,
    /// Standard output and standard error, in the order in which they were written.
    output: String,
    /// Whether bytes are left out of the output; the text says where.
    truncated: bool,
    /// How many.
    omitted_bytes: u64,
    /// The first of them: the offset to read on from.
    omitted_offset: Option<u64>,
    /// Those of them that the sandbox does not have any more: it keeps the first and the last 32 MiB.
    lost_bytes: u64,
    /// The offset of what will be written next.
    next_offset: u64,
    /// Whether the output has bytes that are not UTF-8. They are written as \xNN.
    invalid_utf8: bool,
    /// What else is to know about the output.
    notes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Signalled {
    sandbox: String,
    job_id: String,
    signal: String,
}

/// What was seen of a job.
pub(super) struct Followed {
    shown: Shown,
    end: Option<ExitStatus>,
    notes: Vec<String>,
}

pub(super) async fn wait(call: &Call, args: WaitArgs) -> Result<Reply, Failure> {
    let until = wait_limit(call, args.wait_seconds)?;
    let id = parse_id(&args.job_id)?;
    let (slot, sandbox) = call.use_sandbox(args.sandbox.as_deref()).await?;
    match follow(&sandbox, &id, args.offset, until, call.deadline).await {
        Ok(followed) => reply(&sandbox, &id, followed),
        Err(failure) => Err(call.explain(&slot, failure).await),
    }
}

pub(super) async fn signal(call: &Call, args: SignalArgs) -> Result<Reply, Failure> {
    let id = parse_id(&args.job_id)?;
    let signal: Signal = args.signal.parse()?;
    let (slot, sandbox) = call.use_sandbox(args.sandbox.as_deref()).await?;
    let sending = async {
        if let Some(end) = find_end(&sandbox, &id).await? {
            return Err(Failure::new(format!(
                "{id} has ended already, with {end}; no signal was sent"
            )));
        }
        sandbox.job(id.clone()).signal(signal.clone()).await?;
        Ok(())
    };
    if let Err(failure) = sending.await {
        return Err(call.explain(&slot, failure).await);
    }
    let signalled = Signalled {
        sandbox: sandbox.id().to_string(),
        job_id: id.to_string(),
        signal: signal.name().to_owned(),
    };
    let text = format!(
        "sent {} to {id}; job_wait shows whether it has ended",
        signalled.signal
    );
    Ok(Reply::new(&signalled, text)?.with_sandbox(sandbox.id()))
}

/// Returns how a job has ended, or `None` if it runs.
async fn find_end(sandbox: &Sandbox, id: &JobId) -> Result<Option<ExitStatus>, Failure> {
    let mut options = AttachOptions::snapshot();
    // Nothing of its output.
    options.offset = u64::MAX;
    let mut process = sandbox.session().attach_job(id, options).await?;
    while let Some(event) = process.next().await {
        if let ExecEvent::Exited(status) = event? {
            return Ok(Some(status));
        }
    }
    Ok(None)
}

/// Returns until when a call waits: as long as is asked for, and at most until its answer is due.
pub(super) fn wait_limit(call: &Call, seconds: Option<u64>) -> Result<Option<Instant>, Failure> {
    match seconds {
        None => Ok(Some(call.deadline)),
        Some(0) => Ok(None),
        Some(seconds) if seconds <= MAX_WAIT => {
            let until = Instant::now() + Duration::from_secs(seconds);
            Ok(Some(until.min(call.deadline)))
        }
        Some(_) => Err(Failure::new(format!(
            "wait_seconds is above {MAX_WAIT}; wait at most that long, and call job_wait again"
        ))),
    }
}

/// Reads the output of a job from this byte on, until its end or until then; without a limit, what there is now.
pub(super) async fn follow(
    sandbox: &Sandbox,
    id: &JobId,
    offset: u64,
    until: Option<Instant>,
    deadline: Instant,
) -> Result<Followed, Failure> {
    let late = || Failure::new("the sandbox did not answer in time");
    let mut options = match until {
        Some(_) => AttachOptions::follow(),
        None => AttachOptions::snapshot(),
    };
    options.offset = offset;
    let attaching = sandbox.session().attach_job(id, options);
    let mut process = timeout_at(deadline, attaching)
        .await
        .map_err(|_| late())??;
    let until = until.unwrap_or(deadline);
    let mut window = Window::new(offset);
    let mut notes = Vec::new();
    let end = loop {
        // A job that never stops to write must not hold the answer up.
        if Instant::now() >= until {
            break None;
        }
        match timeout_at(until, process.next()).await {
            Err(_) | Ok(None) => break None,
            Ok(Some(event)) => match event? {
                ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => window.push(&bytes),
                ExecEvent::Notice(Notice::Omitted { bytes }) => window.skip(bytes),
                ExecEvent::Notice(notice) => notes.push(notice.to_string()),
                ExecEvent::Exited(status) => break Some(status),
            },
        }
    };
    Ok(Followed {
        shown: window.finish(end.is_none()),
        end,
        notes,
    })
}

pub(super) fn reply(sandbox: &Sandbox, id: &JobId, followed: Followed) -> Result<Reply, Failure> {
    let Followed { shown, end, notes } = followed;
    let headline = match &end {
        Some(status) => status.to_string(),
        None => format!(
            "still running as {id}; job_wait with offset {} waits for what comes next",
            shown.next
        ),
    };
    let mut text = headline.clone();
    for note in &notes {
        text.push_str("\nnote: ");
        text.push_str(note);
    }
    if shown.has_invalid {
        text.push_str("\nnote: bytes that are not UTF-8 are written as \\xNN");
    }
    if !shown.text.is_empty() {
        text.push('\n');
        text.push_str(&shown.text);
    }
    let (exit_code, signal) = match &end {
        Some(ExitStatus::Code(code)) => (Some(*code), None),
        Some(ExitStatus::Signal(signal)) => (None, Some(signal.name().to_owned())),
        None => (None, None),
    };
    let data = JobReply {
        sandbox: sandbox.id().to_string(),
        job_id: id.to_string(),
        still_running: end.is_none(),
        exit_code,
        signal,
        output: shown.text,
        truncated: shown.omitted > 0,
        omitted_bytes: shown.omitted,
        omitted_offset: shown.omitted_at.filter(|_| shown.omitted > 0),
        lost_bytes: shown.lost,
        next_offset: shown.next,
        invalid_utf8: shown.has_invalid,
        notes,
    };
    Ok(Reply::new(&data, text)?
        .with_sandbox(sandbox.id())
        .with_detail(headline))
}

fn parse_id(id: &str) -> Result<JobId, Failure> {
    id.parse().map_err(|_| {
        Failure::new(format!(
            "{id:?} is not the id of a job; use the job_id of command_run"
        ))
    })
}
