//! Watches of directories.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox::{FilePath, WatchEventKind};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::with_sandbox;

cases![changes_are_reported, a_name_that_is_not_utf_8_is_reported];

async fn changes_are_reported(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let files = sbx.files();
        files.create_dir_all("d/e").await?;
        let watch = files
            .watch("d")
            .recursive(true)
            .interval(Duration::from_millis(20));
        let mut events = watch.events();
        // The end of the first scan is not reported. Files that are created after it are, so this
        // creates files until one is reported.
        let creating = async {
            for count in 0_u32.. {
                // A rename, because a write could be reported as two changes.
                files.write("x", "1").await?;
                files.rename("x", &format!("d/e/{count}")).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok::<_, sandbox::Error>(())
        };
        let first = tokio::select! {
            event = events.next() => event.expect("the watch continues")?,
            result = creating => panic!("nothing is reported: {result:?}"),
        };
        assert_eq!(first.kind, WatchEventKind::Created);
        assert!(first.path.as_bytes().starts_with(b"d/e/"), "{first:?}");
        // The watch is running: one change after the other is reported.
        let mut until = async |path: &FilePath, kind| loop {
            let event = events.next().await.expect("the watch continues")?;
            if event.path == *path && event.kind == kind {
                return Ok::<_, sandbox::Error>(());
            }
            assert!(
                event.path.as_bytes().starts_with(b"d/e/") && event.kind == WatchEventKind::Created,
                "{event:?}"
            );
        };
        files.set_mode(&first.path, 0o600).await?;
        until(&first.path, WatchEventKind::Modified).await?;
        files.write("x", "22").await?;
        files.rename("x", &first.path).await?;
        until(&first.path, WatchEventKind::Modified).await?;
        files.create_dir_all("d/f").await?;
        until(&"d/f".into(), WatchEventKind::Created).await?;
        files.remove_file(&first.path).await?;
        until(&first.path, WatchEventKind::Removed).await?;
        Ok(())
    })
    .await
}

async fn a_name_that_is_not_utf_8_is_reported(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        sbx.files().create_dir_all("d").await?;
        let mut events = sbx.files().watch("d").events();
        // A watch begins with what is there, so files are created until it has begun.
        let creating = async {
            for count in 0_u32.. {
                sbx.shell(format!("touch \"d/$(printf '{count}\\377')\""))
                    .output()
                    .await?
                    .check()?;
            }
            Ok::<_, sandbox::Error>(())
        };
        let event = tokio::select! {
            event = events.next() => event.expect("the watch continues")?,
            result = creating => panic!("nothing is reported: {result:?}"),
        };
        assert_eq!(event.kind, WatchEventKind::Created);
        assert!(event.path.as_bytes().ends_with(b"\xff"), "{event:?}");
        Ok(())
    })
    .await
}
