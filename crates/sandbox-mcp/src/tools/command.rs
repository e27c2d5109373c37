//! `command_run`.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbox::{Job, JobId, Sandbox, Signal};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::jobs::{self, wait_limit};
use super::{Call, Reply};
use crate::failure::Failure;

pub(super) const RUN: &str = "Run a shell command in a sandbox, which is isolated from the user's machine. Returns the exit \
    code, and standard output and standard error as they were written. A command that runs longer than `wait_seconds` \
    goes on as a job: the answer then has still_running, and job_wait waits for it. Of a long output the first 8 kB and \
    the last 16 kB are returned; redirect it to a file to look at it in parts. There is no terminal and no standard \
    input: use options such as --yes, and `< file`. Each command starts in the home directory, or in `cwd`.";

/// How long a signal to a job whose id was not returned may take.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunArgs {
    /// Command line for the shell (sh).
    command: String,
    /// Id of the sandbox. Default: the session's own, which is created at the first use.
    #[serde(default)]
    sandbox: Option<String>,
    /// Working directory: absolute, or relative to the home directory.
    #[serde(default)]
    cwd: Option<String>,
    /// Environment variables to set.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// How long to wait for its end, in seconds: 0 to 45. Default: as long as a call may take.
    #[serde(default)]
    #[schemars(range(max = 45))]
    wait_seconds: Option<u64>,
}

pub(super) async fn run(call: &Call, args: RunArgs) -> Result<Reply, Failure> {
    let until = wait_limit(call, args.wait_seconds)?;
    if args.command.trim().is_empty() {
        return Err(Failure::new("the command is empty; write a command line"));
    }
    let (slot, sandbox) = call.use_sandbox(args.sandbox.as_deref()).await?;
    let mut command = sandbox.shell(&args.command);
    if let Some(directory) = &args.cwd {
        command = command.current_dir(directory);
    }
    for (name, value) in args.env {
        command = command.env(name, value);
    }
    let tasks = call.session.app().tasks.clone();
    // In a task, because a start that is dropped half way may have started it.
    let starting = tokio::spawn(async move { command.spawn_detached().await });
    let mut started = Started {
        state: State::Starting(starting),
        sandbox: sandbox.clone(),
        tasks,
    };
    let job = match started.finish_start().await {
        Ok(job) => job,
        Err(failure) => return Err(call.explain(&slot, failure).await),
    };
    let followed = jobs::follow(&sandbox, job.id(), 0, until, call.deadline).await;
    // From here on the model learns its id.
    started.state = State::Known;
    match followed {
        Ok(followed) => jobs::reply(&sandbox, job.id(), followed),
        Err(failure) => {
            let advice = format!(
                "it was started as {}: call job_wait to see what became of it",
                job.id()
            );
            Err(call.explain(&slot, failure.with_advice(&advice)).await)
        }
    }
}

/// A command whose id the model does not know yet. If the call is cancelled, no caller could end the command, so it is
/// killed.
struct Started {
    state: State,
    sandbox: Sandbox,
    tasks: TaskTracker,
}

enum State {
    Starting(JoinHandle<sandbox::Result<Job>>),
    Running(JobId),
    Known,
}

impl Started {
    async fn finish_start(&mut self) -> Result<Job, Failure> {
        let State::Starting(starting) = &mut self.state else {
            return Err(Failure::new("the command was started already"));
        };
        let started = starting
            .await
            .map_err(|error| Failure::new(format!("the command could not be started: {error}")));
        // The task has ended, and must not be awaited again.
        self.state = State::Known;
        let job = started??;
        self.state = State::Running(job.id().clone());
        Ok(job)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let sandbox = self.sandbox.clone();
        let killing = match std::mem::replace(&mut self.state, State::Known) {
            State::Known => return,
            State::Running(id) => tokio::spawn(async move { Ok(sandbox.job(id)) }),
            State::Starting(starting) => starting,
        };
        self.tasks.spawn(async move {
            let killed = async {
                let Ok(Ok(job)) = killing.await else {
                    return;
                };
                if let Err(error) = job.signal(Signal::Kill).await {
                    tracing::debug!(job = %job.id(), %error, "job of a cancelled call not killed");
                }
            };
            if tokio::time::timeout(KILL_TIMEOUT, killed).await.is_err() {
                tracing::warn!(
                    "job of a cancelled call not killed in time; it ends with its sandbox"
                );
            }
        });
    }
}
