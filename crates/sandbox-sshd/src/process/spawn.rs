//! Starting a process in a process group of its own.

use std::borrow::Cow;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use rustix::process::Gid;
use rustix::thread::CapabilitySet;
use tokio::process::Child;

use super::program::{Program, StartError, describe_start_error};
use super::table::{IsPaused, Leader, ProcessTable};
use super::user::Identity;
use crate::config::SpawnSetup;
use crate::lock::lock;

/// Attempts to start a program that is open for writing, and the delay between them.
const BUSY_ATTEMPTS: u32 = 20;
const BUSY_BACKOFF: Duration = Duration::from_millis(10);

/// Starts the processes of the sandbox.
pub(crate) struct Spawner {
    processes: Arc<ProcessTable>,
    /// The thread that starts processes if they need a confined one.
    thread: Option<SpawnThread>,
}

impl Spawner {
    pub(crate) fn new(processes: Arc<ProcessTable>, setup: Option<SpawnSetup>) -> Self {
        Self {
            processes,
            thread: setup.map(SpawnThread::new),
        }
    }

    /// Starts `program` by calling `spawn`.
    ///
    /// A program that was uploaded a moment ago may still be open for writing in another child,
    /// between fork and exec. That passes, so `ETXTBSY` is retried.
    pub(crate) async fn start<T: Send + 'static>(
        &self,
        program: &Program,
        spawn: impl FnMut(&Program) -> io::Result<(Child, T)> + Send + 'static,
    ) -> Result<(Child, Leader, T), StartError> {
        let mut busy = 0;
        let mut program = Cow::Borrowed(program);
        let spawn = Arc::new(Mutex::new(spawn));
        loop {
            let spawn = Arc::clone(&spawn);
            let owned = program.clone().into_owned();
            let spawn = move || {
                let spawn = || (*lock(&spawn))(&owned);
                match &owned.identity {
                    Some(identity) => run_in_groups(identity, spawn),
                    None => spawn(),
                }
            };
            let spawned = self.processes.spawn(|| match &self.thread {
                Some(thread) => thread.run(spawn),
                None => spawn(),
            });
            match spawned {
                Ok(spawned) => return Ok(spawned),
                Err(error) if is_paused(&error) => return Err(StartError::paused()),
                Err(error) if errno(&error) == Errno::ETXTBSY && busy < BUSY_ATTEMPTS => {
                    busy += 1;
                    tokio::time::sleep(BUSY_BACKOFF).await;
                }
                Err(error) => match program.to_script() {
                    Some(script) if errno(&error) == Errno::ENOEXEC => {
                        program = Cow::Owned(script);
                    }
                    _ => return Err(describe_start_error(&program, &error)),
                },
            }
        }
    }
}

/// Builds the command of a program, which inherits nothing of the server's environment. The caller
/// puts it into a process group.
pub(crate) fn build_command(program: &Program) -> Command {
    let mut command = Command::new(&program.path);
    let mut argv = program.argv.iter();
    if let Some(name) = argv.next() {
        command.arg0(name);
    }
    command
        .args(argv)
        .env_clear()
        .envs(program.env.iter().map(|(k, v)| (k, v)))
        .current_dir(&program.directory);
    if let Some(identity) = &program.identity {
        command.uid(identity.uid);
    }
    command
}

/// Runs `spawn` on a thread with the groups of a user, which its children inherit.
///
/// The standard library drops the groups of a child whose user it changes, except where the process may not
/// change groups, so the thread gives that capability up. It stays root's, so that no process of the user can
/// signal this one by it.
fn run_in_groups<T: Send>(
    identity: &Identity,
    spawn: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let runtime = tokio::runtime::Handle::current();
    // A change of groups resets whether this process can be dumped.
    let is_dumpable = prctl::get_dumpable()?;
    let spawned = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("spawner of a user".to_owned());
        let thread = thread.spawn_scoped(scope, || {
            let _runtime = runtime.enter();
            set_thread_groups(identity)?;
            spawn()
        })?;
        let joined = thread.join();
        joined.map_err(|_| io::Error::other("the thread that starts the program has panicked"))?
    });
    prctl::set_dumpable(is_dumpable)?;
    spawned
}

/// Sets the groups of this thread, and makes that final.
fn set_thread_groups(identity: &Identity) -> io::Result<()> {
    let gid = Gid::from_raw(identity.gid);
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective.remove(CapabilitySet::SETGID);
    sets.permitted.remove(CapabilitySet::SETGID);
    sets.inheritable.remove(CapabilitySet::SETGID);
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Starts a program with these standard streams, as the leader of a new process group.
///
/// No closure runs in the child, so the standard library uses `posix_spawn`, whose time does not
/// depend on the memory of the server.
pub(crate) fn spawn_in_group(
    program: &Program,
    [stdin, stdout, stderr]: [Stdio; 3],
) -> io::Result<Child> {
    let mut command = build_command(program);
    command
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    tokio::process::Command::from(command).spawn()
}

fn is_paused(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<IsPaused>())
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// A closure for the thread, which is called with the result of the setup.
type Work = Box<dyn FnOnce(&io::Result<()>) + Send>;

/// A thread that starts all commands, because it is more confined than the rest of the server. It
/// ends when this is dropped.
struct SpawnThread(Sender<Work>);

impl SpawnThread {
    /// Starts the thread, which runs `setup` before anything else.
    fn new(setup: SpawnSetup) -> Self {
        let (sender, receiver) = channel::<Work>();
        let thread = std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                let ready = setup();
                receiver.into_iter().for_each(|work| work(&ready));
            });
        if let Err(error) = thread {
            tracing::error!(%error, "cannot create the spawner thread; no command will start");
        }
        Self(sender)
    }

    /// Runs `work` on the thread, inside the caller's tokio runtime, and blocks until it returns.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let thread_ended = || io::Error::other("the thread that starts commands has ended");
        let runtime = tokio::runtime::Handle::current();
        let (sender, receiver) = channel();
        let work = move |ready: &io::Result<()>| {
            let _runtime = runtime.enter();
            let result = match ready {
                Ok(()) => work(),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // The receiver waits below, so sending cannot fail.
            drop(sender.send(result));
        };
        self.0.send(Box::new(work)).map_err(|_| thread_ended())?;
        receiver.recv().map_err(|_| thread_ended())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn all_work_runs_on_one_thread_after_its_setup() {
        thread_local!(static SET_UP: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
        let thread = SpawnThread::new(Arc::new(|| {
            SET_UP.set(true);
            Ok(())
        }));
        let observe = || {
            thread
                .run(|| Ok((SET_UP.get(), std::thread::current().id())))
                .unwrap()
        };
        assert_eq!(observe(), observe());
        assert!(observe().0 && !SET_UP.get());
    }

    #[tokio::test]
    async fn no_work_runs_if_the_setup_fails() {
        let thread = SpawnThread::new(Arc::new(|| Err(io::Error::other("no confinement"))));
        let error = thread.run(|| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "no confinement");
    }
}
