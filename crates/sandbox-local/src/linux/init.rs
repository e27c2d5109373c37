//! How this program becomes a supervisor, and which program can be one.

use std::env;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sandbox_core::{Error, Result};

use crate::linux::supervisor;

/// The name under which a supervisor is started: the zeroth argument, which nobody sets by
/// accident, as an environment variable might be, inherited by all that one starts.
pub(crate) const SUPERVISOR_NAME: &str = "sandbox-local-supervisor";
/// The program for those that do not call [`init`].
const SERVER_PROGRAM: &str = "sandbox-local-server";

static CALLED: AtomicBool = AtomicBool::new(false);

/// Lets this program act as its own sandbox server. Call it in the first line of `main`, before any
/// thread is started, and so before `#[tokio::main]`.
///
/// Only a process with a single thread can enter namespaces. So the backend starts this program again
/// for each sandbox, under the name `sandbox-local-supervisor`, and there this function does not
/// return. Otherwise it returns at once.
///
/// ```no_run
/// # #[allow(clippy::needless_doctest_main)]
/// fn main() -> std::io::Result<()> {
///     sandbox_local::init();
///     tokio::runtime::Runtime::new()?.block_on(async { /* … */ });
///     Ok(())
/// }
/// ```
pub fn init() {
    if env::args_os()
        .next()
        .is_some_and(|name| name == SUPERVISOR_NAME)
    {
        std::process::exit(i32::from(supervisor::run()));
    }
    CALLED.store(true, Ordering::Relaxed);
}

/// The program to start as a supervisor.
pub(crate) fn find_server(setting: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = setting {
        return if is_program(path) {
            Ok(path.to_owned())
        } else {
            Err(Error::Config {
                message: format!(
                    "the sandbox server {} does not exist or is not executable",
                    path.display()
                ),
            })
        };
    }
    if CALLED.load(Ordering::Relaxed) {
        // Also right when the file was replaced or removed since this program started.
        return Ok("/proc/self/exe".into());
    }
    let beside = env::current_exe()
        .ok()
        .into_iter()
        .flat_map(|program| neighbours(&program));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(SERVER_PROGRAM));
    beside.chain(on_path).find(|path| is_program(path)).ok_or_else(|| Error::Config {
        message: format!(
            "there is no sandbox server: add `sandbox::local::init();` as the first line of a synchronous main \
             (before #[tokio::main] or any thread), or put {SERVER_PROGRAM} beside the program or on PATH"
        ),
    })
}

/// In its own directory; and above it where cargo keeps tests and examples.
fn neighbours(program: &Path) -> Vec<PathBuf> {
    let Some(dir) = program.parent() else {
        return Vec::new();
    };
    let above = dir
        .file_name()
        .filter(|name| [&b"deps"[..], b"examples"].contains(&name.as_bytes()))
        .and(dir.parent());
    [Some(dir), above]
        .into_iter()
        .flatten()
        .map(|dir| dir.join(SERVER_PROGRAM))
        .collect()
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_looked_for_beside_the_program() {
        assert_eq!(
            neighbours(Path::new("/a/deps/test-1")),
            ["/a/deps/sandbox-local-server", "/a/sandbox-local-server"].map(PathBuf::from)
        );
        assert_eq!(
            neighbours(Path::new("/a/b/program")),
            [PathBuf::from("/a/b/sandbox-local-server")]
        );
    }

    #[test]
    fn a_setting_that_leads_nowhere_is_named() {
        let error = find_server(Some(Path::new("/nonexistent/server"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/server"));
    }
}
