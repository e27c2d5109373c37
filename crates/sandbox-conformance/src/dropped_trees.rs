//! Copies of trees that are dropped before their end.

use std::path::Path;
use std::time::Duration;

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::with_sandbox;

cases![a_dropped_copy_leaves_no_incomplete_file];

/// More than arrives before the copy is dropped.
const SIZE: u64 = 512 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);

async fn a_dropped_copy_leaves_no_incomplete_file(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let directory = tempfile::tempdir()?;
        let from = directory.path().join("from");
        std::fs::create_dir(&from)?;
        std::fs::File::create(from.join("large"))?.set_len(SIZE)?;
        let there = async || -> sandbox::Result<Vec<String>> {
            let entries = sbx.files().list("tree").await?;
            Ok(entries.iter().map(|entry| entry.name.to_string()).collect())
        };
        let begun = async {
            while !matches!(there().await, Ok(names) if !names.is_empty()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            report = sbx.upload_dir(&from, "tree") => panic!("it is complete: {report:?}"),
            () = begun => {}
        }
        let removed = async {
            while !there().await?.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok::<(), sandbox::Error>(())
        };
        tokio::time::timeout(TIMEOUT, removed).await??;

        sbx.shell(format!(
            "truncate -s {SIZE} tree/large 2>/dev/null || head -c {SIZE} /dev/zero > tree/large"
        ))
        .output()
        .await?
        .check()?;
        let to = directory.path().join("to");
        let begun = async {
            while names(&to).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            report = sbx.download_dir("tree", &to) => panic!("it is complete: {report:?}"),
            () = begun => {}
        }
        let removed = async {
            while !names(&to).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, removed).await?;
        Ok(())
    })
    .await
}

fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(directory);
    let names = entries.into_iter().flatten().flatten();
    names.map(|entry| entry.file_name()).collect()
}
