//! The command line of this program.

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sandbox_core::{OnExpiry, protocol};

use crate::connect::Target;
use crate::end::TERMINATION_LOG;

/// The text of `--help`.
pub(crate) const HELP: &str = "\
The SSH server of one sandbox.

  sandbox-sshd [OPTIONS]          Serve
  sandbox-sshd install DIRECTORY  Copy this program into a directory
  sandbox-sshd connect HOST PORT  Connect standard input and output to HOST through the proxy in
                                  HTTPS_PROXY: a ProxyCommand for ssh
  sandbox-sshd --version | --help

  --listen ADDRESS          Listen on IP:PORT or unix:/PATH. [::] is every IPv6 and IPv4 address,
                            port 0 is any free port [[::]:2222]
  --stdio                   Serve one connection on standard input and output
  --host-key FILE           Use the private host key in FILE [$SANDBOX_SSHD_HOST_KEY]
  --authorized-keys FILE    Accept the public keys in FILE [$SANDBOX_SSHD_AUTHORIZED_KEYS]
  --user NAME               Accept only this login name [any]
  --home DIRECTORY          Start commands in DIRECTORY [$HOME, else /home/sandbox, else
                            /tmp/sandbox]
  --idle SECONDS            End after SECONDS without an open channel, job or request
  --attached SECONDS        End after SECONDS without a client that is logged in
  --first-login SECONDS     End after SECONDS if no client has logged in by then
                            [$SANDBOX_SSHD_FIRST_LOGIN]
  --ttl SECONDS             End after SECONDS, unless a client extends the time
  --on-expiry ACTION        At the end of the ttl: end, or pause until a client resumes [end]
  --max-lifetime SECONDS    End after SECONDS, which no client can extend
  --claimable               Let one client claim the sandbox, once: only the key that it sends logs in
                            from then on [set if $SANDBOX_SSHD_POOL is]
  --termination-log FILE    Write why the server ended to FILE, if it exists [/dev/termination-log]

Exit codes: 0 at the end of the ttl or maximum lifetime, 80 when idle, 81 without a client that is
logged in, 82 if no client has logged in, 143 after SIGTERM, 130 after SIGINT, 1 if the server failed.
";

/// The variable with the default of `--first-login`. Unlike an option, a server that does not know it
/// ignores it.
const FIRST_LOGIN: &str = "SANDBOX_SSHD_FIRST_LOGIN";

/// The action that the arguments request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Help,
    Version,
    Install(PathBuf),
    Connect(Target),
    Serve(Box<Options>),
}

/// Where the server accepts connections.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Stdio,
}

/// The options of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) listen: Listen,
    pub(crate) host_key: Option<PathBuf>,
    pub(crate) authorized_keys: Option<PathBuf>,
    /// Internal: this program passes the keys to its own re-execution.
    pub(crate) keys_from_stdin: bool,
    pub(crate) user: Option<String>,
    pub(crate) home: Option<PathBuf>,
    pub(crate) idle: Option<Duration>,
    pub(crate) attached: Option<Duration>,
    pub(crate) first_login: Option<Duration>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) on_expiry: OnExpiry,
    pub(crate) claimable: bool,
    pub(crate) termination_log: PathBuf,
}

impl Options {
    /// Returns how long the first login may take, from the options or else from the environment.
    ///
    /// # Errors
    ///
    /// A message that names the invalid variable.
    pub(crate) fn first_login_timeout(&self) -> Result<Option<Duration>, String> {
        match (self.first_login, std::env::var_os(FIRST_LOGIN)) {
            (Some(timeout), _) => Ok(Some(timeout)),
            (None, Some(value)) => parse_seconds(FIRST_LOGIN, &value).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Returns whether a client may claim the sandbox, by the options or else by the environment.
    pub(crate) fn is_claimable(&self) -> bool {
        let pool = std::env::var_os(protocol::POOL_VARIABLE);
        self.claimable || pool.is_some_and(|pool| !pool.is_empty())
    }
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
            first_login: None,
            ttl: None,
            max_lifetime: None,
            on_expiry: OnExpiry::End,
            claimable: false,
            termination_log: TERMINATION_LOG.into(),
        }
    }
}

