//! Sandboxes: their commands, and when they end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::TryStreamExt;
use pyo3::prelude::*;
use sandbox::{Command, Error, LogOptions, Result, Sandbox};

use crate::calls::{Shared, nothing, object, operation, share};
use crate::core::arguments::{duration, optional_duration};
use crate::egress::{DecisionSlot, Decisions, RawEgress};
use crate::errors::checked;
use crate::files::RawFiles;
use crate::jobs::RawJob;
use crate::leftovers::LEFTOVERS;
use crate::operation::Operation;
use crate::ports::RawForward;
use crate::process::RawProcess;
use crate::records::{diagnosis_record, info_record, job_record, output_record, usage_record};
use crate::runtime;
use crate::transfers::RawTransfers;
use crate::value::{NewObject, Outcome, Value};
use crate::watching::begin_watch;

/// The most bytes of a log that are returned: 16 MiB, its end.
const LOG_CAP: usize = 16 << 20;

/// A program and its arguments, or a line for the shell.
#[derive(FromPyObject)]
pub(crate) enum Program {
    Argv(Vec<Vec<u8>>),
    Shell(Vec<u8>),
}

/// The options of a command, a dictionary with all of these keys.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct CommandOptions {
    program: Program,
    cwd: Option<Vec<u8>>,
    env: Vec<(String, String)>,
    timeout: Option<f64>,
    output_grace: Option<f64>,
    output_cap: Option<usize>,
    input: Option<Vec<u8>>,
    is_stdin_piped: bool,
    user: Option<String>,
    /// Columns and rows.
    pty: Option<(u16, u16)>,
    term: Option<String>,
}

impl CommandOptions {
    fn into_command(self, sandbox: &Sandbox) -> Result<Command> {
        let mut command = match &self.program {
            Program::Shell(line) => sandbox.shell(os_text(line)),
            Program::Argv(argv) => {
                let [program, args @ ..] = &argv[..] else {
                    return Err(Error::invalid("args", "[]", "name the program first"));
                };
                sandbox
                    .command(os_text(program))
                    .args(args.iter().map(|arg| os_text(arg)))
            }
        };
        if let Some(directory) = &self.cwd {
            command = command.current_dir(os_text(directory));
        }
        for (name, value) in self.env {
            command = command.env(name, value);
        }
        if let Some(user) = self.user {
            command = command.user(user);
        }
        if let Some(timeout) = optional_duration("timeout", self.timeout)? {
            command = command.timeout(timeout);
        }
        if let Some(grace) = optional_duration("output_grace", self.output_grace)? {
            command = command.output_grace(grace);
        }
        if let Some(cap) = self.output_cap {
            command = command.output_cap(cap);
        }
        if let Some(input) = self.input {
            command = command.stdin(input);
        } else if self.is_stdin_piped {
            command = command.stdin_piped();
        }
        if let Some((columns, rows)) = self.pty {
            command = match self.term {
                Some(term) => command.pty_with_term(term, columns, rows),
                None => command.pty(columns, rows),
            };
        }
        Ok(command)
    }
}

/// Returns bytes as an argument of a program. On systems other than Unix an argument is text.
fn os_text(bytes: &[u8]) -> std::borrow::Cow<'_, std::ffi::OsStr> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        std::ffi::OsStr::from_bytes(bytes).into()
    }
    #[cfg(not(unix))]
    {
        std::ffi::OsString::from(String::from_utf8_lossy(bytes).into_owned()).into()
    }
}

/// A sandbox.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawSandbox {
    sandbox: Shared<Sandbox>,
    decisions: DecisionSlot,
}

impl RawSandbox {
    pub(crate) fn new(sandbox: Sandbox, decisions: Option<Arc<Decisions>>) -> Self {
        Self {
            sandbox: share(sandbox),
            decisions: DecisionSlot::new(decisions),
        }
    }
}

/// Returns a sandbox that was just created, as a result. If it reaches no caller, because that was interrupted at the
/// same moment, it is deleted.
pub(crate) fn new_sandbox(sandbox: Sandbox, decisions: Option<Arc<Decisions>>) -> Outcome {
    Ok(Value::Object(Box::new(NewSandbox {
        sandbox: Some(sandbox),
        decisions,
    })))
}

struct NewSandbox {
    sandbox: Option<Sandbox>,
    decisions: Option<Arc<Decisions>>,
}

impl NewObject for NewSandbox {
    fn into_object(mut self: Box<Self>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.sandbox.take() {
            Some(sandbox) => {
                let raw = RawSandbox::new(sandbox, self.decisions.take());
                Ok(Py::new(py, raw)?.into_any())
            }
            None => Ok(py.None()),
        }
    }
}

impl Drop for NewSandbox {
    fn drop(&mut self) {
        let Some(sandbox) = self.sandbox.take() else {
            return;
        };
        match runtime::own_handle() {
            Some(runtime) => {
                let left = LEFTOVERS.begin();
                drop(runtime.spawn(async move {
                    let _left = left;
                if let Err(error) = sandbox.delete().await {
                    tracing::warn!(sandbox.id = %sandbox.id(), %error, "a sandbox whose caller had left was not deleted");
                }
                }));
            }
            None => std::mem::forget(sandbox),
        }
    }
}

