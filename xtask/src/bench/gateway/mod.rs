//! Times what goes through the gateway next to the same over a direct session, on the backend that the environment names.

mod api;
pub(super) mod server;
mod streams;
mod transfer;

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use sandbox::{Client, Sandbox};

use self::api::{Api, Created};
use self::server::Server;
use super::figures::{Figures, table};

const CREATES: usize = 60;
/// On a cluster each round takes a quarter of a minute.
const CREATES_ON_CLUSTER: usize = 12;
const COMMANDS: usize = 400;
/// What E2B's SDKs send for `commands.run("true")`.
const COMMAND: [&str; 4] = ["/bin/bash", "-l", "-c", "true"];
/// E2B's own published median, on other machines (computesdk.com/benchmarks, 1 April 2026).
const HOSTED_MS: f64 = 440.0;

/// Times the named parts, or all.
pub(crate) fn run(parts: &[&str]) -> Result<()> {
    const PARTS: [&str; 4] = ["creations", "commands", "transfer", "streams"];
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        bail!("{unknown} is no part of `bench gateway`: name some of {PARTS:?}, or none for all");
    }
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let server = Server::start()?;
            let api = Api::new(server.address(), server.key());
            let client = Client::from_env().await?;
            if wanted("creations") {
                creations(&api, &client).await?;
            }
            if wanted("commands") {
                commands(&api, &client).await?;
            }
            if wanted("transfer") {
                transfer::measure(&api, &client).await?;
            }
            if wanted("streams") {
                streams::measure(&api, &server).await?;
            }
            Ok(())
        })
}

/// Times from the request to create a sandbox to the first output of a command in it.
async fn creations(api: &Api, client: &Client) -> Result<()> {
    let creates = if crate::is_cluster_the_backend() {
        CREATES_ON_CLUSTER
    } else {
        CREATES
    };
    eprintln!("bench gateway: {creates} creations");
    let (mut direct, mut cold, mut warm) =
        (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..creates {
        let start = Instant::now();
        let sbx = client.sandbox().create().await?;
        let mut used = Vec::new();
        let measured = async {
            sbx.command("echo").arg("out").output().await?.check()?;
            direct.add(start);
            for (template, figures) in [(server::COLD, &mut cold), (server::WARM, &mut warm)] {
                let start = Instant::now();
                let created = api.create(template).await?;
                used.push(created.clone());
                let mut connection = api.connect().await?;
                let output = connection.run(&created, &["echo", "out"]).await?;
                figures.add(start);
                ensure!(output == b"out\n", "`echo` printed {output:?}");
            }
            Ok(())
        }
        .await;
        // Together: an old kubelet keeps the object of a Pod for ten seconds after its end.
        let killed = try_join_all(used.iter().map(|created| api.kill(created)));
        let (deleted, killed) = tokio::join!(sbx.delete(), killed);
        measured?;
        deleted?;
        killed?;
    }
    let peer = "a direct creation";
    table(
        "From a create request to the first output",
        peer,
        &[
            (peer, Some(&direct)),
            ("through the gateway", Some(&cold)),
            ("through the gateway, from a warm pool", Some(&warm)),
        ],
    );
    println!(
        "\npublished for the hosted service, on other machines: {HOSTED_MS} ms median; from a warm pool it took {:.1} ms",
        warm.median()
    );
    Ok(())
}

/// Times a command that does nothing, over a connection that is open already.
async fn commands(api: &Api, client: &Client) -> Result<()> {
    eprintln!("bench gateway: {COMMANDS} commands");
    let created = api.create(server::COLD).await?;
    let sbx = attach(client, &created).await?;
    let mut connection = api.connect().await?;
    let (mut direct, mut through) = (Figures::default(), Figures::default());
    for round in 0..COMMANDS + 20 {
        let start = Instant::now();
        let [program, arguments @ ..] = COMMAND;
        sbx.command(program)
            .args(arguments)
            .output()
            .await?
            .check()?;
        let is_warm = round >= 20;
        if is_warm {
            direct.add(start);
        }
        let start = Instant::now();
        connection.run(&created, &COMMAND).await?;
        if is_warm {
            through.add(start);
        }
    }
    drop(sbx);
    api.kill(&created).await?;
    let peer = "a direct session";
    table(
        "`bash -l -c true`, from the call to its end",
        peer,
        &[
            (peer, Some(&direct)),
            ("through the gateway", Some(&through)),
        ],
    );
    println!(
        "\nexpected: at most 1 ms more; it took {:.2} ms more",
        through.median() - direct.median()
    );
    Ok(())
}

/// Connects to a sandbox of the gateway without it.
async fn attach(client: &Client, created: &Created) -> Result<Sandbox> {
    let id = created.id.parse().context("the id of a sandbox")?;
    Ok(client.connect(&id).await?)
}
