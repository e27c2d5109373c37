//! Times downloads through a sandbox's way out next to the same without it, and through a plain forward proxy, on this machine.

mod crowd;
mod network;
pub(super) mod server;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sandbox::{Client, Dial, Egress, Resolve, Sandbox};

use self::network::Loopback;
use self::server::{LARGE, Process, Servers};
use super::figures::{Figures, table};

/// How often the large file is downloaded.
const ROUNDS: usize = 9;
/// Rounds of requests, and how many each has: on one connection, or on as many.
const REQUEST_ROUNDS: usize = 10;
const REQUESTS: usize = 60;
/// The first of a round, which warm everything up.
const WARM_UP: usize = 10;

const DIRECT: &str = "direct";
const RELAY: &str = "a plain forward proxy";
const EGRESS: &str = "from a sandbox, by its rules";

/// Times the named parts, or all.
pub(crate) fn run(parts: &[&str]) -> Result<()> {
    const PARTS: [&str; 4] = ["downloads", "requests", "held", "crowds"];
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        bail!("{unknown} is no part of `bench egress`: name some of {PARTS:?}, or none for all");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let (_process, servers) = Process::start()?;
            let loopback = Arc::new(Loopback(servers.clone()));
            let client = Client::from_env().await?;
            let sandbox = client
                .sandbox()
                .egress(Egress::none().allow("bench.test")?)
                .egress_through(
                    Arc::clone(&loopback) as Arc<dyn Resolve>,
                    Arc::clone(&loopback) as Arc<dyn Dial>,
                )
                .create()
                .await?;
            let ways = Ways { sandbox, servers };
            let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
            let measured = measure(&ways, wanted).await;
            ways.sandbox.delete().await?;
            measured
        })
}

async fn measure(ways: &Ways, wanted: impl Fn(&str) -> bool) -> Result<()> {
    if wanted("downloads") {
        downloads(ways).await?;
    }
    if wanted("requests") {
        requests(ways, "one request after the other on a connection", &[]).await?;
        let closing = ["-H", "Connection: close"];
        requests(ways, "a connection for each request", &closing).await?;
    }
    if wanted("held") {
        crowd::hold(&ways.sandbox).await?;
    }
    if wanted("crowds") {
        crowd::download(&ways.sandbox).await?;
    }
    Ok(())
}

/// The ways to the same server.
struct Ways {
    sandbox: Sandbox,
    servers: Servers,
}

impl Ways {
    /// Runs curl on one of the ways, and returns what it prints.
    async fn curl(&self, way: &str, arguments: &[&str]) -> Result<String> {
        let usual = ["-sS", "-k", "-o", "/dev/null", "-w", "%{time_total}\n"];
        let arguments = [&usual[..], arguments].concat();
        if way == EGRESS {
            let output = self
                .sandbox
                .command("curl")
                .args(&arguments)
                .output()
                .await?;
            return Ok(output.check()?.stdout_lossy());
        }
        let mut command = Command::new("curl");
        if way == RELAY {
            command.args(["-x", &format!("http://{}", self.servers.relay)]);
        } else {
            let place = format!("bench.test:443:{}", self.servers.https);
            command.args(["--noproxy", "*", "--connect-to", &place]);
        }
        command.args(&arguments);
        let output = tokio::task::spawn_blocking(move || command.output())
            .await?
            .context("cannot run curl; install it")?;
        ensure!(output.status.success(), "curl: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

async fn downloads(ways: &Ways) -> Result<()> {
    eprintln!("bench egress: {ROUNDS} downloads of {} MiB", LARGE >> 20);
    let mut figures: [Figures; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (way, figures) in [DIRECT, RELAY, EGRESS].iter().zip(&mut figures) {
            let start = Instant::now();
            ways.curl(way, &["https://bench.test/large"]).await?;
            figures.add(start);
        }
    }
    let [direct, relay, egress] = &figures;
    print_table(
        &format!("{} MiB over HTTPS, with the start of curl", LARGE >> 20),
        &figures,
    );
    let speed = |figures: &Figures| (LARGE >> 20) as f64 / figures.median() * 1000.0;
    println!(
        "\nMiB/s: {:.0} direct, {:.0} through a plain forward proxy, {:.0} from a sandbox",
        speed(direct),
        speed(relay),
        speed(egress)
    );
    println!(
        "expected: at least 0.7 of the direct speed, but no more than 300 MB/s; it was {:.2}, {:.0} MB/s",
        direct.median() / egress.median(),
        speed(egress) * f64::from(1 << 20) / 1e6
    );
    Ok(())
}

async fn requests(ways: &Ways, title: &str, options: &[&str]) -> Result<()> {
    eprintln!("bench egress: {REQUEST_ROUNDS} times {REQUESTS} requests, {title}");
    let url = format!("https://bench.test/tiny?[1-{REQUESTS}]");
    let arguments = [options, &[url.as_str()]].concat();
    let mut figures: [Figures; 3] = Default::default();
    for _ in 0..REQUEST_ROUNDS {
        for (way, figures) in [DIRECT, RELAY, EGRESS].iter().zip(&mut figures) {
            let printed = ways.curl(way, &arguments).await?;
            for line in printed.lines().skip(WARM_UP) {
                figures.add_duration(Duration::from_secs_f64(line.trim().parse()?));
            }
        }
    }
    for figures in &figures {
        let expected = REQUEST_ROUNDS * (REQUESTS - WARM_UP);
        ensure!(
            figures.len() == expected,
            "curl printed {} times",
            figures.len()
        );
    }
    print_table(&format!("A small request over HTTPS: {title}"), &figures);
    let [direct, _, egress] = &figures;
    println!(
        "\nexpected: at most 1 ms more; it took {:.2} ms more",
        egress.median() - direct.median()
    );
    Ok(())
}

fn print_table(title: &str, figures: &[Figures; 3]) {
    let [direct, relay, egress] = figures;
    let rows = [
        (DIRECT, Some(direct)),
        (RELAY, Some(relay)),
        (EGRESS, Some(egress)),
    ];
    table(title, DIRECT, &rows);
}
