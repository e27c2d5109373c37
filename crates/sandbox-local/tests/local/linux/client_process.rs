//! A client in a process of its own, which other tests can kill.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use nix::libc;
use sandbox_core::SandboxBackend;
use sandbox_local::{LocalBackend, LocalOptions};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use super::support::{Result, detached_spec};

/// Creates a sandbox in a state directory and prints its id and isolation. This is what the program
/// does with the argument `client`.
pub(crate) fn run_client(arguments: &[String]) -> ExitCode {
    let [state_dir, level @ ..] = arguments else {
        return ExitCode::from(2);
    };
    if level.iter().any(|argument| argument == "without-landlock") && disable_landlock().is_err() {
        return ExitCode::from(2);
    }
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        return ExitCode::FAILURE;
    };
    let created = runtime.block_on(async {
        let mut options = LocalOptions::default();
        options.state_dir = Some(state_dir.into());
        if let Some(level) = level.first() {
            options.isolation = level.parse()?;
        }
        LocalBackend::new(options)?.create(detached_spec()).await
    });
    match created {
        Ok(info) => {
            println!("{}", info.id);
            eprintln!(
                "{}: {}",
                info.isolation.kind,
                info.isolation.applied.join(", ")
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program as a client.
pub(crate) fn start_client_process(state_dir: &Path) -> Result<Child> {
    let program = std::env::current_exe()?;
    Ok(Command::new(program)
        .arg("client")
        .arg(state_dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?)
}

/// Lets this process and its descendants find no Landlock, as on an older kernel.
fn disable_landlock() -> Result {
    let rules: BTreeMap<_, _> = [(libc::SYS_landlock_create_ruleset, vec![])].into();
    let not_implemented = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, not_implemented, arch)?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}
