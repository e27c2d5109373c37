//! Sandboxes that exceed their limits while they run.

use std::error::Error as _;

use sandbox::{CommandCause, Error};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::{PodOptions, PodVolume, VolumeSource};

use crate::cluster::{admin_backend, client_for, defaults, options};

cases![
    a_full_disk_evicts_the_pod,
    too_much_memory_ends_a_process_or_the_pod,
    a_full_memory_volume_ends_the_pod,
];

async fn a_full_disk_evicts_the_pod(_: TestedBackend) -> Outcome {
    let sbx = client_for(admin_backend(options()).await?, defaults())
        .sandbox()
        .disk("40Mi")
        .create()
        .await?;
    let fill = "dd if=/dev/zero of=large bs=1M count=100 2>/dev/null; sleep 300";
    let lost = sbx.shell(fill).output().await;
    sbx.delete().await?;
    let error = lost.expect_err("the Pod was evicted");
    assert!(
        matches!(
            &error,
            Error::Command {
                cause: CommandCause::Lost,
                ..
            }
        ),
        "{error:?}"
    );
    let error = with_source(&error);
    println!("{error}");
    assert!(
        error.contains("evicted") && error.contains("40Mi"),
        "{error}"
    );
    Ok(())
}

async fn too_much_memory_ends_a_process_or_the_pod(_: TestedBackend) -> Outcome {
    let sbx = client_for(admin_backend(options()).await?, defaults())
        .sandbox()
        .memory("32Mi")
        .create()
        .await?;
    let ended = sbx.shell("tail /dev/zero").output().await;
    sbx.delete().await?;
    match ended {
        // The kernel killed only the largest process of the container.
        Ok(output) => assert!(!output.status.success(), "{output:?}"),
        // Newer kubelets let the kernel kill the whole container.
        Err(error) => {
            let error = with_source(&error);
            assert!(error.contains(OUT_OF_MEMORY), "{error}");
        }
    }
    Ok(())
}

/// Files in a memory volume belong to no process, so the kernel frees nothing by killing processes,
/// and in the end kills the server. `dd` uses less memory than the server, so that it is not killed
/// first: without it and with almost nothing free, the kernel could for minutes evict the pages of
/// the server's program and read them again.
async fn a_full_memory_volume_ends_the_pod(_: TestedBackend) -> Outcome {
    let volume = PodVolume::new("m", "/m", VolumeSource::Memory(Some("256Mi".into())));
    let client = client_for(admin_backend(options()).await?, defaults());
    let pod = PodOptions::new().volume(volume).to_value()?;
    let sbx = client
        .sandbox()
        .memory("32Mi")
        .backend_options("k8s", pod)
        .create()
        .await?;
    let filled = sbx
        .command("dd")
        .args(["if=/dev/zero", "of=/m/x", "bs=4k", "count=51200"])
        .output()
        .await;
    // The kernel may kill the command first and the server next, which the kubelet reports a moment
    // later. Until then the error may give another cause.
    let mut last_error = format!("{filled:?}");
    for _ in 0..6 {
        if last_error.contains(OUT_OF_MEMORY) {
            break;
        }
        if let Err(error) = sbx.command("true").output().await {
            last_error = with_source(&error);
        }
    }
    sbx.delete().await?;
    println!("{filled:?}\n{last_error}");
    assert!(!filled.is_ok_and(|output| output.status.success()));
    assert!(last_error.contains(OUT_OF_MEMORY), "{last_error}");
    Ok(())
}

/// Part of the message for a Pod whose memory limit was exceeded.
const OUT_OF_MEMORY: &str = "more memory than its limit of 32Mi";

/// The error with its source, which has the diagnosis.
fn with_source(error: &Error) -> String {
    let source = error.source().map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}
