//! Sandboxes that exceed their limits while they run.

use std::error::Error as _;
use std::time::Duration;

use sandbox::{CommandCause, Error, Output, Sandbox};
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
    let reported = error_once_reported(&sbx, &lost, "evicted").await;
    sbx.delete().await?;
    println!("{lost:?}\n{reported}");
    assert!(
        matches!(
            &lost,
            Err(Error::Command {
                cause: CommandCause::Lost,
                ..
            })
        ),
        "{lost:?}"
    );
    assert!(
        reported.contains("evicted") && reported.contains("40Mi"),
        "{reported}"
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
    let reported = match &ended {
        Ok(_) => String::new(),
        Err(_) => error_once_reported(&sbx, &ended, OUT_OF_MEMORY).await,
    };
    sbx.delete().await?;
    match ended {
        // The kernel killed only the largest process of the container.
        Ok(output) => assert!(!output.status.success(), "{output:?}"),
        // Newer kubelets let the kernel kill the whole container.
        Err(error) => assert!(
            reported.contains(OUT_OF_MEMORY),
            "{}: {reported}",
            with_source(&error)
        ),
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
    // The kernel may kill the command first and the server next.
    let reported = error_once_reported(&sbx, &filled, OUT_OF_MEMORY).await;
    sbx.delete().await?;
    println!("{filled:?}\n{reported}");
    assert!(!filled.is_ok_and(|output| output.status.success()));
    assert!(reported.contains(OUT_OF_MEMORY), "{reported}");
    Ok(())
}

/// Part of the message for a Pod whose memory limit was exceeded.
const OUT_OF_MEMORY: &str = "more memory than its limit of 32Mi";

/// The first error that contains the text, of a command that has ended or of a later one; or the last error. A kubelet
/// ends a container first and reports the reason a moment later, or, on a busy node, many seconds later.
async fn error_once_reported(sbx: &Sandbox, ended: &sandbox::Result<Output>, text: &str) -> String {
    let mut error = ended
        .as_ref()
        .map_or_else(with_source, |output| format!("{output:?}"));
    for _ in 0..120 {
        if error.contains(text) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        if let Err(later) = sbx.command("true").output().await {
            error = with_source(&later);
        }
    }
    error
}

/// The error with its source, which has the diagnosis.
fn with_source(error: &Error) -> String {
    let source = error.source().map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}
