//! Single files.

use std::os::unix::fs::PermissionsExt;
use std::pin::Pin;
use std::task::{Context, Poll};

use sandbox::{Error, FileKind, TransferReason};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{transfer_reason, with_sandbox};

cases![
    content_is_read_back_unchanged,
    upload_and_download_keep_mode_and_time,
    files_can_be_listed_renamed_and_removed,
    failures_have_a_reason,
    a_failed_upload_leaves_nothing,
    a_file_deleted_during_its_upload_is_complete_or_absent,
    a_failed_download_keeps_the_previous_file,
    a_full_local_disk_is_reported,
];

async fn content_is_read_back_unchanged(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.files();
        for size in [0, 1, 32768, 32769, 3 << 20] {
            let content: Vec<u8> = (0..size)
                .map(|index: usize| (index * 7 + index / 251) as u8)
                .collect();
            files.write("data", content.clone()).await?;
            assert!(files.read("data").await? == content, "{size} bytes");
            let out = sbx.shell("wc -c < data").output().await?.check()?;
            assert_eq!(out.stdout_lossy().trim(), size.to_string());
        }
        assert_eq!(
            files
                .list(".")
                .await?
                .iter()
                .filter(|entry| entry.name.to_string().contains("data"))
                .count(),
            1
        );
        Ok(())
    })
    .await
}

async fn upload_and_download_keep_mode_and_time(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let local = directory.path().join("tool.sh");
        std::fs::write(&local, "#!/bin/sh\necho ran\n")?;
        std::fs::set_permissions(&local, std::fs::Permissions::from_mode(0o750))?;
        assert_eq!(sbx.upload(&local, "tool.sh").await?, 19);
        assert_eq!(
            sbx.command("./tool.sh").output().await?.check()?.stdout,
            "ran\n"
        );

        sbx.shell("chmod 4711 tool.sh").output().await?.check()?;
        let back = directory.path().join("back.sh");
        assert_eq!(sbx.download("tool.sh", &back).await?, 19);
        let original = std::fs::metadata(&local)?;
        let copy = std::fs::metadata(&back)?;
        assert_eq!(
            copy.permissions().mode() & 0o7777,
            0o711,
            "set-uid is stripped"
        );
        let seconds = |time: std::time::SystemTime| {
            time.duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_secs()
        };
        assert_eq!(seconds(copy.modified()?), seconds(original.modified()?));
        Ok(())
    })
    .await
}

async fn files_can_be_listed_renamed_and_removed(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.files();
        files.create_dir_all("a/b/c").await?;
        files.create_dir_all("a/b/c").await?;
        files.write("a/file", "x").await?;
        files.symlink("file", "a/link").await?;
        sbx.shell("mkfifo a/fifo").output().await?.check()?;
        let kinds: Vec<_> = files
            .list("a")
            .await?
            .into_iter()
            .map(|entry| (entry.name, entry.kind))
            .collect();
        let expected = [
            ("b", FileKind::Directory),
            ("fifo", FileKind::Other),
            ("file", FileKind::File),
            ("link", FileKind::Symlink),
        ];
        assert_eq!(kinds, expected.map(|(name, kind)| (name.into(), kind)));
        assert_eq!(files.read_link("a/link").await?, "file");
        assert_eq!(files.stat("a/link").await?.kind, FileKind::File);
        files.rename("a/file", "a/other").await?;
        files.write("a/third", "y").await?;
        files.rename("a/third", "a/other").await?;
        assert_eq!(files.read_to_string("a/other").await?, "y");
        files.set_mode("a/other", 0o600).await?;
        assert_eq!(files.stat("a/other").await?.mode, 0o600);
        assert!(files.exists("a").await? && !files.exists("b").await?);
        files.remove_dir_all("a").await?;
        assert!(!files.exists("a").await?);
        // Directories that must never be removed as a whole.
        for directory in ["/", "", ".", "//", "./.."] {
            assert!(
                matches!(
                    files.remove_dir_all(directory).await,
                    Err(Error::Invalid { .. })
                ),
                "{directory:?}"
            );
        }
        Ok(())
    })
    .await
}

