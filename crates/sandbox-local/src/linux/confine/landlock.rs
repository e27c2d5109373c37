//! Confinement where there are no namespaces: Landlock decides which files can be opened.
//!
//! It does not decide everything. What it leaves open (sockets at paths, UDP, changes of modes,
//! owners and times, System V IPC, limits and priorities of other processes) is refused by the
//! system call filter, without which this counts for nothing.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::etc;
use super::root::{DEVICES, SYSTEM_DIRECTORIES};
use crate::linux::failure::{Failure, FailureKind, IoContext};

/// The first with scopes: without them signals and abstract sockets would lead out.
const NEEDED: ABI = ABI::V6;
/// Opened for each terminal, and the terminals themselves.
const TERMINALS: [&str; 2] = ["/dev/ptmx", "/dev/pts"];

/// What the server may open, and what its commands may.
pub(crate) struct Domains {
    server: RulesetCreated,
    commands: RulesetCreated,
}

/// What differs between sandboxes.
pub(crate) struct Openings<'a> {
    /// What the sandbox writes to.
    pub(crate) own: [PathBuf; 2],
    /// What else of the outside can be read.
    pub(crate) read_only_paths: &'a [PathBuf],
    /// Whether nobody else has the sandbox's user id, and terminals with it.
    pub(crate) own_ids: bool,
}

impl Domains {
    /// Opens what shall stay open, as the user who made the sandbox.
    pub(crate) fn build(openings: &Openings<'_>) -> Result<Self, Failure> {
        // The server opens terminals and hands them down. Its commands are one domain further
        // in, so that they can neither signal it nor, with the user id of its maker, open that
        // one's terminals.
        let server = allow(openings, true)?;
        let commands = allow(openings, openings.own_ids)?;
        Ok(Self { server, commands })
    }

    /// Enters the server's domain, for good; returns that for commands.
    pub(crate) fn enter(self) -> Result<RulesetCreated, Failure> {
        enter(self.server)?;
        Ok(self.commands)
    }
}

/// Confines this thread, and what it starts, for good.
pub(crate) fn enter(rules: RulesetCreated) -> Result<(), Failure> {
    let status = rules
        .restrict_self()
        .isolation_context("enter the Landlock domain")?;
    // Rights newer than this kernel are the one thing that may be missing.
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(unavailable("it was not enforced"));
    }
    Ok(())
}

fn allow(openings: &Openings<'_>, terminals: bool) -> Result<RulesetCreated, Failure> {
    const STEP: &str = "make the Landlock rules";
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEEDED)))
        .and_then(|rules| rules.scope(Scope::from_all(NEEDED)))
        .map_err(|error| unavailable(&error.to_string()))?;
    let mut rules = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::ResolveUnix)
        .and_then(Ruleset::create)
        .isolation_context(STEP)?
        .set_compatibility(CompatLevel::HardRequirement);
    let mut opened: Vec<(PathBuf, BitFlags<AccessFs>)> = Vec::new();
    let read = AccessFs::from_read(NEEDED);
    opened.extend(
        SYSTEM_DIRECTORIES
            .iter()
            .map(PathBuf::from)
            .filter(|path| path.exists())
            .map(|path| (path, read)),
    );
    opened.extend(
        etc::readable_directories()
            .into_iter()
            .map(|name| (Path::new("/etc").join(name), read)),
    );
    opened.extend(etc::readable_files().map(|path| (path, read)));
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    let devices = DEVICES.iter().map(|name| Path::new("/dev").join(name));
    let terminals = TERMINALS.iter().map(PathBuf::from).filter(|_| terminals);
    opened.extend(
        devices
            .chain(terminals)
            .filter(|path| path.exists())
            .map(|path| (path, device)),
    );
    // No device nodes, which have no business here, nor sockets, which nobody could connect to.
    let own = AccessFs::from_all(NEEDED)
        & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::IoctlDev);
    opened.extend(openings.own.iter().map(|path| (path.clone(), own)));
    opened.extend(
        openings
            .read_only_paths
            .iter()
            .map(|path| (path.clone(), read)),
    );
    for (path, rights) in opened {
        let step = || format!("allow {} in the sandbox", path.display());
        let is_dir = fs::metadata(&path).isolation_context(step())?.is_dir();
        let rights = if is_dir {
            rights
        } else {
            rights & AccessFs::from_file(NEEDED)
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
        format!("{why} (Linux 6.12 or newer, with Landlock among its security modules, is needed)");
    Failure::new(FailureKind::Isolation, "use Landlock", message)
}
