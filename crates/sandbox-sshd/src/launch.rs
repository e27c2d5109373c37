//! From a request to a program, its arguments, environment and directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use sandbox_core::command_line::CommandLine;

use crate::ServerConfig;

/// Where programs are looked for when the environment does not say.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The file to run; absolute unless the directory is not.
    pub(crate) program: PathBuf,
    /// How the program is called, then its arguments.
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) directory: PathBuf,
    /// For a script that does not say what it is for.
    pub(crate) interpreter: Option<PathBuf>,
}

impl Launch {
    /// The program as a script of the shell, which is what `execvp` makes of an executable
    /// text without `#!`.
    pub(crate) fn as_script(&self) -> Option<Self> {
        let interpreter = self.interpreter.clone()?;
        let argv = [interpreter.clone().into(), self.program.clone().into()];
        let argv = argv
            .into_iter()
            .chain(self.argv.iter().skip(1).cloned())
            .collect();
        Some(Self {
            program: interpreter,
            argv,
            interpreter: None,
            ..self.clone()
        })
    }
}

/// Why nothing can be started, with the exit code that shells give for it: 127 for a program
/// that is not there, 126 for one that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CannotLaunch {
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl CannotLaunch {
    fn not_found(message: String) -> Self {
        Self { code: 127, message }
    }

    pub(crate) fn cannot_run(message: String) -> Self {
        Self { code: 126, message }
    }
}

/// The environment of a command: ours, then what was set for the sandbox, then what the
/// client asked for.
pub(crate) fn environment(
    config: &ServerConfig,
    asked: &[(String, String)],
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = Vec::with_capacity(config.env.len() + asked.len() + 4);
    let user = config.user.as_deref().unwrap_or("sandbox");
    env.push(("PATH".into(), DEFAULT_PATH.into()));
    env.push(("USER".into(), user.into()));
    env.push(("LOGNAME".into(), user.into()));
    let base = config.env.iter().cloned();
    let home = std::iter::once(("HOME".into(), config.home.clone().into()));
    let asked = asked
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let stored = crate::environment::stored(&config.home);
    for (name, value) in base.chain(home).chain(stored).chain(asked) {
        set(&mut env, name, value);
    }
    env
}

pub(crate) fn set(env: &mut Vec<(OsString, OsString)>, name: OsString, value: OsString) {
    match env.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value,
        None => env.push((name, value)),
    }
}

/// An `exec` request: our own form as it is, everything else through a shell.
pub(crate) fn command(
    config: &ServerConfig,
    line: &[u8],
    env: Vec<(OsString, OsString)>,
) -> Result<Launch, CannotLaunch> {
    let Some(line_parts) = CommandLine::parse(line) else {
        if line.contains(&0) {
            return Err(CannotLaunch::cannot_run(
                "the command contains a NUL byte, which no program can receive".into(),
            ));
        }
        let shell = shell(config, &env)?;
        let argv = vec![
            shell.clone().into(),
            "-c".into(),
            OsString::from_vec(line.to_vec()),
        ];
        return Ok(Launch {
            program: shell,
            argv,
            env,
            directory: config.home.clone(),
            interpreter: None,
        });
    };
    if line.contains(&0) {
        return Err(CannotLaunch::cannot_run(
            "an argument contains a NUL byte, which no program can receive".into(),
        ));
    }
    let directory = match line_parts.directory {
        Some(directory) => config.home.join(OsString::from_vec(directory)),
        None => config.home.clone(),
    };
    check_directory(&directory)?;
    let argv: Vec<OsString> = line_parts
        .argv
        .into_iter()
        .map(OsString::from_vec)
        .collect();
    let name = argv.first().map_or(OsStr::new(""), OsString::as_os_str);
    let program = find(name, &env, &directory)?;
    let interpreter = shell(config, &env).ok();
    Ok(Launch {
        program,
        argv,
        env,
        directory,
        interpreter,
    })
}

