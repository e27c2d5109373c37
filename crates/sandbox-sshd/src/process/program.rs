//! Finding the program of a request, with its arguments, environment and directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use sandbox_core::FilePath;
use sandbox_core::command_line::CommandLine;

use super::environment::{DEFAULT_PATH, command_environment};
use super::executable::{find_32_bit_program, is_binary};
use super::table::IsPaused;
use super::user::Identity;
use crate::config::ServerConfig;

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// The executable file, absolute if `directory` is.
    pub(crate) path: PathBuf,
    /// The name of the program (`argv[0]`), then its arguments.
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) directory: PathBuf,
    /// The shell that runs the file if it is a script without `#!`.
    pub(crate) interpreter: Option<PathBuf>,
    /// Whom it runs as, if not as the user of the server.
    pub(crate) identity: Option<Identity>,
}

impl Program {
    /// Parses the command line of an `exec` request. The form that the SDK's client sends needs no
    /// shell. Any other command line is passed to one. It starts in `home`, or in a directory that is
    /// relative to it.
    ///
    /// # Errors
    ///
    /// If there is no such program, directory or shell.
    pub(crate) fn from_command_line(
        config: &ServerConfig,
        line: &[u8],
        home: &Path,
        env: Vec<(OsString, OsString)>,
    ) -> Result<Self, StartError> {
        let parsed = CommandLine::parse(line);
        if line.contains(&0) {
            let part = match parsed {
                Some(_) => "an argument",
                None => "the command",
            };
            return Err(StartError::not_runnable(format!(
                "{part} contains a NUL byte, which no program can receive"
            )));
        }
        let shell = find_shell(config, &env);
        let env = add_shell(env, &shell);
        let Some(parsed) = parsed else {
            let shell = shell?;
            refuse_32_bit_program(config, &shell, home)?;
            let argv = vec![
                shell.clone().into(),
                "-c".into(),
                OsString::from_vec(line.to_vec()),
            ];
            return Ok(Self {
                path: shell,
                argv,
                env,
                directory: home.to_owned(),
                interpreter: None,
                identity: None,
            });
        };
        let directory = match parsed.directory {
            Some(directory) => home.join(OsString::from_vec(directory)),
            None => home.to_owned(),
        };
        let argv = parsed.argv.into_iter().map(OsString::from_vec).collect();
        Self::find(config, argv, directory, env, shell)
    }

    /// Finds the program of `argv`, none of which may contain a NUL byte.
    ///
    /// # Errors
    ///
    /// If there is no such program or directory.
    pub(crate) fn from_argv(
        config: &ServerConfig,
        argv: Vec<OsString>,
        directory: PathBuf,
        env: Vec<(OsString, OsString)>,
    ) -> Result<Self, StartError> {
        let shell = find_shell(config, &env);
        let env = add_shell(env, &shell);
        Self::find(config, argv, directory, env, shell)
    }

    fn find(
        config: &ServerConfig,
        argv: Vec<OsString>,
        directory: PathBuf,
        env: Vec<(OsString, OsString)>,
        shell: Result<PathBuf, StartError>,
    ) -> Result<Self, StartError> {
        check_directory(&directory)?;
        let name = argv.first().map_or(OsStr::new(""), OsString::as_os_str);
        let path = find_program(name, &env, &directory)?;
        refuse_32_bit_program(config, &path, &directory)?;
        Ok(Self {
            path,
            argv,
            env,
            directory,
            interpreter: shell.ok(),
            identity: None,
        })
    }

    /// Returns the login shell of a `shell` request: its name has a dash in front.
    ///
    /// # Errors
    ///
    /// If there is no shell, or if the home directory cannot be entered.
    pub(crate) fn for_login(
        config: &ServerConfig,
        home: &Path,
        env: Vec<(OsString, OsString)>,
    ) -> Result<Self, StartError> {
        let shell = find_shell(config, &env);
        let env = add_shell(env, &shell);
        let shell = shell?;
        refuse_32_bit_program(config, &shell, home)?;
        let mut name = OsString::from("-");
        name.push(shell.file_name().unwrap_or(shell.as_os_str()));
        check_directory(home)?;
        Ok(Self {
            path: shell,
            argv: vec![name],
            env,
            directory: home.to_owned(),
            interpreter: None,
            identity: None,
        })
    }