async fn failures_have_a_reason(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.files();
        assert_eq!(
            transfer_reason(files.read("missing").await),
            TransferReason::NotFound
        );
        transfer_reason(files.write("/usr/bin/x", "x").await);
        assert_eq!(
            transfer_reason(files.write("no/such/directory/x", "x").await),
            TransferReason::NotFound
        );
        assert_eq!(
            transfer_reason(sbx.upload("/no/such/file", "x").await),
            TransferReason::NotFound
        );
        assert!(
            sbx.upload("/", "x")
                .await
                .unwrap_err()
                .to_string()
                .contains("upload_dir")
        );
        sbx.shell("mkdir closed; touch closed/x; chmod 0 closed")
            .output()
            .await?
            .check()?;
        assert_eq!(
            transfer_reason(files.read("closed/x").await),
            TransferReason::PermissionDenied
        );
        assert_eq!(
            transfer_reason(files.write("closed/y", "x").await),
            TransferReason::PermissionDenied
        );
        sbx.shell("chmod 700 closed; printf '\\377' > binary")
            .output()
            .await?
            .check()?;
        assert!(files.read_to_string("binary").await.is_err());
        Ok(())
    })
    .await
}

async fn a_failed_upload_leaves_nothing(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let before = sbx.files().list(".").await?;
        let mut request = sandbox::UploadRequest::new("half");
        request.size = Some(100);
        // The file shrinks during the upload.
        let short = Box::new(std::io::Cursor::new(vec![1; 50]));
        assert_eq!(
            transfer_reason(sbx.session().upload(request, short).await),
            TransferReason::SizeChanged
        );
        // The file disappears during the upload, for example with the disk that it was on.
        assert_eq!(
            transfer_reason(
                sbx.session()
                    .upload(
                        sandbox::UploadRequest::new("deleted"),
                        Box::new(VanishingFile { pieces: 3 })
                    )
                    .await
            ),
            TransferReason::NotFound
        );
        // The upload is cancelled while it waits for the file.
        let (reader, writer) = tokio::io::duplex(1 << 20);
        let upload = sbx
            .session()
            .upload(sandbox::UploadRequest::new("never"), Box::new(reader));
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(300), upload)
                .await
                .is_err()
        );
        drop(writer);
        for _ in 0..50 {
            if sbx.files().list(".").await? == before {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Err(format!("left: {:?}", sbx.files().list(".").await?).into())
    })
    .await
}

async fn a_failed_download_keeps_the_previous_file(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let local = directory.path().join("file");
        std::fs::write(&local, "previous")?;
        sbx.shell("echo secret > closed; chmod 0 closed")
            .output()
            .await?
            .check()?;
        assert_eq!(
            transfer_reason(sbx.download("closed", &local).await),
            TransferReason::PermissionDenied
        );
        assert_eq!(
            transfer_reason(sbx.download("missing", &local).await),
            TransferReason::NotFound
        );
        assert_eq!(
            transfer_reason(
                sbx.download("missing", directory.path().join("no/such/x"))
                    .await
            ),
            TransferReason::NotFound
        );
        assert_eq!(std::fs::read_to_string(&local)?, "previous");
        assert_eq!(std::fs::read_dir(directory.path())?.count(), 1);
        Ok(())
    })
    .await
}

async fn a_full_local_disk_is_reported(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        for size in [10, 1 << 20] {
            sbx.files().write("data", vec![1; size]).await?;
            // Every write to /dev/full fails as on a full disk.
            let full = tokio::fs::File::options()
                .write(true)
                .open("/dev/full")
                .await?;
            let download = sbx
                .session()
                .download(sandbox::DownloadRequest::new("data"), Box::new(full));
            assert_eq!(
                transfer_reason(download.await),
                TransferReason::NoSpace,
                "{size} bytes"
            );
        }
        Ok(())
    })
    .await
}

async fn a_file_deleted_during_its_upload_is_complete_or_absent(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let local = directory.path().join("data");
        std::fs::write(&local, vec![7; 8 << 20])?;
        let (size, ()) = tokio::join!(sbx.upload(&local, "data"), async {
            tokio::task::yield_now().await;
            std::fs::remove_file(&local).unwrap();
        });
        // A file that was deleted after it was opened can still be read.
        match size {
            Ok(size) => {
                assert_eq!(size, 8 << 20);
                assert!(sbx.files().read("data").await? == vec![7; 8 << 20]);
            }
            Err(Error::Transfer(error)) => {
                assert_eq!(error.reason, TransferReason::NotFound);
                assert!(!sbx.files().exists("data").await?);
            }
            Err(other) => panic!("{other}"),
        }
        Ok(())
    })
    .await
}

/// A file that can be read for some pieces, and then is missing.
struct VanishingFile {
    pieces: u32,
}

impl tokio::io::AsyncRead for VanishingFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.pieces == 0 {
            return Poll::Ready(Err(std::io::ErrorKind::NotFound.into()));
        }
        self.pieces -= 1;
        buffer.put_slice(&[7; 1000]);
        Poll::Ready(Ok(()))
    }
}
