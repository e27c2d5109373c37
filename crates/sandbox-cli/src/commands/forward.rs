//! `sandbox forward`: forwards local ports to ports in a sandbox.

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, bail};
use futures_util::StreamExt;
use sandbox::Client;

use crate::args::id;
use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::stdio::Stdout;

/// Forward local ports to ports in a sandbox, until interrupted
///
/// Write LOCAL:INSIDE, or INSIDE alone to use the same number on both sides. If LOCAL is 0 or
/// missing before the colon, a free port is used. The program in the sandbox may start listening
/// later.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Local address to listen on; with a non-loopback address, the network can connect, too
    #[arg(long, value_name = "IP", default_value_t = LOCALHOST, value_parser = parse_address)]
    address: IpAddr,
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Ports to forward
    #[arg(value_name = "[LOCAL:]INSIDE", required = true, value_parser = parse_ports)]
    ports: Vec<Ports>,
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const EXAMPLES: &str = "Examples:
  sandbox forward ID 8080:80      # http://127.0.0.1:8080 is port 80 in the sandbox
  sandbox forward ID 5432 :6379   # local port 5432, and a free local port
  sandbox forward --address 0.0.0.0 ID 8000";

/// A local port and a port in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    local: u16,
    inside: u16,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let sandbox = id::connect(client, &args.id).await?;
    if !args.address.is_loopback() {
        messages::print_note(&format!(
            "{} is not a loopback address; other hosts on the network can connect, too",
            args.address
        ));
    }
    #[cfg(unix)]
    raise_descriptor_limit();
    // Dropping a forward closes its port.
    let mut forwards = Vec::new();
    for ports in args.ports {
        let local = SocketAddr::from((args.address, ports.local));
        let forward = sandbox.forward_from(local, ports.inside).await?;
        writeln!(Stdout, "{} -> {}", forward.local_addr(), ports.inside)
            .context("cannot write to stdout")?;
        forwards.push(forward);
    }
    // The ports stay open until a signal arrives or the sandbox ends.
    let mut events = sandbox.events().await?;
    while let Some(event) = events.next().await {
        let event = event?;
        if event.kind.is_final() {
            bail!("sandbox {} has ended: {}", sandbox.id(), event.message);
        }
    }
    bail!("sandbox {} has ended", sandbox.id())
}

/// Allows as many open files as the system permits, because each connection takes two, and the usual
/// limit is 1024, on macOS 256.
#[cfg(unix)]
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    /// Above all connections together; macOS refuses an unlimited number.
    const WANTED: u64 = 4096;
    let mut limit = getrlimit(Resource::Nofile);
    let permitted = limit.maximum.unwrap_or(WANTED).min(WANTED);
    if limit.current.is_some_and(|current| current < permitted) {
        limit.current = Some(permitted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "limit of open files not raised");
        }
    }
}

/// Parses an IP address or `localhost`, which is the only name and needs no lookup.
fn parse_address(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(LOCALHOST),
        text => text
            .parse()
            .map_err(|_| "use an IP address, or localhost".to_owned()),
    }
}

fn parse_ports(text: &str) -> Result<Ports, String> {
    let (local, inside) = text.split_once(':').unwrap_or((text, text));
    let parse_port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("{text:?} is not a port; use 1 to 65535"))
    };
    let inside = match parse_port(inside)? {
        0 => return Err("the port in the sandbox cannot be 0".to_owned()),
        inside => inside,
    };
    Ok(Ports {
        local: if local.is_empty() {
            0
        } else {
            parse_port(local)?
        },
        inside,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_ip_or_localhost() {
        assert_eq!(parse_address("localhost"), Ok(LOCALHOST));
        assert_eq!(parse_address("::1").map(|ip| ip.is_loopback()), Ok(true));
        assert!(parse_address("example.com").is_err());
    }

    #[test]
    fn ports_are_parsed_as_by_kubectl() {
        for (text, local, inside) in [
            ("80", 80, 80),
            ("8080:80", 8080, 80),
            (":80", 0, 80),
            ("0:80", 0, 80),
        ] {
            assert_eq!(
                parse_ports(text).unwrap(),
                Ports { local, inside },
                "{text}"
            );
        }
        for text in ["", "0", "80:", "80:0", "x", "1:2:3", "65536", "-1"] {
            assert!(parse_ports(text).is_err(), "{text}");
        }
    }
}
