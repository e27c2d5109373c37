//! Holds many streams open at once.

use std::time::Instant;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;

use super::api::{Api, Created, Stream};
use super::server::{self, Server};

const STREAMS: usize = 1000;
/// How many sandboxes share them, so that the limit on processes of one does not matter.
const SANDBOXES: usize = 10;

pub(super) async fn measure(api: &Api, server: &Server) -> Result<()> {
    eprintln!("bench gateway: {STREAMS} streams at once");
    let mut sandboxes = Vec::new();
    for _ in 0..SANDBOXES {
        sandboxes.push(api.create(server::COLD).await?);
    }
    let before = server.memory()?;
    let start = Instant::now();
    let opened = (0..STREAMS).map(|number| open(api, &sandboxes[number % SANDBOXES]));
    let mut streams = try_join_all(opened).await?;
    let opened = start.elapsed();
    let idle = server.memory()?;

    let start = Instant::now();
    let echoes = streams
        .iter_mut()
        .enumerate()
        .map(|(number, (stream, pid))| echo(api, &sandboxes[number % SANDBOXES], stream, *pid));
    try_join_all(echoes).await?;
    let echoed = start.elapsed();
    ensure!(streams.len() == STREAMS);
    drop(streams);
    for sandbox in &sandboxes {
        api.kill(sandbox).await?;
    }
    println!("\n### {STREAMS} streams at once, in {SANDBOXES} sandboxes\n");
    println!("* opened in {:.2} s", opened.as_secs_f64());
    println!(
        "* {:.1} KiB of memory of the gateway for each, idle",
        (idle.saturating_sub(before)) as f64 / 1024.0 / STREAMS as f64
    );
    println!(
        "* a line to each and back, all at once: {:.2} s",
        echoed.as_secs_f64()
    );
    Ok(())
}

async fn open(api: &Api, sandbox: &Created) -> Result<(Stream, u64)> {
    let connection = api.connect().await?;
    let mut stream = connection.into_stream(sandbox, &["cat"]).await?;
    let pid = stream.pid().await?;
    Ok((stream, pid))
}

async fn echo(api: &Api, sandbox: &Created, stream: &mut Stream, pid: u64) -> Result<()> {
    // "line\n"
    let message = json!({"process": {"pid": pid}, "input": {"stdin": "bGluZQo="}});
    let mut connection = api.connect().await?;
    connection
        .call(sandbox, "/process.Process/SendInput", &message)
        .await?;
    stream.output().await
}
