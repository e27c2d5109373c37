//! Transfers that are resumed, that report their progress, or that append.

use std::sync::{Arc, Mutex};

use sandbox::{Discarded, TransferReason, partial_name};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{patterned_content, transfer_reason, with_sandbox};

cases![
    an_upload_is_resumed,
    a_download_is_resumed,
    progress_is_reported_and_its_callback_may_panic,
    content_is_appended,
];

async fn an_upload_is_resumed(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let local = directory.path().join("data");
        let data = patterned_content(3 << 20);
        std::fs::write(&local, &data)?;
        let files = sbx.files();
        let half = data.len() / 2;
        let partial = format!("d/{}", partial_name("data"));
        files.create_dir_all("d").await?;
        let mut tampered = data[..half].to_vec();
        tampered[100] ^= 1;
        let longer = [&data[..], b"more"].concat();
        for (partial_content, resumed_at, discarded) in [
            (None, 0, None),
            (Some(vec![]), 0, None),
            (Some(data[..half].to_vec()), half, None),
            (Some(data.clone()), data.len(), None),
            (Some(tampered), 0, Some(Discarded::Changed)),
            (Some(longer), data.len(), None),
        ] {
            if let Some(content) = partial_content {
                files.write(partial.clone(), content).await?;
            }
            let report = sbx.transfer().resume(true).upload(&local, "d/data").await?;
            assert_eq!(
                (report.bytes, report.resumed_at),
                (data.len() as u64, resumed_at as u64)
            );
            assert_eq!(report.discarded, discarded);
            assert!(files.read("d/data").await? == data);
            assert_eq!(files.list("d").await?.len(), 1, "nothing else is left");
        }
        // The source has changed since.
        files.write(partial.clone(), data[..half].to_vec()).await?;
        let other = patterned_content(half)
            .into_iter()
            .rev()
            .collect::<Vec<_>>();
        std::fs::write(&local, &other)?;
        let report = sbx.transfer().resume(true).upload(&local, "d/data").await?;
        assert_eq!(
            (report.resumed_at, report.discarded),
            (0, Some(Discarded::Changed))
        );
        assert!(files.read("d/data").await? == other);
        // A link with the name of the partial file is not followed.
        files.write("d/victim", "victim").await?;
        files.symlink("victim", &partial).await?;
        sbx.transfer().resume(true).upload(&local, "d/data").await?;
        assert_eq!(files.read("d/victim").await?, "victim");
        Ok(())
    })
    .await
}

async fn a_download_is_resumed(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let local = directory.path().join("data");
        let data = patterned_content(3 << 20);
        let partial = directory.path().join(partial_name("data"));
        let half = data.len() / 2;
        sbx.files().write("data", data.clone()).await?;
        let mut tampered = data[..half].to_vec();
        tampered[half - 1] ^= 1;
        let longer = [&data[..], b"more"].concat();
        for (partial_content, resumed_at, discarded) in [
            (None, 0, None),
            (Some(data[..half].to_vec()), half, None),
            (Some(data.clone()), data.len(), None),
            (Some(tampered), 0, Some(Discarded::Changed)),
            (Some(longer), data.len(), None),
        ] {
            if let Some(content) = partial_content {
                std::fs::write(&partial, content)?;
                // Only a private file is resumed.
                let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(&partial, private)?;
            }
            let report = sbx.transfer().resume(true).download("data", &local).await?;
            assert_eq!(
                (report.bytes, report.resumed_at),
                (data.len() as u64, resumed_at as u64)
            );
            assert_eq!(report.discarded, discarded);
            assert!(std::fs::read(&local)? == data);
            assert_eq!(
                std::fs::read_dir(directory.path())?.count(),
                1,
                "nothing else is left"
            );
        }
        // A link with the name of the partial file is neither followed nor overwritten.
        std::os::unix::fs::symlink("victim", &partial)?;
        std::fs::write(directory.path().join("victim"), "victim")?;
        sbx.transfer()
            .resume(true)
            .download("data", &local)
            .await
            .unwrap_err();
        assert_eq!(std::fs::read(directory.path().join("victim"))?, b"victim");
        let missing = sbx
            .transfer()
            .resume(true)
            .download("missing", &local)
            .await;
        assert_eq!(transfer_reason(missing), TransferReason::NotFound);
        Ok(())
    })
    .await
}

async fn progress_is_reported_and_its_callback_may_panic(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let from = directory.path().join("from");
        let to = directory.path().join("to");
        std::fs::create_dir(&from)?;
        let sizes = [0, 10, 100_000, 2 << 20];
        for size in sizes {
            std::fs::write(from.join(size.to_string()), patterned_content(size))?;
        }
        let total = sizes.iter().sum::<usize>() as u64;
        let reports = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&reports);
        let transfer = sbx.transfer().progress(move |progress| {
            sink.lock().unwrap().push(progress);
        });
        let last = || {
            let mut reports = reports.lock().unwrap();
            assert!(
                reports.is_sorted_by_key(|progress| progress.bytes),
                "progress never decreases"
            );
            let last = *reports.last().unwrap();
            reports.clear();
            (last.bytes, last.total, last.files)
        };
        transfer.upload_dir(&from, "tree").await?;
        assert_eq!(last(), (total, Some(total), 4));
        transfer.download_dir("tree", &to).await?;
        assert_eq!(last(), (total, Some(total), 4));
        transfer.upload(from.join("100000"), "one").await?;
        assert_eq!(last(), (100_000, Some(100_000), 1));
        transfer.download("one", to.join("one")).await?;
        assert_eq!(last(), (100_000, Some(100_000), 1));

        let panicking = sbx
            .transfer()
            .progress(|_| panic!("a callback that panics"));
        panicking.upload_dir(&from, "again").await?;
        assert_eq!(
            panicking.upload(from.join("100000"), "one").await?.bytes,
            100_000
        );
        Ok(())
    })
    .await
}

async fn content_is_appended(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.files();
        files.append("log", "one\n").await?;
        files.append("log", "two\n").await?;
        assert_eq!(files.read_to_string("log").await?, "one\ntwo\n");
        assert_eq!(
            transfer_reason(files.append("no/such/log", "x").await),
            TransferReason::NotFound
        );
        Ok(())
    })
    .await
}