/// Parses the arguments after the program's name.
///
/// # Errors
///
/// A message that names the invalid argument.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Action, String> {
    let mut options = Options::default();
    let mut arguments = arguments.peekable();
    if arguments.next_if(|first| first == "install").is_some() {
        return match (arguments.next(), arguments.next()) {
            (Some(directory), None) => Ok(Action::Install(directory.into())),
            _ => Err("install takes one directory".into()),
        };
    }
    if arguments.next_if(|first| first == "connect").is_some() {
        return match (arguments.next(), arguments.next(), arguments.next()) {
            (Some(host), Some(port), None) => Ok(Action::Connect(Target {
                host: parse_text("connect", host)?,
                port: parse_number("connect: the port", &port)?,
            })),
            _ => Err("connect takes a host and a port".into()),
        };
    }
    while let Some(argument) = arguments.next() {
        let argument = argument
            .into_string()
            .map_err(|bad| format!("unknown option {}; see --help", bad.display()))?;
        let (name, inline_value) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(OsString::from(value))),
            None => (argument, None),
        };
        let mut value = || {
            inline_value
                .clone()
                .or_else(|| arguments.next())
                .ok_or_else(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "--help" | "-h" => return Ok(Action::Help),
            "--version" | "-V" => return Ok(Action::Version),
            "--stdio" => options.listen = Listen::Stdio,
            "--listen" => options.listen = parse_listen(value()?)?,
            "--host-key" => options.host_key = Some(value()?.into()),
            "--authorized-keys" => options.authorized_keys = Some(value()?.into()),
            "--keys-from-stdin" => options.keys_from_stdin = true,
            "--user" => options.user = Some(parse_text(&name, value()?)?),
            "--home" => options.home = Some(value()?.into()),
            "--claimable" => options.claimable = true,
            "--idle" => options.idle = Some(parse_seconds(&name, &value()?)?),
            "--attached" => options.attached = Some(parse_seconds(&name, &value()?)?),
            "--first-login" => options.first_login = Some(parse_seconds(&name, &value()?)?),
            "--termination-log" => options.termination_log = value()?.into(),
            "--ttl" => options.ttl = Some(parse_seconds(&name, &value()?)?),
            "--max-lifetime" => options.max_lifetime = Some(parse_seconds(&name, &value()?)?),
            "--on-expiry" => options.on_expiry = parse_on_expiry(&value()?)?,
            _ => return Err(format!("unknown option {name}; see --help")),
        }
    }
    Ok(Action::Serve(Box::new(options)))
}

fn parse_listen(value: OsString) -> Result<Listen, String> {
    if let Some(path) = value.to_str().and_then(|value| value.strip_prefix("unix:")) {
        return Ok(Listen::Unix(path.into()));
    }
    let address = parse_text("--listen", value)?;
    match address.parse() {
        Ok(address) => Ok(Listen::Tcp(address)),
        Err(_) => Err(format!(
            "--listen {address} is neither IP:PORT nor unix:/PATH"
        )),
    }
}

fn parse_on_expiry(value: &OsString) -> Result<OnExpiry, String> {
    value
        .to_str()
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| format!("--on-expiry {} is neither end nor pause", value.display()))
}

fn parse_text(name: &str, value: OsString) -> Result<String, String> {
    value
        .into_string()
        .map_err(|bad| format!("{name} {} is not UTF-8", bad.display()))
}

fn parse_number<T: std::str::FromStr>(name: &str, value: &OsString) -> Result<T, String> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{name} {} is not a whole number", value.display()))
}

/// Parses a limit: at least one second, and at most a hundred years. Without a limit the option is
/// omitted.
fn parse_seconds(name: &str, value: &OsString) -> Result<Duration, String> {
    match parse_number(name, value)? {
        seconds @ 1..=3_155_760_000 => Ok(Duration::from_secs(seconds)),
        other => Err(format!(
            "{name} {other} is not between 1 and 3155760000 seconds"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Action, String> {
        parse(line.split_ascii_whitespace().map(OsString::from))
    }

    #[test]
    fn options_are_accepted_in_both_forms() {
        let Ok(Action::Serve(options)) =
            parse_line("--listen unix:/run/s --idle=60 --user me --host-key /k")
        else {
            panic!()
        };
        assert_eq!(options.listen, Listen::Unix("/run/s".into()));
        assert_eq!(options.idle, Some(Duration::from_secs(60)));
        assert_eq!(options.user.as_deref(), Some("me"));
        assert_eq!(
            parse_line("install /bin"),
            Ok(Action::Install("/bin".into()))
        );
        assert_eq!(parse_line("--version"), Ok(Action::Version));
        let target = Target {
            host: "git.example".into(),
            port: 22,
        };
        assert_eq!(
            parse_line("connect git.example 22"),
            Ok(Action::Connect(target))
        );
    }

    #[test]
    fn invalid_arguments_are_named() {
        for (line, named) in [
            ("--port 22", "--port"),
            ("--idle", "--idle needs"),
            ("--idle soon", "soon"),
            ("--ttl 0", "between 1"),
            ("--ttl -5", "whole number"),
            ("--on-expiry stop", "neither end nor pause"),
            ("--listen localhost:22", "IP:PORT"),
            ("install", "one directory"),
            ("install a b", "one directory"),
            ("connect a", "a host and a port"),
            ("connect a 22 b", "a host and a port"),
            ("connect a ssh", "the port ssh"),
            ("serve", "serve"),
        ] {
            let message = parse_line(line).unwrap_err();
            assert!(message.contains(named), "{line}: {message}");
        }
    }
}
