//! Uploads and downloads of directory trees.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use sandbox::{FilePath, TransferReason};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{transfer_reason, with_sandbox};

cases![
    a_tree_is_uploaded_and_downloaded_unchanged,
    a_hostile_tree_stays_in_its_directory,
    limits_are_enforced,
    a_tree_with_names_that_are_not_utf_8_is_unchanged
];

async fn a_tree_is_uploaded_and_downloaded_unchanged(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let from = directory.path().join("from");
        let to = directory.path().join("to");
        std::fs::create_dir_all(from.join("a/b/empty"))?;
        for index in 0..50 {
            std::fs::write(
                from.join(format!("a/file {index}")),
                vec![index; usize::from(index) * 100],
            )?;
        }
        std::fs::write(from.join("a/b/run"), "#!/bin/sh\n")?;
        std::fs::set_permissions(from.join("a/b/run"), std::fs::Permissions::from_mode(0o755))?;
        symlink("../file 7", from.join("a/b/link"))?;

        let report = sbx.upload_dir(&from, "tree/below").await?;
        assert_eq!(
            (report.files, report.directories, report.symlinks),
            (51, 4, 1)
        );
        // A second upload replaces the files.
        sbx.upload_dir(&from, "tree/below").await?;
        let report = sbx.download_dir("tree/below", &to).await?;
        assert_eq!(
            (report.files, report.directories, report.symlinks),
            (51, 4, 1)
        );
        assert_eq!(report.skipped, []);
        assert_same_tree(&from, &to)?;
        sbx.download_dir("tree/below", &to).await?;
        assert_same_tree(&from, &to)?;
        assert!(sbx.upload_dir(from.join("no"), "x").await.is_err());
        assert_eq!(
            transfer_reason(
                sbx.download_dir("nothing", directory.path().join("x"))
                    .await
            ),
            TransferReason::NotFound
        );
        assert!(!directory.path().join("x").exists());
        Ok(())
    })
    .await
}

async fn a_hostile_tree_stays_in_its_directory(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let outside = directory.path().join("outside");
        let to = directory.path().join("to");
        std::fs::create_dir_all(&outside)?;
        std::fs::create_dir_all(&to)?;
        // A link that an earlier download, or the user, may have left there.
        symlink(&outside, to.join("door"))?;
        let script = "mkdir -p evil/sub; cd evil; ln -s /etc/passwd abs; ln -s ../../.. up; \
                      ln -s sub inside; ln -s .. sub/top; ln -s sub/top/.. chain; mkfifo fifo; \
                      echo x > sub/file; chmod 6777 sub/file";
        sbx.shell(script).output().await?.check()?;
        let report = sbx.download_dir("evil", &to).await?;
        let mut skipped: Vec<_> = report
            .skipped
            .iter()
            .map(|skipped| skipped.path.clone())
            .collect();
        skipped.sort_unstable();
        assert_eq!(skipped, ["abs", "chain", "fifo", "up"]);
        assert_eq!(
            std::fs::metadata(to.join("sub/file"))?.permissions().mode() & 0o7777,
            0o775
        );
        assert_eq!(std::fs::read_link(to.join("inside"))?, Path::new("sub"));

        sbx.shell("mkdir -p evil2/door; echo out > evil2/door/file")
            .output()
            .await?
            .check()?;
        let report = sbx.download_dir("evil2", &to).await?;
        assert_eq!(report.failures, 1);
        report.check().unwrap_err();
        assert_eq!(
            std::fs::read_dir(&outside)?.count(),
            0,
            "nothing is written through a link"
        );
        Ok(())
    })
    .await
}

async fn limits_are_enforced(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let script = "mkdir many deep; cd many; for i in 1 2 3 4 5 6; do echo 12345 > $i; done; \
                      cd ../deep; mkdir -p a/b/c/d/e";
        sbx.shell(script).output().await?.check()?;
        let limits = sandbox::TreeLimits::default;
        let mut few_entries = limits();
        few_entries.entries = 5;
        let mut few_bytes = limits();
        few_bytes.bytes = 35;
        let mut low_depth = limits();
        low_depth.depth = 3;
        for (tree, limits) in [
            ("many", few_entries),
            ("many", few_bytes),
            ("deep", low_depth),
        ] {
            let transfer = sbx.transfer().limits(limits);
            let result = transfer
                .download_dir(tree, directory.path().join("to"))
                .await;
            assert_eq!(transfer_reason(result), TransferReason::TooLarge);
        }
        assert!(
            !directory.path().join("to").exists(),
            "nothing may be written"
        );
        Ok(())
    })
    .await
}

async fn a_tree_with_names_that_are_not_utf_8_is_unchanged(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let name = OsStr::from_bytes(b"caf\xe9");
        let from = directory.path().join("from");
        std::fs::create_dir_all(from.join(name).join("\u{fffd}"))?;
        std::fs::write(from.join(name).join(name), "small")?;
        std::fs::write(from.join(OsStr::from_bytes(&[0xff; 255])), [7; 100_000])?;
        symlink(OsStr::from_bytes(b"\xfe"), from.join("link"))?;
        let report = sbx.upload_dir(&from, "tree").await?;
        assert_eq!((report.files, report.symlinks), (2, 1));
        let to = directory.path().join("to");
        let report = sbx.download_dir("tree", &to).await?;
        assert_eq!((report.files, report.symlinks), (2, 1));
        assert_same_tree(&from, &to)?;

        // One file, and its partial file.
        let path = FilePath::from("tree").join(b"caf\xe9").join(b"caf\xe9");
        let transfer = sbx.transfer().resume(true);
        let one = directory.path().join(name);
        transfer.download(&path, &one).await?;
        transfer.upload(&one, b"\xff").await?;
        assert_eq!(sbx.files().read(b"\xff").await?, "small");
        sbx.shell("mkfifo \"tree/$(printf '\\351')\"")
            .output()
            .await?
            .check()?;
        let report = sbx.download_dir("tree", &to).await?;
        assert_eq!(report.skipped[0].path, FilePath::from(b"\xe9"));
        Ok(())
    })
    .await
}

/// Compares two trees: names, kinds, contents and modes.
fn assert_same_tree(one: &Path, other: &Path) -> Outcome {
    let list = |path: &Path| -> std::io::Result<Vec<_>> {
        let mut names = std::fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    let names = list(one)?;
    assert_eq!(names, list(other)?, "{}", one.display());
    for name in names {
        let one = one.join(&name);
        let other = other.join(&name);
        let metadata = one.symlink_metadata()?;
        let other_metadata = other.symlink_metadata()?;
        assert_eq!(
            metadata.file_type(),
            other_metadata.file_type(),
            "{}",
            one.display()
        );
        if metadata.is_dir() {
            assert_same_tree(&one, &other)?;
        } else if metadata.is_symlink() {
            assert_eq!(std::fs::read_link(&one)?, std::fs::read_link(&other)?);
        } else {
            assert_eq!(
                metadata.permissions().mode() & 0o777,
                other_metadata.permissions().mode() & 0o777,
                "{}",
                one.display()
            );
            assert!(
                std::fs::read(&one)? == std::fs::read(&other)?,
                "{}",
                one.display()
            );
        }
    }
    Ok(())
}