    /// Returns the program as a script of the shell, as execvp(3) runs an executable text file that
    /// has no `#!`. A binary for another processor is no script.
    pub(crate) fn to_script(&self) -> Option<Self> {
        let interpreter = self.interpreter.clone()?;
        if is_binary(&self.path) {
            return None;
        }
        let argv = [interpreter.clone().into(), self.path.clone().into()];
        let argv = argv
            .into_iter()
            .chain(self.argv.iter().skip(1).cloned())
            .collect();
        Some(Self {
            path: interpreter,
            argv,
            interpreter: None,
            ..self.clone()
        })
    }
}

/// Why a command cannot be started, with the exit code that shells return: 127 if the program does
/// not exist, 126 if it cannot be run. 125 is an error of the server itself, as in env(1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartError {
    pub(crate) exit_code: u32,
    pub(crate) message: String,
    /// Whether the sandbox is paused.
    pub(crate) is_paused: bool,
}

impl StartError {
    fn not_found(message: String) -> Self {
        Self {
            exit_code: 127,
            message,
            is_paused: false,
        }
    }

    pub(crate) fn not_runnable(message: String) -> Self {
        Self {
            exit_code: 126,
            message,
            is_paused: false,
        }
    }

    /// The sandbox is paused, so nothing is started.
    pub(crate) fn paused() -> Self {
        Self {
            exit_code: 126,
            message: IsPaused.to_string(),
            is_paused: true,
        }
    }
}

/// Returns the variables that every command gets.
pub(crate) fn default_environment(config: &ServerConfig) -> Vec<(OsString, OsString)> {
    let env = command_environment(config, []).variables;
    let shell = find_shell(config, &env);
    add_shell(env, &shell)
}

/// Sets `SHELL` as sshd does, unless it is set.
fn add_shell(
    mut env: Vec<(OsString, OsString)>,
    shell: &Result<PathBuf, StartError>,
) -> Vec<(OsString, OsString)> {
    if let Ok(shell) = shell
        && !env.iter().any(|(name, _)| name == "SHELL")
    {
        env.push(("SHELL".into(), shell.clone().into()));
    }
    env
}

/// Returns the configured shell, or `SHELL` of the environment, or the user's shell, or `/bin/sh`.
fn find_shell(config: &ServerConfig, env: &[(OsString, OsString)]) -> Result<PathBuf, StartError> {
    let named = env
        .iter()
        .find(|(name, _)| name == "SHELL")
        .map(|(_, value)| PathBuf::from(value));
    let candidates = match &config.shell {
        Some(shell) => vec![shell.clone()],
        None => named
            .into_iter()
            .chain(config.user_shell.clone())
            .chain([PathBuf::from("/bin/sh")])
            .collect(),
    };
    let is_usable = |path: &&PathBuf| path.is_absolute() && check_executable(path).is_ok();
    if let Some(shell) = candidates.iter().find(is_usable) {
        return Ok(shell.clone());
    }
    let tried: Vec<String> = candidates
        .iter()
        .map(|path| FilePath::from(path).to_string())
        .collect();
    Err(StartError::not_found(format!(
        "there is no shell in this image ({}): \
         run a program with its arguments instead of a command string",
        tried.join(", "),
    )))
}

/// Describes an error of starting a program.
pub(crate) fn describe_start_error(program: &Program, error: &io::Error) -> StartError {
    let path = FilePath::from(&program.path);
    match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
        Errno::ENOENT => StartError::not_runnable(format!(
            "{path}: its interpreter or dynamic loader is not in this image"
        )),
        Errno::ENOEXEC => {
            StartError::not_runnable(format!("{path}: not a program for this architecture"))
        }
        Errno::E2BIG => StartError::not_runnable(format!("{path}: {}", describe_length(program))),
        errno => StartError::not_runnable(format!("{path}: {}", describe(errno, error))),
    }
}