#[pymethods]
impl RawSandbox {
    #[getter]
    fn id(&self, py: Python<'_>) -> PyResult<String> {
        Ok(checked(py, self.sandbox.get())?.id().to_string())
    }

    #[getter]
    fn uid(&self, py: Python<'_>) -> PyResult<String> {
        Ok(checked(py, self.sandbox.get())?.uid().to_string())
    }

    /// The state when the handle was opened, without a request.
    fn known_info(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        info_record(checked(py, self.sandbox.get())?.info()).into_python(py)
    }

    fn files(&self) -> RawFiles {
        RawFiles::new(&self.sandbox)
    }

    fn transfers(&self) -> RawTransfers {
        RawTransfers::new(&self.sandbox)
    }

    fn egress(&self) -> RawEgress {
        RawEgress::new(&self.sandbox, &self.decisions)
    }

    fn watch(&self, path: Vec<u8>, recursive: bool) -> Operation {
        operation(&self.sandbox, move |sandbox| {
            begin_watch(sandbox, path, recursive)
        })
    }

    fn info(&self) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            Ok(info_record(&sandbox.refresh().await?))
        })
    }

    fn run(&self, options: CommandOptions) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            let command = options.into_command(&sandbox)?;
            Ok(output_record(command.output().await?))
        })
    }

    fn popen(&self, options: CommandOptions) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            let command = options.into_command(&sandbox)?;
            object(RawProcess::new(command.spawn().await?))
        })
    }

    fn start_job(&self, options: CommandOptions) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            let command = options.into_command(&sandbox)?;
            object(RawJob::new(command.spawn_detached().await?))
        })
    }

    fn jobs(&self) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            let jobs = sandbox.jobs().await?.into_iter();
            Ok(Value::List(jobs.map(job_record).collect()))
        })
    }

    fn job(&self, id: String) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            object(RawJob::new(sandbox.job(id.parse()?)))
        })
    }

    fn forward(&self, port: u16, host: String, local_port: u16) -> Operation {
        operation(&self.sandbox, move |sandbox| async move {
            let host = host
                .parse()
                .map_err(|_| Error::invalid("host", &host, "use an IP address of this machine"))?;
            let local = SocketAddr::new(host, local_port);
            object(RawForward::new(sandbox.forward_from(local, port).await?))
        })
    }

    fn extend(&self, ttl: f64) -> Operation {
        operation(&self.sandbox, move |sandbox| async move {
            Ok(info_record(&sandbox.extend(duration("ttl", ttl)?).await?))
        })
    }

    fn set_ttl(&self, ttl: f64) -> Operation {
        operation(&self.sandbox, move |sandbox| async move {
            Ok(info_record(&sandbox.set_ttl(duration("ttl", ttl)?).await?))
        })
    }

    fn set_on_expiry(&self, on_expiry: String) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            nothing(sandbox.set_on_expiry(on_expiry.parse()?).await)
        })
    }

    fn annotate(&self, annotations: BTreeMap<String, String>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            Ok(info_record(&sandbox.annotate(annotations).await?))
        })
    }

    fn pause(&self) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            Ok(Value::Bool(sandbox.pause().await?))
        })
    }

    fn resume(&self, ttl: Option<f64>) -> Operation {
        operation(&self.sandbox, move |sandbox| async move {
            let ttl = optional_duration("ttl", ttl)?;
            Ok(Value::Bool(sandbox.resume(ttl).await?))
        })
    }

    fn is_paused(&self) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            Ok(Value::Bool(sandbox.pause_state().await?.is_paused))
        })
    }

    fn usage(&self) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            Ok(usage_record(&sandbox.usage().await?))
        })
    }

    fn diagnose(&self) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            Ok(diagnosis_record(&sandbox.diagnose().await?))
        })
    }

    /// The log of the SSH server, at most its last 16 MiB.
    fn logs(&self, tail_lines: Option<usize>) -> Operation {
        operation(&self.sandbox, move |sandbox| async move {
            let mut options = LogOptions::default();
            options.tail_lines = tail_lines;
            let mut stream = sandbox.logs(options).await?;
            let mut log = Vec::new();
            while let Some(piece) = stream.try_next().await? {
                log.extend_from_slice(&piece);
                if log.len() > 2 * LOG_CAP {
                    log.drain(..log.len() - LOG_CAP);
                }
            }
            log.drain(..log.len().saturating_sub(LOG_CAP));
            Ok(Value::text(String::from_utf8_lossy(&log)))
        })
    }

    fn delete(&self) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            nothing(sandbox.delete().await)
        })
    }

    /// Deletes the sandbox in the background, for a caller that was cancelled.
    fn delete_soon(&self, py: Python<'_>) -> PyResult<()> {
        let sandbox = checked(py, self.sandbox.get())?.clone();
        drop(NewSandbox {
            sandbox: Some(sandbox),
            decisions: None,
        });
        Ok(())
    }
}
