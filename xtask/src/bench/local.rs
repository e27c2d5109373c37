//! Times local sandboxes next to OpenSSH with a ControlMaster, and next to plain processes.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;
use sandbox::{Client, Sandbox};

use super::figures::{Figures, table};
use super::openssh::OpenSsh;

const EXECS: usize = 500;
const CREATES: usize = 30;
const COMMAND: &str = "/bin/true";

pub(crate) fn run() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure())
}

async fn measure() -> Result<()> {
    let client = Client::from_env().await?;
    eprintln!("bench local: {EXECS} commands, {CREATES} creations");
    let sbx = client.sandbox().create().await?;
    let openssh = OpenSsh::start()?;
    let result = measure_exec(&sbx, openssh.as_ref()).await;
    sbx.delete().await?;
    result?;
    measure_lifecycle(&client).await
}

/// Times a short command. The peers are interleaved, so that other load on the machine affects all
/// alike.
async fn measure_exec(sbx: &Sandbox, openssh: Option<&OpenSsh>) -> Result<()> {
    let (mut ours, mut plain, mut master) =
        (Figures::default(), Figures::default(), Figures::default());
    for round in 0..EXECS + 20 {
        let warm = round >= 20;
        let start = Instant::now();
        sbx.command(COMMAND).output().await?.check()?;
        if warm {
            ours.add(start);
        }
        let start = Instant::now();
        tokio::task::spawn_blocking(|| Command::new(COMMAND).stdin(Stdio::null()).output())
            .await??;
        if warm {
            plain.add(start);
        }
        // OpenSSH is ten times as slow as the others, so it runs less often.
        if let Some(openssh) = openssh.filter(|_| round % 5 == 0) {
            let start = Instant::now();
            tokio::task::block_in_place(|| openssh.exec(COMMAND))?;
            if warm {
                master.add(start);
            }
        }
    }
    let rows = [
        ("plain fork and exec", Some(&plain)),
        ("sandbox, warm session", Some(&ours)),
        ("ssh with ControlMaster", openssh.map(|_| &master)),
    ];
    table(
        "`/bin/true`, from the call to its exit status",
        "plain fork and exec",
        &rows,
    );
    println!(
        "\nexpected: a warm exec under twice plain + 1 ms = {:.2} ms; it took {:.2} ms",
        2.0 * plain.median() + 1.0,
        ours.median()
    );
    Ok(())
}

/// Times creation, a first output and deletion.
async fn measure_lifecycle(client: &Client) -> Result<()> {
    let (mut created, mut first, mut deleted) =
        (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..CREATES {
        let start = Instant::now();
        let sbx = client.sandbox().create().await?;
        created.add(start);
        sbx.command("/bin/echo")
            .arg("out")
            .output()
            .await?
            .check()?;
        first.add(start);
        let start = Instant::now();
        sbx.delete().await?;
        deleted.add(start);
    }
    let rows = [
        ("create, until ready", Some(&created)),
        ("create to first output", Some(&first)),
        ("delete", Some(&deleted)),
    ];
    table("A sandbox's life", "create, until ready", &rows);
    println!(
        "\nexpected: create to first output under 100 ms; it took {:.1} ms",
        first.median()
    );
    Ok(())
}
