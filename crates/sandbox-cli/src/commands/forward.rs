//! `sandbox forward`: ports of a sandbox on this machine.

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, bail};
use futures_util::StreamExt;
use sandbox::Client;

use crate::args::id;
use crate::exit::Outcome;
use crate::ui::messages;

/// Reach ports inside a sandbox from this machine, until interrupted
///
/// Each is written LOCAL:INSIDE, or INSIDE alone for the same number on both sides; a LOCAL of 0, or
/// nothing before the colon, takes a free one. What listens inside may start later.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The address to listen on, or localhost; one that is not loopback lets the network in
    #[arg(long, value_name = "IP", default_value_t = LOCALHOST, value_parser = address)]
    address: IpAddr,
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
    /// Which ports
    #[arg(value_name = "[LOCAL:]INSIDE", required = true, value_parser = ports)]
    ports: Vec<Ports>,
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const EXAMPLES: &str = "Examples:
  sandbox forward ID 8080:80      # http://127.0.0.1:8080 leads to port 80 inside
  sandbox forward ID 5432 :6379   # the same number here, and a free one
  sandbox forward --address 0.0.0.0 ID 8000";

/// A port here and one inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    local: u16,
    inside: u16,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let sandbox = id::connect(client, &args.id).await?;
    if !args.address.is_loopback() {
        messages::note(&format!(
            "{} is not loopback: others on the network get in as well",
            args.address
        ));
    }
    // Dropping one closes its port.
    let mut open = Vec::new();
    for ports in args.ports {
        let local = SocketAddr::from((args.address, ports.local));
        let forward = sandbox.forward_from(local, ports.inside).await?;
        writeln!(
            std::io::stdout(),
            "{} -> {}",
            forward.local_addr(),
            ports.inside
        )
        .context("cannot write to standard output")?;
        open.push(forward);
    }
    // Until a signal comes, or the sandbox goes.
    let mut events = sandbox.events().await?;
    while let Some(event) = events.next().await {
        let event = event?;
        if event.kind.is_final() {
            bail!("sandbox {} has ended: {}", sandbox.id(), event.message);
        }
    }
    bail!("sandbox {} has ended", sandbox.id())
}

/// A word that people know, too: it is looked up nowhere.
fn address(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(LOCALHOST),
        text => text
            .parse()
            .map_err(|_| "use an IP address, or localhost".to_owned()),
    }
}

fn ports(text: &str) -> Result<Ports, String> {
    let (local, inside) = text.split_once(':').unwrap_or((text, text));
    let number = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("{text:?} is no port: use 1 to 65535"))
    };
    let inside = match number(inside)? {
        0 => return Err("the port inside cannot be 0".to_owned()),
        inside => inside,
    };
    Ok(Ports {
        local: if local.is_empty() { 0 } else { number(local)? },
        inside,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_the_word_for_it() {
        assert_eq!(address("localhost"), Ok(LOCALHOST));
        assert_eq!(address("::1").map(|ip| ip.is_loopback()), Ok(true));
        assert!(address("example.com").is_err());
    }

    #[test]
    fn ports_are_written_as_for_kubectl() {
        for (text, local, inside) in [
            ("80", 80, 80),
            ("8080:80", 8080, 80),
            (":80", 0, 80),
            ("0:80", 0, 80),
        ] {
            assert_eq!(ports(text).unwrap(), Ports { local, inside }, "{text}");
        }
        for text in ["", "0", "80:", "80:0", "x", "1:2:3", "65536", "-1"] {
            assert!(ports(text).is_err(), "{text}");
        }
    }
}
