//! The one runtime of the process, and what a fork means for it.
//!
//! A forked child has none of its parent's threads, and may have locks that are never released. So a child of a process
//! that has used this package can use nothing of it: every call raises an error, and nothing is dropped.

use std::sync::OnceLock;
use std::thread::ThreadId;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::core::fault::Fault;

/// A thread for each processor, within these bounds: the work is waiting, and encryption.
const WORKERS: std::ops::RangeInclusive<usize> = 2..=8;

static RUNTIME: OnceLock<(Runtime, u32)> = OnceLock::new();
/// The thread that finalises the interpreter, once it has begun to.
static EXITING_THREAD: OnceLock<ThreadId> = OnceLock::new();

/// Returns the runtime, which is started by the first call.
pub(crate) fn handle() -> Result<&'static Handle, Fault> {
    if RUNTIME.get().is_none() {
        let runtime = start().map_err(|error| {
            Fault::new(
                "SandboxError",
                format!("cannot start threads: {error}; raise the limit of processes"),
            )
        })?;
        // Another thread may have been faster: then this runtime, which has no tasks, ends here.
        if let Err((unused, _)) = RUNTIME.set((runtime, std::process::id())) {
            unused.shutdown_background();
        }
    }
    match RUNTIME.get() {
        Some((runtime, owner)) if *owner == std::process::id() => Ok(runtime.handle()),
        _ => Err(Fault::new(
            "ForkError",
            "this process was forked from one that uses sandbox_sdk, and has none of its connections; start it anew \
             instead: multiprocessing.set_start_method(\"spawn\")",
        )),
    }
}

/// Returns the runtime unless this is a forked child, or nothing has used it.
pub(crate) fn own_handle() -> Option<&'static Handle> {
    let (runtime, owner) = RUNTIME.get()?;
    (*owner == std::process::id()).then(|| runtime.handle())
}

/// Whether this process was forked from one that uses the runtime.
pub(crate) fn is_forked() -> bool {
    RUNTIME.get().is_some() && own_handle().is_none()
}

/// Notes that the interpreter exits: threads that wait without it must not enter it again.
pub(crate) fn begin_exit() {
    EXITING_THREAD.get_or_init(|| std::thread::current().id());
}

pub(crate) fn is_exiting() -> bool {
    EXITING_THREAD.get().is_some()
}

/// Whether the interpreter exits, and another thread than this one finalises it. That one may still make calls, in
/// functions that run at the exit.
pub(crate) fn must_stay_out() -> bool {
    let exiting = EXITING_THREAD.get();
    exiting.is_some_and(|thread| *thread != std::thread::current().id())
}

fn start() -> std::io::Result<Runtime> {
    let processors = std::thread::available_parallelism().map_or(*WORKERS.start(), Into::into);
    Builder::new_multi_thread()
        .worker_threads(processors.clamp(*WORKERS.start(), *WORKERS.end()))
        .thread_name("sandbox-sdk")
        .enable_all()
        .build()
}

/// A value whose drop may need the runtime, such as a handle that closes connections. It is dropped within the runtime,
/// and in a forked child not at all.
pub(crate) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Returns the value, which is there until the drop.
    pub(crate) fn get(&self) -> Result<&T, Fault> {
        self.0.as_ref().ok_or_else(|| Fault::closed("this"))
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let Some(value) = self.0.take() else { return };
        match own_handle() {
            Some(runtime) => {
                let _context = runtime.enter();
                drop(value);
            }
            None => std::mem::forget(value),
        }
    }
}