/// Says which limit of execve(2) a program exceeds.
fn describe_length(program: &Program) -> String {
    // With 4 KiB pages; larger pages allow more.
    const MAX_WORD: usize = 128 << 10;
    let variables = program
        .env
        .iter()
        .map(|(name, value)| name.len() + 1 + value.len());
    let words = program.argv.iter().map(|word| word.len()).chain(variables);
    let (longest, total) = words.fold((0, 0), |(longest, total), word| {
        (word.max(longest), word + 1 + total)
    });
    let too_long = "the arguments and environment are too long";
    if longest >= MAX_WORD {
        format!(
            "{too_long}: one has {longest} bytes, and Linux takes less than 128 KiB in one; use standard input or a file"
        )
    } else {
        format!(
            "{too_long}: {total} bytes in all, and Linux takes 2 MiB with the usual stack limit; use standard input or a file"
        )
    }
}

fn describe(errno: Errno, error: &io::Error) -> String {
    if error.raw_os_error().is_some() {
        errno.desc().to_owned()
    } else {
        error.to_string()
    }
}

fn check_directory(directory: &Path) -> Result<(), StartError> {
    let errno = match std::fs::metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => Errno::ENOTDIR,
        Ok(_) => match access(directory, AccessFlags::X_OK) {
            Ok(()) => return Ok(()),
            Err(errno) => errno,
        },
        Err(error) => Errno::from_raw(error.raw_os_error().unwrap_or(0)),
    };
    Err(StartError::not_runnable(format!(
        "cannot enter the directory {}: {}",
        FilePath::from(directory),
        errno.desc()
    )))
}

/// Looks a program up as execvp(3) does, but in the `PATH` of the command.
fn find_program(
    name: &OsStr,
    env: &[(OsString, OsString)],
    directory: &Path,
) -> Result<PathBuf, StartError> {
    let displayed = FilePath::from(name);
    if name.as_bytes().contains(&b'/') {
        let path = directory.join(name);
        return match check_executable(&path) {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {
                Err(StartError::not_found(format!("{displayed}: no such file")))
            }
            Err(errno) => Err(StartError::not_runnable(format!(
                "{displayed}: {}",
                errno.desc()
            ))),
        };
    }
    let path = env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value.as_os_str());
    let mut not_executable = None;
    if !name.is_empty() {
        for entry in std::env::split_paths(path) {
            let candidate = directory.join(entry).join(name);
            match check_executable(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(Errno::EACCES | Errno::EISDIR) => {
                    not_executable = not_executable.or(Some(candidate))
                }
                Err(_) => {}
            }
        }
    }
    Err(match not_executable {
        Some(path) => StartError::not_runnable(format!("{}: not executable", FilePath::from(path))),
        None => StartError::not_found(format!("{displayed}: command not found")),
    })
}

/// Refuses a 32-bit program, and a script whose interpreter is one, unless they run here.
fn refuse_32_bit_program(
    config: &ServerConfig,
    path: &Path,
    directory: &Path,
) -> Result<(), StartError> {
    if config.runs_32_bit_programs {
        return Ok(());
    }
    let Some(found) = find_32_bit_program(path, directory) else {
        return Ok(());
    };
    let program = FilePath::from(path);
    let subject = if found == path {
        program.to_string()
    } else {
        format!("{program}: its interpreter {}", FilePath::from(&found))
    };
    Err(StartError::not_runnable(format!(
        "{subject} is a 32-bit program, and this sandbox runs 64-bit programs only"
    )))
}

fn check_executable(path: &Path) -> Result<(), Errno> {
    let metadata = std::fs::metadata(path)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR);
    }
    access(path, AccessFlags::X_OK)
}
