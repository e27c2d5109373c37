//! A command that outlives the program that started it: `cargo run --example background_job`.

use sandbox::prelude::*;

fn main() -> Result<()> {
    sandbox::local::init(); // first, before any thread
    run()
}

#[tokio::main]
async fn run() -> Result<()> {
    let client = Client::from_env().await?;
    // Detached: the sandbox outlives this program, until its lifetime ends.
    let sbx = client
        .sandbox()
        .detached()
        .ttl(std::time::Duration::from_secs(600))
        .create()
        .await?;
    let training = sbx.shell("for epoch in 1 2 3 4; do echo epoch $epoch; sleep 0.3; done; exit 7");
    let job = training.spawn_detached().await?;
    println!("started {} in {}", job.id(), sbx.id());

    // The rest could be another program on another machine. It needs only the two ids.
    let sandbox_id = sbx.id().clone();
    let job_id = job.id().clone();
    drop((sbx, job, client));

    let client = Client::from_env().await?;
    let sbx = client.connect(&sandbox_id).await?;
    for job in sbx.jobs().await? {
        println!(
            "{} {} has written {} bytes",
            job.id, job.program, job.log_bytes
        );
    }
    // Streams the log from its beginning, then new output, then the exit status.
    let mut log = sbx.job(job_id).follow().await?;
    while let Some(event) = log.next().await {
        match event? {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => {
                print!("{}", String::from_utf8_lossy(&bytes))
            }
            ExecEvent::Notice(notice) => eprintln!("{notice}"),
            ExecEvent::Exited(status) => println!("it ended: {status}"),
        }
    }
    sbx.delete().await
}
