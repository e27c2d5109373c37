//! From the description of a process to the program that is started.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sandbox_core::FilePath;
use sandbox_core::guest::{MAX_PAYLOAD, ProcessSpec, Refusal, RefusalCode};

use super::invalid;
use crate::config::{RESERVED_ENV_PREFIX, ServerConfig};
use crate::guest::refusals::refuse_user;
use crate::process::environment::command_environment;
use crate::process::program::{Program, StartError};
use crate::process::pty::Terminal;
use crate::process::user::User;

/// How much of a frame the rest of an entry of a list takes.
const ENTRY_ROOM: usize = 64;
/// `TERM` of a terminal for which the client sets none.
const DEFAULT_TERM: &str = "xterm-256color";

/// Checks what can be checked without the system.
pub(super) fn check(spec: &ProcessSpec) -> Result<(), Refusal> {
    if spec.argv.is_empty() {
        return Err(invalid("a process needs a program to run"));
    }
    if spec.argv.iter().any(has_nul) {
        return Err(invalid(
            "an argument contains a NUL byte, which no program can receive",
        ));
    }
    for (name, value) in &spec.env {
        let bytes = name.as_bytes();
        if bytes.is_empty() || bytes.contains(&b'=') || has_nul(name) || has_nul(value) {
            return Err(invalid(format!(
                "{name}: a variable's name is not empty and contains no '=', and neither name nor value a NUL byte"
            )));
        }
        if bytes.starts_with(RESERVED_ENV_PREFIX.as_bytes()) {
            return Err(invalid(format!(
                "{name}: variables that begin with {RESERVED_ENV_PREFIX} are the server's own"
            )));
        }
    }
    // So that it can be listed.
    let length = serde_json::to_vec(spec).map_or(usize::MAX, |json| json.len());
    if length > MAX_PAYLOAD - ENTRY_ROOM {
        return Err(Refusal::new(
            RefusalCode::LimitReached,
            "the arguments and the environment are too long; use standard input or a file",
        ));
    }
    Ok(())
}

/// The program of a process.
pub(super) struct FoundProgram {
    pub(super) program: Program,
    /// The environment of the sandbox has more variables than are used.
    pub(super) is_truncated: bool,
}

/// Finds the program, or the reason why it cannot be run.
///
/// # Errors
///
/// If the user or the directory cannot be used.
pub(super) fn find_program(
    spec: &ProcessSpec,
    config: &ServerConfig,
    terminal: Option<&Terminal>,
) -> Result<Result<FoundProgram, StartError>, Refusal> {
    let user = match &spec.user {
        Some(name) => User::find(name, config.user.as_deref())
            .map_err(|problem| refuse_user("run a program", name, problem))?,
        None => User::Own,
    };
    let (account, identity) = match user {
        User::Own => (None, None),
        User::Other(account, identity) => (Some(account), Some(identity)),
    };
    let home = account
        .as_ref()
        .and_then(|account| account.home.as_deref())
        .unwrap_or(&config.home);
    let directory = match &spec.directory {
        Some(directory) => resolve(directory, home)?,
        None => config.home.clone(),
    };
    check_directory(&directory)?;
    let mut variables = Vec::new();
    if let Some(account) = &account {
        variables.extend(account.variables(home));
    }
    if let Some(terminal) = terminal {
        variables.push(("TERM".into(), DEFAULT_TERM.into()));
        // As for a command in a terminal.
        let device = terminal.device();
        variables.extend(device.map(|device| ("SSH_TTY".into(), device.into())));
    }
    let requested = spec.env.iter();
    variables.extend(requested.map(|(name, value)| (to_os(name), to_os(value))));
    let environment = command_environment(config, variables);
    let argv = spec.argv.iter().map(to_os).collect();
    let program = Program::from_argv(config, argv, directory, environment.variables);
    Ok(program.map(|program| FoundProgram {
        program: Program {
            identity,
            ..program
        },
        is_truncated: environment.is_truncated,
    }))
}

fn resolve(directory: &FilePath, home: &Path) -> Result<PathBuf, Refusal> {
    if has_nul(directory) {
        return Err(invalid("the name of the directory contains a NUL byte"));
    }
    match directory.as_bytes() {
        b"~" => Ok(home.to_owned()),
        [b'~', b'/', rest @ ..] => {
            let slashes = rest.iter().take_while(|&&byte| byte == b'/').count();
            Ok(home.join(OsStr::from_bytes(&rest[slashes..])))
        }
        [b'~', ..] => Err(invalid(format!(
            "the directory {directory}: only the own home can be abbreviated; write ./{directory} for one of that name"
        ))),
        path => Ok(home.join(OsStr::from_bytes(path))),
    }
}

/// Checks that the directory exists. Whether it can be entered is up to the user.
fn check_directory(directory: &Path) -> Result<(), Refusal> {
    let name = FilePath::from(directory);
    match std::fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(invalid(format!("{name} is not a directory"))),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(invalid(format!("the directory {name} does not exist")))
        }
        Err(error) => Err(invalid(format!("the directory {name}: {error}"))),
    }
}

fn has_nul(text: &FilePath) -> bool {
    text.as_bytes().contains(&0)
}

fn to_os(text: &FilePath) -> OsString {
    OsStr::from_bytes(text.as_bytes()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_resolved_from_the_home() {
        for (directory, expected) in [
            ("/srv", Some("/srv")),
            ("work", Some("/home/me/work")),
            ("", Some("/home/me/")),
            ("~", Some("/home/me")),
            ("~/", Some("/home/me/")),
            ("~//a b", Some("/home/me/a b")),
            ("./~x", Some("/home/me/./~x")),
            ("~root", None),
            ("~root/x", None),
            ("a\0", None),
        ] {
            let resolved = resolve(&directory.into(), Path::new("/home/me")).ok();
            assert_eq!(
                resolved.as_deref(),
                expected.map(Path::new),
                "{directory:?}"
            );
        }
    }

    #[test]
    fn malformed_descriptions_are_refused() {
        let mut valid = ProcessSpec::default();
        valid.argv = vec!["ls".into()];
        valid.env = vec![("A".into(), "b=c".into())];
        check(&valid).unwrap();
        let changes: [fn(&mut ProcessSpec); 7] = [
            |spec| spec.argv.clear(),
            |spec| spec.argv.push("a\0".into()),
            |spec| spec.env.push(("".into(), "x".into())),
            |spec| spec.env.push(("A=B".into(), "x".into())),
            |spec| spec.env.push(("A".into(), "\0".into())),
            |spec| {
                spec.env
                    .push((format!("{RESERVED_ENV_PREFIX}X").as_str().into(), "".into()))
            },
            |spec| spec.argv.push("x".repeat(MAX_PAYLOAD).as_str().into()),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut spec = valid.clone();
            change(&mut spec);
            assert!(check(&spec).is_err(), "{index}");
        }
    }
}
