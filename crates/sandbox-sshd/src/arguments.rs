//! The command line.

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
The SSH server of one sandbox.

  sandbox-sshd [OPTIONS]          serve
  sandbox-sshd install DIRECTORY  copy this program into a directory
  sandbox-sshd --version | --help

  --listen ADDRESS          IP:PORT ([::] is every address, of IPv4 as well; port 0: any free
                            one), or unix:/PATH [[::]:2222]
  --stdio                   serve one connection on standard input and output instead
  --host-key FILE           private host key, or in SANDBOX_SSHD_HOST_KEY
  --authorized-keys FILE    public keys of users, or in SANDBOX_SSHD_AUTHORIZED_KEYS
  --user NAME               the only login name accepted [any]
  --home DIRECTORY          where commands start [$HOME, else /home/sandbox, else /tmp/sandbox]
  --idle SECONDS            end when nothing was open or asked for this long
  --attached SECONDS        end when nobody was logged in this long
  --ttl SECONDS             end after this long, unless a client lengthens it
  --max-lifetime SECONDS    end after this long, whatever clients say
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Help,
    Version,
    Install(PathBuf),
    Serve(Box<Options>),
}

/// Where clients come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Stdio,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) listen: Listen,
    pub(crate) host_key: Option<PathBuf>,
    pub(crate) authorized_keys: Option<PathBuf>,
    /// This program passes the keys to itself.
    pub(crate) keys_from_stdin: bool,
    pub(crate) user: Option<String>,
    pub(crate) home: Option<PathBuf>,
    pub(crate) idle: Option<Duration>,
    pub(crate) attached: Option<Duration>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 2222))),
            host_key: None,
            authorized_keys: None,
            keys_from_stdin: false,
            user: None,
            home: None,
            idle: None,
            attached: None,
            ttl: None,
            max_lifetime: None,
        }
    }
}

/// Reads the arguments after the program's name.
///
/// # Errors
///
/// A sentence that names what is wrong.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Action, String> {
    let mut options = Options::default();
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == "install").is_some() {
        return match (arguments.next(), arguments.next()) {
            (Some(directory), None) => Ok(Action::Install(directory.into())),
            _ => Err("install takes one directory".into()),
        };
    }
    while let Some(argument) = arguments.next() {
        let argument = argument
            .into_string()
            .map_err(|bad| format!("{} is no option", bad.display()))?;
        let (name, given) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(OsString::from(value))),
            None => (argument, None),
        };
        let mut value = || {
            given
                .clone()
                .or_else(|| arguments.next())
                .ok_or_else(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "--help" | "-h" => return Ok(Action::Help),
            "--version" | "-V" => return Ok(Action::Version),
            "--stdio" => options.listen = Listen::Stdio,
            "--listen" => options.listen = listen(value()?)?,
            "--host-key" => options.host_key = Some(value()?.into()),
            "--authorized-keys" => options.authorized_keys = Some(value()?.into()),
            "--keys-from-stdin" => options.keys_from_stdin = true,
            "--user" => options.user = Some(text(&name, value()?)?),
            "--home" => options.home = Some(value()?.into()),
            "--idle" => options.idle = Some(seconds(&name, &value()?)?),
            "--attached" => options.attached = Some(seconds(&name, &value()?)?),
            "--ttl" => options.ttl = Some(seconds(&name, &value()?)?),
            "--max-lifetime" => options.max_lifetime = Some(seconds(&name, &value()?)?),
            _ => return Err(format!("{name} is no option; see --help")),
        }
    }
    Ok(Action::Serve(Box::new(options)))
}

fn listen(value: OsString) -> Result<Listen, String> {
    if let Some(path) = value.to_str().and_then(|value| value.strip_prefix("unix:")) {
        return Ok(Listen::Unix(path.into()));
    }
    let address = text("--listen", value)?;
    match address.parse() {
        Ok(address) => Ok(Listen::Tcp(address)),
        Err(_) => Err(format!(
            "--listen {address} is neither IP:PORT nor unix:/PATH"
        )),
    }
}

fn text(name: &str, value: OsString) -> Result<String, String> {
    value
        .into_string()
        .map_err(|bad| format!("{name} {} is not UTF-8", bad.display()))
}

fn number<T: std::str::FromStr>(name: &str, value: &OsString) -> Result<T, String> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{name} {} is not a whole number", value.display()))
}

/// At least one, and at most a hundred years: a limit of none is not given at all.
fn seconds(name: &str, value: &OsString) -> Result<Duration, String> {
    match number(name, value)? {
        seconds @ 1..=3_155_760_000 => Ok(Duration::from_secs(seconds)),
        other => Err(format!(
            "{name} {other} is not between 1 and 3155760000 seconds"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Action, String> {
        parse(line.split_ascii_whitespace().map(OsString::from))
    }

    #[test]
    fn options_are_taken_in_both_forms() {
        let Ok(Action::Serve(options)) =
            of("--listen unix:/run/s --idle=60 --user me --host-key /k")
        else {
            panic!()
        };
        assert_eq!(options.listen, Listen::Unix("/run/s".into()));
        assert_eq!(options.idle, Some(Duration::from_secs(60)));
        assert_eq!(options.user.as_deref(), Some("me"));
        assert_eq!(of("install /bin"), Ok(Action::Install("/bin".into())));
        assert_eq!(of("--version"), Ok(Action::Version));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, named) in [
            ("--port 22", "--port"),
            ("--idle", "--idle needs"),
            ("--idle soon", "soon"),
            ("--ttl 0", "between 1"),
            ("--ttl -5", "whole number"),
            ("--listen localhost:22", "IP:PORT"),
            ("install", "one directory"),
            ("install a b", "one directory"),
            ("serve", "serve"),
        ] {
            let message = of(line).unwrap_err();
            assert!(message.contains(named), "{line}: {message}");
        }
    }
}
