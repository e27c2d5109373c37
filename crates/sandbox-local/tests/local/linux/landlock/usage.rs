//! Ordinary work in a sandbox with Landlock.

use libtest_mimic::Trial;
use russh_sftp::client::SftpSession;
use rustix::process::geteuid;
use sandbox_core::protocol::{JOB, JOB_FOLLOW, JOB_SUBSYSTEM};
use sandbox_core::{ByteSize, DeleteOptions, SandboxBackend, SandboxSpec};
use tokio::io::AsyncWriteExt;

use crate::linux::support::{Result, Shell, World, assert_applied, read_channel, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        landlock_reports_what_is_applied,
        landlock_allows_ordinary_work,
    ]
}

async fn landlock_reports_what_is_applied() -> Result {
    let (world, info) = World::with_landlock().await?;
    assert_eq!(info.isolation.kind, "landlock");
    assert_applied(
        &info,
        &[
            "landlock files",
            "landlock signals",
            "seccomp",
            "no new sockets",
            "no_new_privs",
        ],
    );
    let home = info.home.clone().unwrap_or_default();
    let ran = world
        .run(
            &info,
            "pwd; echo $HOME; umask; ls -A; echo x > $TMPDIR/t && cat $TMPDIR/t; cd /tmp && ls",
        )
        .await?;
    assert_eq!(ran.stdout, format!("{home}\n{home}\n0022\nx\n"), "{ran:?}");
    let uid = world.uid(&info).await?;
    assert!(
        uid != 0 && (geteuid().is_root() || uid == geteuid().as_raw()),
        "{uid}"
    );
    let mut spec = SandboxSpec::default();
    spec.resources.disk = Some(ByteSize::from_mib(4));
    let error = world.create_error(spec).await?;
    assert!(error.to_string().contains("disk"), "{error}");
    world
        .backend
        .delete(&info.id, DeleteOptions::default())
        .await?;
    world.assert_nothing_left(&info).await?;
    assert!(!std::path::Path::new(&home).exists(), "{home} is left");
    Ok(())
}

async fn landlock_allows_ordinary_work() -> Result {
    let (world, info) = World::with_landlock().await?;
    let script = "mkdir -p a/b && echo x > a/b/f && mv a/b/f a/g && ln -s g a/l && cat a/l && rm -r a && head -c 4 /dev/urandom | wc -c \
                  && printf '#!/bin/sh\\necho ran' > s && sh ./s && echo piped | cat > /dev/null && cat < /dev/null; echo $((6*7)) | tr 4 4";
    let ran = world.run(&info, script).await?;
    assert_eq!(
        (ran.code, &*ran.stdout),
        (Some(0), "x\n4\nran\n42\n"),
        "{ran:?}"
    );
    for probe in ["threads", "run /bin/true", "call stream-pair"] {
        let output = world.probe(&info, probe).await?;
        assert!(output.starts_with("done"), "{probe}: {output}");
    }
    let shell = Shell::open(&world.backend.access(&info.id).await?).await?;

    let channel = shell.channel().await?;
    channel.request_subsystem(true, "sftp").await?;
    let sftp = SftpSession::new(channel.into_stream()).await?;
    let content = vec![7_u8; 300_000];
    let mut file = sftp.create("uploaded").await?;
    file.write_all(&content).await?;
    file.shutdown().await?;
    sftp.rename("uploaded", "renamed").await?;
    assert!(
        sftp.read("renamed").await? == content,
        "the download differs from the upload"
    );
    assert!(sftp.read("/etc/shadow").await.is_err() && sftp.read("/etc/passwd").await.is_err());

    let channel = shell.channel().await?;
    channel
        .request_pty(true, "xterm", 80, 24, 0, 0, &[])
        .await?;
    channel
        .exec(true, "tty && stty size && echo typed > /dev/tty")
        .await?;
    let ran = read_channel(channel).await?;
    assert!(
        ran.code == Some(0)
            && ran.stdout.starts_with("/dev/pts/")
            && ran.stdout.ends_with("24 80\r\ntyped\r\n"),
        "{ran:?}"
    );

    // A command can end the processes of another one.
    let started = world
        .run(&info, "sleep 600 > /dev/null 2>&1 & echo $!")
        .await?
        .stdout;
    let ran = world
        .run(&info, &format!("kill {}", started.trim()))
        .await?;
    assert_eq!(ran.code, Some(0), "{ran:?}");

    let channel = shell.channel().await?;
    channel.set_env(true, JOB, "build").await?;
    channel.exec(true, "echo built; exit 5").await?;
    assert_eq!(read_channel(channel).await?.code, Some(0));
    let channel = shell.channel().await?;
    channel.set_env(true, JOB, "build").await?;
    channel.set_env(true, JOB_FOLLOW, "1").await?;
    channel.request_subsystem(true, JOB_SUBSYSTEM).await?;
    let ran = read_channel(channel).await?;
    assert_eq!((ran.code, &*ran.stdout), (Some(5), "built\n"), "{ran:?}");
    Ok(())
}
