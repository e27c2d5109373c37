//! Copies to what exists already: files with modes, links, FIFOs and devices, on both sides.

use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use sandbox::TransferReason;

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{transfer_reason, with_sandbox};

cases![
    written_files_keep_their_mode,
    links_are_written_through,
    special_files_get_the_bytes,
    resumable_transfers_follow_links,
    a_single_download_is_limited,
    a_partial_file_of_others_is_not_used,
];

async fn written_files_keep_their_mode(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let script = "echo old > run; chmod 755 run; cp run piped; echo old > private; \
                      chmod 600 private";
        sbx.shell(script).output().await?.check()?;
        let files = sbx.files();
        files.write("run", "#!/bin/sh\necho ran\n").await?;
        files.write("private", "new").await?;
        sbx.upload_from(&b"#!/bin/sh\necho ran\n"[..], "piped")
            .await?;
        for name in ["./run", "./piped"] {
            let out = sbx.command(name).output().await?.check()?;
            assert_eq!(out.stdout, "ran\n");
        }
        assert_eq!(files.stat("private").await?.mode, 0o600);
        files.write("absent", "new").await?;
        assert_eq!(files.stat("absent").await?.mode, 0o644);
        Ok(())
    })
    .await
}

async fn links_are_written_through(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("d"))?;
        std::fs::write(path("d/target"), "old")?;
        symlink("d/target", path("link"))?;
        symlink("link", path("second"))?;
        symlink("d/new", path("dangling"))?;
        let files = sbx.files();
        files.write("content", "content").await?;
        for (link, target) in [("second", "d/target"), ("dangling", "d/new")] {
            sbx.download("content", path(link)).await?;
            assert!(path(link).is_symlink(), "{link}");
            assert_eq!(std::fs::read_to_string(path(target))?, "content");
        }
        let script = "mkdir e; echo old > e/target; ln -s e/target link; ln -s e/new dangling";
        sbx.shell(script).output().await?.check()?;
        for (link, target) in [("link", "e/target"), ("dangling", "e/new")] {
            sbx.upload(path("second"), link).await?;
            assert_eq!(files.read_to_string(target).await?, "content");
            assert!(files.read_link(link).await.is_ok(), "{link}");
        }
        assert_eq!(files.list("e").await?.len(), 2, "nothing else is left");
        Ok(())
    })
    .await
}

async fn special_files_get_the_bytes(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let fifo = directory.path().join("fifo");
        let source = directory.path().join("source");
        let content = "line\n".repeat(50_000);
        std::fs::write(&source, &content)?;
        make_fifo(&fifo)?;
        sbx.upload(&source, "f").await?;
        let reader = fifo.clone();
        let reading = tokio::task::spawn_blocking(move || std::fs::read(reader));
        assert_eq!(sbx.download("f", &fifo).await?, content.len() as u64);
        assert!(reading.await?? == content.as_bytes());
        assert!(fifo.symlink_metadata()?.file_type().is_fifo());
        // A wait for the other end can be cancelled.
        let waiting = sbx.download("f", &fifo);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(100), waiting).await;
        assert!(waited.is_err());
        sbx.download("f", "/dev/null").await?;
        assert!(
            Path::new("/dev/null")
                .symlink_metadata()?
                .file_type()
                .is_char_device()
        );
        assert_eq!(
            transfer_reason(sbx.download("f", "/dev/full").await),
            TransferReason::NoSpace
        );

        sbx.shell("mkfifo fifo").output().await?.check()?;
        let reading = sbx.shell("cat fifo | wc -c").output();
        let (count, sent) = tokio::join!(reading, sbx.upload(&source, "fifo"));
        assert_eq!(sent?, content.len() as u64);
        let count = count?.check()?.stdout_lossy();
        assert_eq!(count.trim(), content.len().to_string());
        sbx.upload(&source, "/dev/null").await?;
        let kinds = sbx.shell("stat -c %F fifo /dev/null").output().await?;
        assert_eq!(kinds.stdout, "fifo\ncharacter special file\n");
        Ok(())
    })
    .await
}

async fn resumable_transfers_follow_links(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("source"), "content")?;
        std::fs::write(path("target"), "old")?;
        symlink("target", path("link"))?;
        sbx.shell("echo old > target; ln -s target link; mkfifo fifo")
            .output()
            .await?
            .check()?;
        let transfer = sbx.transfer().resume(true);
        transfer.upload(path("source"), "link").await?;
        assert_eq!(sbx.files().read_to_string("target").await?, "content");
        assert_eq!(sbx.files().read_link("link").await?, "target");
        transfer.download("target", path("link")).await?;
        assert_eq!(std::fs::read_to_string(path("target"))?, "content");
        assert!(path("link").is_symlink());
        assert!(transfer.upload(path("source"), "fifo").await.is_err());
        assert!(transfer.download("target", "/dev/null").await.is_err());
        Ok(())
    })
    .await
}

async fn a_single_download_is_limited(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let local = directory.path().join("file");
        // 8 TiB and 40 MiB, in bytes: busybox knows no suffix for the first.
        let script = "set -e; truncate -s 8796093022208 huge; truncate -s 41943040 sparse; \
                      printf x >> sparse; : > empty";
        sbx.shell(script).output().await?.check()?;
        for resume in [false, true] {
            let transfer = sbx.transfer().resume(resume);
            assert_eq!(
                transfer_reason(transfer.download("huge", &local).await),
                TransferReason::TooLarge
            );
            let mut limits = sandbox::TreeLimits::default();
            limits.bytes = 16 << 40;
            let unlimited = transfer.clone().limits(limits);
            assert_eq!(
                transfer_reason(unlimited.download("huge", &local).await),
                TransferReason::NoSpace
            );
            std::fs::remove_file(directory.path().join(sandbox::partial_name("file"))).ok();
            assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
            let size = transfer.download("sparse", &local).await?.bytes;
            let content = std::fs::read(&local)?;
            assert_eq!((size, content.len()), ((40 << 20) + 1, (40 << 20) + 1));
            assert!(content[..40 << 20].iter().all(|byte| *byte == 0));
            assert_eq!(content.last(), Some(&b'x'));
            let used = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&local)?) * 512;
            assert!(used < 1 << 20, "{used} bytes are used");
            transfer.download("empty", &local).await?;
            std::fs::remove_file(&local)?;
        }
        Ok(())
    })
    .await
}

async fn a_partial_file_of_others_is_not_used(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let local = directory.path().join("file");
        let partial = directory.path().join(sandbox::partial_name("file"));
        sbx.shell("echo secret > file; chmod 600 file")
            .output()
            .await?
            .check()?;
        std::fs::write(&partial, "")?;
        std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(0o666))?;
        let transfer = sbx.transfer().resume(true);
        let report = transfer.download("file", &local).await?;
        assert_eq!(report.discarded, Some(sandbox::Discarded::NotPrivate));
        assert_eq!(std::fs::read(&partial)?, b"", "nothing is written to it");
        assert_eq!(std::fs::read(&local)?, b"secret\n");
        assert_eq!(
            std::fs::metadata(&local)?.permissions().mode() & 0o777,
            0o600
        );
        Ok(())
    })
    .await
}

fn make_fifo(path: &Path) -> Outcome {
    let made = Command::new("mkfifo").arg(path).status()?;
    assert!(made.success());
    Ok(())
}
