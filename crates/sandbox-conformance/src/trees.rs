//! Directory trees both ways.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use sandbox::{Error, TransferReason};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{transfer_reason, with_sandbox};

cases![
    a_tree_goes_in_and_comes_back,
    a_hostile_tree_stays_below,
    limits_hold,
    names_that_cannot_travel_are_named
];

async fn a_tree_goes_in_and_comes_back(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
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
        // Again, over what is there.
        sbx.upload_dir(&from, "tree/below").await?;
        let report = sbx.download_dir("tree/below", &to).await?;
        assert_eq!(
            (report.files, report.directories, report.symlinks),
            (51, 4, 1)
        );
        assert_eq!(report.skipped, []);
        same(&from, &to)?;
        sbx.download_dir("tree/below", &to).await?;
        same(&from, &to)?;
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

async fn a_hostile_tree_stays_below(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let (outside, to) = (directory.path().join("outside"), directory.path().join("to"));
        std::fs::create_dir_all(&outside)?;
        std::fs::create_dir_all(&to)?;
        // What a former download, or the user, may have left there.
        symlink(&outside, to.join("door"))?;
        sbx.shell(
            "mkdir -p evil/sub; cd evil; ln -s /etc/passwd abs; ln -s ../../.. up; ln -s sub inside; ln -s .. sub/top; ln -s sub/top/.. chain; mkfifo fifo;
             echo x > sub/file; chmod 6777 sub/file",
        )
        .output()
        .await?
        .check()?;
        let report = sbx.download_dir("evil", &to).await?;
        let mut skipped: Vec<_> = report.skipped.iter().map(|skipped| skipped.path.as_str()).collect();
        skipped.sort_unstable();
        assert_eq!(skipped, ["abs", "chain", "fifo", "up"]);
        assert_eq!(std::fs::metadata(to.join("sub/file"))?.permissions().mode() & 0o7777, 0o777);
        assert_eq!(std::fs::read_link(to.join("inside"))?, Path::new("sub"));

        sbx.shell("mkdir -p evil2/door; echo out > evil2/door/file").output().await?.check()?;
        assert!(sbx.download_dir("evil2", &to).await.is_err());
        assert_eq!(std::fs::read_dir(&outside)?.count(), 0, "nothing is written through a link");
        Ok(())
    })
    .await
}

async fn limits_hold(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        sbx.shell("mkdir many deep; cd many; for i in 1 2 3 4 5 6; do echo 12345 > $i; done; cd ../deep; mkdir -p a/b/c/d/e")
            .output()
            .await?
            .check()?;
        for (what, change) in [("many", 0), ("many", 1), ("deep", 2)] {
            let mut limits = sandbox::TreeLimits::default();
            match change {
                0 => limits.entries = 5,
                1 => limits.bytes = 35,
                _ => limits.depth = 3,
            }
            let result = sbx.transfer().limits(limits).download_dir(what, directory.path().join("to")).await;
            assert_eq!(transfer_reason(result), TransferReason::TooLarge);
        }
        assert!(!directory.path().join("to").exists(), "nothing was begun");
        Ok(())
    })
    .await
}

async fn names_that_cannot_travel_are_named(backend: TestedBackend) -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        std::fs::write(
            directory
                .path()
                .join(std::ffi::OsStr::from_bytes(b"a\xffb")),
            "x",
        )?;
        match sbx.upload_dir(directory.path(), "x").await {
            Err(Error::Transfer(error)) => assert_eq!(error.reason, TransferReason::BadName),
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await
}

/// Compares two trees: names, kinds, content, modes.
fn same(one: &Path, other: &Path) -> Outcome {
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
        let (one, other) = (one.join(&name), other.join(&name));
        let (was, is) = (one.symlink_metadata()?, other.symlink_metadata()?);
        assert_eq!(was.file_type(), is.file_type(), "{}", one.display());
        if was.is_dir() {
            same(&one, &other)?;
        } else if was.is_symlink() {
            assert_eq!(std::fs::read_link(&one)?, std::fs::read_link(&other)?);
        } else {
            assert_eq!(
                was.permissions().mode() & 0o777,
                is.permissions().mode() & 0o777,
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
