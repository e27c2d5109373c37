//! Starting a process in a group of its own.

use std::borrow::Cow;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use tokio::process::Child;

use crate::launch::{CannotLaunch, Launch, explain};
use crate::processes::{Leader, Processes};

/// Tries at a program that is open for writing.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Starts `launch` by `start`. A program that was uploaded just now may still be open for
/// writing in another child that has not yet executed: that passes, so it is tried again.
pub(crate) async fn start<T: Send + 'static>(
    processes: &Arc<Processes>,
    launch: &Launch,
    start: impl FnMut(&Launch) -> io::Result<(Child, T)> + Send + 'static,
) -> Result<(Child, Leader, T), CannotLaunch> {
    let mut busy = 0;
    let mut launch = Cow::Borrowed(launch);
    let start = Arc::new(Mutex::new(start));
    loop {
        let (start, this) = (Arc::clone(&start), launch.clone().into_owned());
        let spawned = processes.spawn(move || {
            let mut start = start.lock().unwrap_or_else(PoisonError::into_inner);
            (*start)(&this)
        });
        match spawned {
            Ok(spawned) => return Ok(spawned),
            Err(error) if errno(&error) == Errno::ETXTBSY && busy < BUSY_TRIES => {
                busy += 1;
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(error) => match launch.as_script() {
                Some(script) if errno(&error) == Errno::ENOEXEC => launch = Cow::Owned(script),
                _ => return Err(explain(&launch, &error)),
            },
        }
    }
}

/// The command with nothing but what `launch` says; not yet in a group of its own.
pub(crate) fn command(launch: &Launch) -> Command {
    let mut command = Command::new(&launch.program);
    let mut argv = launch.argv.iter();
    if let Some(name) = argv.next() {
        command.arg0(name);
    }
    command
        .args(argv)
        .env_clear()
        .envs(launch.env.iter().map(|(k, v)| (k, v)))
        .current_dir(&launch.directory);
    command
}

/// With these standard streams, as the leader of a new process group. Without a closure to
/// run in the child, the standard library uses `posix_spawn`, which is as quick for a big
/// process as for a small one.
pub(crate) fn grouped(launch: &Launch, [stdin, stdout, stderr]: [Stdio; 3]) -> io::Result<Child> {
    let mut command = command(launch);
    command
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    tokio::process::Command::from(command).spawn()
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}
