//! Turns a program into a supervisor, and finds a program that can be one.

use std::env;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sandbox_core::{Error, Result};

use crate::linux::supervisor;

/// The zeroth argument of a supervisor. Unlike an environment variable, it is not inherited by the
/// processes that a program starts.
pub(crate) const SUPERVISOR_NAME: &str = "sandbox-local-supervisor";
/// The server program for programs that do not call [`init`].
const SERVER_PROGRAM: &str = "sandbox-local-server";

static INIT_CALLED: AtomicBool = AtomicBool::new(false);

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
    INIT_CALLED.store(true, Ordering::Relaxed);
}

/// Finds the program to start as a supervisor.
pub(crate) fn find_server(setting: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = setting {
        return if is_program(path) {
            Ok(path.to_owned())
        } else {
            Err(Error::Config {
                message: format!(
                    "the sandbox server {} does not exist or is not executable; set the path of sandbox-local-server",
                    path.display()
                ),
            })
        };
    }
    if INIT_CALLED.load(Ordering::Relaxed) {
        // This link is right even if the file was replaced or removed since the program started.
        return Ok("/proc/self/exe".into());
    }
    let next_to_program = env::current_exe()
        .ok()
        .into_iter()
        .flat_map(|program| candidates_near(&program));
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(SERVER_PROGRAM));
    next_to_program.chain(on_path).find(|path| is_program(path)).ok_or_else(|| Error::Config {
        message: format!(
            "there is no sandbox server: add `sandbox::local::init();` as the first line of a synchronous main \
             (before #[tokio::main] or any thread), or put {SERVER_PROGRAM} next to the program or on PATH"
        ),
    })
}

/// Returns the paths in the program's directory and, for cargo's tests and examples, the one above.
fn candidates_near(program: &Path) -> Vec<PathBuf> {
    let Some(dir) = program.parent() else {
        return Vec::new();
    };
    let parent = dir
        .file_name()
        .filter(|name| [&b"deps"[..], b"examples"].contains(&name.as_bytes()))
        .and(dir.parent());
    [Some(dir), parent]
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
            candidates_near(Path::new("/a/deps/test-1")),
            ["/a/deps/sandbox-local-server", "/a/sandbox-local-server"].map(PathBuf::from)
        );
        assert_eq!(
            candidates_near(Path::new("/a/b/program")),
            [PathBuf::from("/a/b/sandbox-local-server")]
        );
    }

    #[test]
    fn the_error_names_a_missing_server() {
        let error = find_server(Some(Path::new("/nonexistent/server"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/server"));
    }
}
