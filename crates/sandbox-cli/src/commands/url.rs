//! `sandbox url`: the address of a port at a gateway.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use sandbox::Client;
use sandbox_gateway::PreviewSigner;

use crate::args::id;
use crate::args::values::parse_positive_duration;
use crate::exit::Outcome;
use crate::ui::printable::Printable;
use crate::ui::table::print;

/// Print an address that opens a port of a sandbox, at a gateway in front of it
///
/// Whoever has the address can reach this port, until it expires or the sandbox ends; a sandbox that is created later
/// under the same id does not accept it. It is signed here: the gateway (sandbox serve) is not asked, and must run with
/// the same signing key.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Scheme and domain of the gateway, such as https://sbx.example.com
    #[arg(long, value_name = "ORIGIN")]
    gateway: String,
    /// File with the signing key of the gateway
    #[arg(long, value_name = "FILE")]
    signing_key: PathBuf,
    /// How long the address opens the port, such as 30m or 8h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_positive_duration)]
    ttl: Duration,
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Port that a program in the sandbox listens on
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

const EXAMPLES: &str = "Example:
  sandbox url --gateway https://sbx.example.com --signing-key signing.key --ttl 8h ID 3000";

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let key = std::fs::read(&args.signing_key)
        .with_context(|| format!("cannot read {}", args.signing_key.display()))?;
    let signer = PreviewSigner::new(&key, &args.gateway)?;
    let id = id::resolve(client, &args.id).await?;
    let info = client.get_sandbox_info(&id).await?;
    let url = signer.sign(&info.id, &info.uid, args.port, args.ttl);
    print(&Printable::line(url))
}
