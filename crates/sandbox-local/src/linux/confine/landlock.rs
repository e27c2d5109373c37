//! Confinement without namespaces: Landlock restricts which files can be opened.
//!
//! It does not restrict sockets at paths, UDP, changes of modes, owners and times, System V IPC, and
//! limits and priorities of other processes. The system call filter refuses those, so Landlock must
//! not be used without it.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::etc;
use super::root::{DEVICES, SYSTEM_DIRECTORIES};
use crate::linux::failure::{Failure, FailureKind, IoContext};

/// The first version with scopes, which restrict signals and abstract sockets.
const REQUIRED_ABI: ABI = ABI::V6;
/// The device that creates terminals, and the terminals.
const TERMINALS: [&str; 2] = ["/dev/ptmx", "/dev/pts"];

/// The Landlock domains of the server and of its commands.
pub(crate) struct Domains {
    server: RulesetCreated,
    commands: RulesetCreated,
}

/// The accesses that differ between sandboxes.
pub(crate) struct AllowedAccess<'a> {
    /// The directories that the sandbox can write to.
    pub(crate) writable: [PathBuf; 2],
    /// Additional files and directories that can be read.
    pub(crate) read_only_paths: &'a [PathBuf],
}

impl Domains {
    /// Opens the paths that remain accessible, with the permissions of the caller.
    pub(crate) fn build(allowed: &AllowedAccess<'_>) -> Result<Self, Failure> {
        // The server opens terminals and passes them on. Its commands are in a nested domain, so that
        // they can neither signal the server nor open terminals: those would be the machine's, of which
        // one sandbox could take all, and with the caller's user id the caller's own.
        let server = build_rules(allowed, true)?;
        let commands = build_rules(allowed, false)?;
        Ok(Self { server, commands })
    }

    /// Enters the server's domain irrevocably, and returns that of the commands.
    pub(crate) fn enter(self) -> Result<RulesetCreated, Failure> {
        enter(self.server)?;
        Ok(self.commands)
    }
}

/// Confines this thread and its descendants irrevocably.
pub(crate) fn enter(rules: RulesetCreated) -> Result<(), Failure> {
    let status = rules
        .restrict_self()
        .isolation_context("enter the Landlock domain")?;
    // Only access rights that are newer than this kernel may be missing.
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(unavailable("it was not enforced"));
    }
    Ok(())
}

fn build_rules(allowed: &AllowedAccess<'_>, terminals: bool) -> Result<RulesetCreated, Failure> {
    const STEP: &str = "build the Landlock rules";
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED_ABI))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(REQUIRED_ABI)))
        .and_then(|rules| rules.scope(Scope::from_all(REQUIRED_ABI)))
        .map_err(|error| unavailable(&error.to_string()))?;
    let mut rules = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::ResolveUnix)
        .and_then(Ruleset::create)
        .isolation_context(STEP)?
        .set_compatibility(CompatLevel::HardRequirement);
    let mut accesses: Vec<(PathBuf, BitFlags<AccessFs>)> = Vec::new();
    let read = AccessFs::from_read(REQUIRED_ABI);
    accesses.extend(
        SYSTEM_DIRECTORIES
            .iter()
            .map(PathBuf::from)
            .filter(|path| path.exists())
            .map(|path| (path, read)),
    );
    accesses.extend(
        etc::readable_directories()
            .into_iter()
            .map(|name| (Path::new("/etc").join(name), read)),
    );
    accesses.extend(etc::readable_files().map(|path| (path, read)));
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let devices = DEVICES.iter().map(|name| Path::new("/dev").join(name));
    let terminals = TERMINALS.iter().map(PathBuf::from).filter(|_| terminals);
    accesses.extend(
        devices
            .chain(terminals)
            .filter(|path| path.exists())
            .map(|path| (path, device)),
    );
    // Device nodes are not needed, and the system call filter forbids connecting to sockets.
    let write = AccessFs::from_all(REQUIRED_ABI)
        & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::IoctlDev);
    accesses.extend(allowed.writable.iter().map(|path| (path.clone(), write)));
    accesses.extend(
        allowed
            .read_only_paths
            .iter()
            .map(|path| (path.clone(), read)),
    );
    for (path, rights) in accesses {
        let step = || format!("allow {} in the sandbox", path.display());
        let is_dir = fs::metadata(&path).isolation_context(step())?.is_dir();
        let rights = if is_dir {
            rights
        } else {
            rights & AccessFs::from_file(REQUIRED_ABI)
        };
        let path = PathFd::new(&path).isolation_context(step())?;
        rules = rules
            .add_rule(PathBeneath::new(path, rights))
            .isolation_context(step())?;
    }
    Ok(rules)
}

fn unavailable(why: &str) -> Failure {
    let message =
        format!("{why}; use Linux 6.12 or newer with Landlock among its security modules");
    Failure::new(FailureKind::Isolation, "use Landlock", message)
}
