//! Files, directories and whole trees: `cargo run --example files_and_trees`.

use sandbox::prelude::*;

fn main() -> Result<()> {
    sandbox::local::init(); // first, before any thread
    run()
}

#[tokio::main]
async fn run() -> Result<()> {
    let client = Client::from_env().await?;
    let sbx = client.sandbox().create().await?;
    let files = sbx.files();

    // Relative paths start at the sandbox's home directory.
    files.create_dir_all("project/src").await?;
    files.write("project/src/main.py", "print(6 * 7)\n").await?;
    files
        .write("project/run.sh", "python3 src/main.py > answer.txt\n")
        .await?;
    files.set_mode("project/run.sh", 0o755).await?;
    files.symlink("src/main.py", "project/entry").await?;
    sbx.command("sh")
        .arg("run.sh")
        .current_dir("project")
        .output()
        .await?
        .check()?;
    print!(
        "the answer is {}",
        files.read_to_string("project/answer.txt").await?
    );

    for entry in files.list("project").await? {
        println!(
            "{:04o} {:>6} {}",
            entry.mode & 0o7777,
            entry.size,
            entry.name
        );
    }

    // A tree is downloaded with its modes, times and links. Links that lead out of the directory,
    // such as one to /etc, and devices and FIFOs are skipped and reported.
    sbx.shell("ln -s /etc/passwd project/tempting; mkfifo project/pipe")
        .output()
        .await?
        .check()?;
    let here = std::env::temp_dir().join(format!("{}-project", sbx.id()));
    let report = sbx.download_dir("project", &here).await?;
    println!(
        "{} files, {} links, {} bytes to {}",
        report.files,
        report.symlinks,
        report.bytes,
        here.display()
    );
    for skipped in &report.skipped {
        println!("skipped {}: {}", skipped.path, skipped.reason);
    }

    // Upload it under another name. Existing files are replaced atomically.
    let report = sbx.upload_dir(&here, "copy").await?;
    println!("{} files back in", report.files);
    let same = sbx
        .command("diff")
        .args([
            "-r",
            "--exclude=tempting",
            "--exclude=pipe",
            "project",
            "copy",
        ])
        .status();
    println!("they are the same: {}", same.await?.success());

    // An error says which file failed, and why.
    let missing = files.read("no/such/file").await;
    println!(
        "{}",
        missing
            .err()
            .map_or_else(String::new, |error| error.to_string())
    );

    std::fs::remove_dir_all(&here).ok(); // created by this example
    sbx.delete().await
}
