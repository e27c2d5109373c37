//! Many connections at once, and what they need of this process, which is the client with its proxy.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use sandbox::{ExecEvent, Sandbox};

use super::server::SMALL;

/// How many connections there are at once, and in total. They are repeated, because memory is flat only once the
/// allocator has seen the worst.
const CROWDS: [(usize, usize); 6] = [
    (500, 500),
    (500, 10_000),
    (500, 10_000),
    (500, 10_000),
    (500, 20_000),
    (1000, 10_000),
];
/// How many are held open without a use.
const HELD: [usize; 2] = [500, 1000];

/// Opens connections to the proxy, so many at once, and downloads a file over each. Prints how many failed.
const DOWNLOAD: &str = r#"
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

/// Opens tunnels with TLS, says how many there are, and keeps them open until its input ends.
const HOLD: &str = r#"
import os, socket, ssl, sys
port = int(os.environ["HTTP_PROXY"].rsplit(":", 1)[1])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
held = []
for _ in range(int(sys.argv[1])):
    one = socket.create_connection(("127.0.0.1", port))
    one.sendall(b"CONNECT bench.test:443 HTTP/1.1\r\nHost: bench.test:443\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += one.recv(1)
    held.append(context.wrap_socket(one, server_hostname="bench.test"))
print(len(held), flush=True)
sys.stdin.read()
"#;

/// Downloads a small file over each of many connections.
pub(super) async fn download(sandbox: &Sandbox) -> Result<()> {
    println!("\n### Many connections, {} KiB each\n", SMALL >> 10);
    println!(
        "| at once | in total | seconds | failed | MiB in RAM at most | after |\n|---:|---:|---:|---:|---:|---:|"
    );
    println!("| 0 | 0 | | | | {:.1} |", memory("VmRSS")?);
    for (at_once, total) in CROWDS {
        eprintln!("bench egress: {total} connections, {at_once} at once");
        forget_peak()?;
        let start = Instant::now();
        let output = sandbox
            .command("python3")
            .args(["-c", DOWNLOAD])
            .args([at_once, total, SMALL].map(|number| number.to_string()))
            .output()
            .await?
            .check()?;
        let failed = output.stdout_lossy();
        println!(
            "| {at_once} | {total} | {:.1} | {} | {:.1} | {:.1} |",
            start.elapsed().as_secs_f64(),
            failed.trim(),
            memory("VmHWM")?,
            memory("VmRSS")?
        );
    }
    Ok(())
}

/// Holds many tunnels open.
pub(super) async fn hold(sandbox: &Sandbox) -> Result<()> {
    println!("\n### Open TLS tunnels that carry nothing\n");
    println!("| open | MiB in RAM | KiB for each |\n|---:|---:|---:|");
    let before = memory("VmRSS")?;
    println!("| 0 | {before:.1} | |");
    for count in HELD {
        eprintln!("bench egress: {count} open tunnels");
        let mut holding = sandbox
            .command("python3")
            .args(["-c", HOLD, &count.to_string()])
            .stdin_piped()
            .spawn()
            .await?;
        let opened = holding.next().await.transpose()?;
        let Some(ExecEvent::Stdout(_)) = opened else {
            bail!("the tunnels were not opened: {opened:?}");
        };
        let now = memory("VmRSS")?;
        println!(
            "| {count} | {now:.1} | {:.1} |",
            (now - before) * 1024.0 / count as f64
        );
        drop(holding.take_stdin());
        while let Some(event) = holding.next().await {
            event?;
        }
    }
    Ok(())
}

/// Lets the peak of the memory begin anew (proc(5), clear_refs).
fn forget_peak() -> Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("the peak of the memory stays")
}

/// A field of the memory of this process, in MiB.
fn memory(field: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .with_context(|| format!("no {field}"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
