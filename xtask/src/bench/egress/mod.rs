//! Times downloads through a sandbox's way out next to the same without it, and through a plain forward proxy, on this machine.

mod network;
mod server;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sandbox::{Client, Dial, Egress, Resolve, Sandbox};

use self::network::{Loopback, relay};
use self::server::{Servers, serve};
use super::figures::{Figures, table};

/// The large file, and how often it is downloaded.
const SIZE: usize = 300 << 20;
const ROUNDS: usize = 5;
/// Requests on one connection, and connections with one request each.
const REQUESTS: usize = 500;
/// How many connections there are at once, and in total.
const AT_ONCE: usize = 500;
const IN_TOTAL: usize = 10_000;
/// What one of them downloads.
const SMALL: usize = 64 << 10;

const DIRECT: &str = "direct";
const RELAY: &str = "a plain forward proxy";
const EGRESS: &str = "from a sandbox, by its rules";

/// Opens connections to the proxy, so many at once, and downloads a file over each. Prints how many failed.
const CROWD: &str = r#"
import asyncio, os, sys
port = int(os.environ["HTTP_PROXY"].rsplit(":", 1)[1])
at_once, total, size = map(int, sys.argv[1:])
request = b"GET http://bench.test/small HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n"
async def one(places):
    async with places:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            got = 0
            while part := await reader.read(65536):
                got += len(part)
            writer.close()
            return got > size
        except OSError:
            return False
async def main():
    places = asyncio.Semaphore(at_once)
    done = await asyncio.gather(*(one(places) for _ in range(total)))
    print(done.count(False))
asyncio.run(main())
"#;

pub(crate) fn run() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let servers = serve(SIZE, SMALL).await?;
            let loopback = Arc::new(Loopback(servers.clone()));
            let proxy = relay(servers.https).await?;
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
            let ways = Ways {
                sandbox,
                servers,
                relay: proxy,
            };
            let measured = measure(&ways).await;
            ways.sandbox.delete().await?;
            measured
        })
}

async fn measure(ways: &Ways) -> Result<()> {
    downloads(ways).await?;
    requests(ways, "one request after the other on a connection", &[]).await?;
    let closing = ["-H", "Connection: close"];
    requests(ways, "a connection for each request", &closing).await?;
    crowd(ways).await
}

/// The ways to the same server.
struct Ways {
    sandbox: Sandbox,
    servers: Servers,
    relay: std::net::SocketAddr,
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
            command.args(["-x", &format!("http://{}", self.relay)]);
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
    eprintln!("bench egress: {ROUNDS} downloads of {} MiB", SIZE >> 20);
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
        &format!("{} MiB over HTTPS, with the start of curl", SIZE >> 20),
        &figures,
    );
    let speed = |figures: &Figures| (SIZE >> 20) as f64 / figures.median() * 1000.0;
    println!(
        "\nMiB/s: {:.0} direct, {:.0} through a plain forward proxy, {:.0} from a sandbox",
        speed(direct),
        speed(relay),
        speed(egress)
    );
    println!(
        "expected: at least 0.7 of the direct speed, up to 300 MB/s; it was {:.2}",
        direct.median() / egress.median()
    );
    Ok(())
}

async fn requests(ways: &Ways, title: &str, options: &[&str]) -> Result<()> {
    eprintln!("bench egress: {REQUESTS} requests, {title}");
    let url = format!("https://bench.test/tiny?[1-{REQUESTS}]");
    let arguments = [options, &[url.as_str()]].concat();
    let mut figures: [Figures; 3] = Default::default();
    for (way, figures) in [DIRECT, RELAY, EGRESS].iter().zip(&mut figures) {
        let printed = ways.curl(way, &arguments).await?;
        // The first ones warm everything up.
        for line in printed.lines().skip(REQUESTS / 10) {
            figures.add_duration(Duration::from_secs_f64(line.trim().parse()?));
        }
        ensure!(figures.len() >= REQUESTS * 8 / 10, "{printed}");
    }
    print_table(&format!("A small request over HTTPS: {title}"), &figures);
    let [direct, _, egress] = &figures;
    println!(
        "\nexpected: at most 1 ms more; it took {:.2} ms more",
        egress.median() - direct.median()
    );
    Ok(())
}

/// Many connections, and what they need of this process, which is the client with its proxy and also the server.
async fn crowd(ways: &Ways) -> Result<()> {
    eprintln!("bench egress: {IN_TOTAL} connections, {AT_ONCE} at once");
    println!(
        "\n### {AT_ONCE} connections at once, {} KiB each\n",
        SMALL >> 10
    );
    println!("| connections | seconds | failed | resident MiB after |\n|---:|---:|---:|---:|");
    println!("| 0 | | | {:.1} |", resident()?);
    for total in [AT_ONCE, IN_TOTAL, IN_TOTAL] {
        let start = Instant::now();
        let output = ways
            .sandbox
            .command("python3")
            .args(["-c", CROWD])
            .args([AT_ONCE, total, SMALL].map(|number| number.to_string()))
            .output()
            .await?
            .check()?;
        let failed = output.stdout_lossy();
        println!(
            "| {total} | {:.1} | {} | {:.1} |",
            start.elapsed().as_secs_f64(),
            failed.trim(),
            resident()?
        );
    }
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

/// The memory of this process, in MiB.
fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