/// A `shell` request: a login shell, called by its name with a dash before it.
pub(crate) fn login(
    config: &ServerConfig,
    env: Vec<(OsString, OsString)>,
) -> Result<Launch, CannotLaunch> {
    let shell = shell(config, &env)?;
    let mut name = OsString::from("-");
    name.push(shell.file_name().unwrap_or(shell.as_os_str()));
    check_directory(&config.home)?;
    Ok(Launch {
        program: shell,
        argv: vec![name],
        env,
        directory: config.home.clone(),
        interpreter: None,
    })
}

/// The configured shell, or `SHELL`, or `/bin/sh`.
pub(crate) fn shell(
    config: &ServerConfig,
    env: &[(OsString, OsString)],
) -> Result<PathBuf, CannotLaunch> {
    let named = env
        .iter()
        .find(|(name, _)| name == "SHELL")
        .map(|(_, value)| PathBuf::from(value));
    let candidates = match &config.shell {
        Some(shell) => vec![shell.clone()],
        None => named
            .into_iter()
            .chain([PathBuf::from("/bin/sh")])
            .collect(),
    };
    candidates.iter().find(|path| path.is_absolute() && is_program(path).is_ok()).cloned().ok_or_else(|| {
        CannotLaunch::not_found(format!(
            "there is no shell in this image ({}): run a program with its arguments instead of a command string",
            candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
        ))
    })
}

/// What an error of starting means to a user.
pub(crate) fn explain(launch: &Launch, error: &io::Error) -> CannotLaunch {
    let program = launch.program.display();
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::ENOENT => CannotLaunch::cannot_run(format!(
            "{program}: its interpreter or dynamic loader is not in this image"
        )),
        Errno::ENOEXEC => {
            CannotLaunch::cannot_run(format!("{program}: not a program for this machine"))
        }
        Errno::E2BIG => CannotLaunch::cannot_run(format!(
            "{program}: the arguments and environment are too long"
        )),
        errno => CannotLaunch::cannot_run(format!("{program}: {}", describe(errno, error))),
    }
}

fn describe(errno: Errno, error: &io::Error) -> String {
    if error.raw_os_error().is_some() {
        errno.desc().to_owned()
    } else {
        error.to_string()
    }
}

fn check_directory(directory: &Path) -> Result<(), CannotLaunch> {
    let problem = match std::fs::metadata(directory) {
        Ok(found) if !found.is_dir() => Errno::ENOTDIR,
        Ok(_) => match access(directory, AccessFlags::X_OK) {
            Ok(()) => return Ok(()),
            Err(errno) => errno,
        },
        Err(error) => Errno::from_raw(error.raw_os_error().unwrap_or(0)),
    };
    Err(CannotLaunch::cannot_run(format!(
        "cannot enter the directory {}: {}",
        directory.display(),
        problem.desc()
    )))
}

/// Looks a program up as `execvp` does, but in the command's own `PATH`.
fn find(
    name: &OsStr,
    env: &[(OsString, OsString)],
    directory: &Path,
) -> Result<PathBuf, CannotLaunch> {
    let shown = name.display();
    if name.as_bytes().contains(&b'/') {
        let path = directory.join(name);
        return match is_program(&path) {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {
                Err(CannotLaunch::not_found(format!("{shown}: no such file")))
            }
            Err(errno) => Err(CannotLaunch::cannot_run(format!(
                "{shown}: {}",
                errno.desc()
            ))),
        };
    }
    let path = env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value.as_os_str());
    let mut refused = None;
    if !name.is_empty() {
        for place in std::env::split_paths(path) {
            let candidate = directory.join(place).join(name);
            match is_program(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(Errno::EACCES | Errno::EISDIR) => refused = refused.or(Some(candidate)),
                Err(_) => {}
            }
        }
    }
    Err(match refused {
        Some(path) => CannotLaunch::cannot_run(format!("{}: not executable", path.display())),
        None => CannotLaunch::not_found(format!("{shown}: command not found")),
    })
}

fn is_program(path: &Path) -> Result<(), Errno> {
    let found = std::fs::metadata(path)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    if found.is_dir() {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}
