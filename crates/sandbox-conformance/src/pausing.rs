//! Pausing a sandbox and resuming it.

use std::time::{Duration, SystemTime};

use sandbox::{Error, ExitStatus, OnExpiry, Sandbox};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{wait_until_deleted, with_sandbox};

cases![
    everything_stops_and_continues,
    what_was_stopped_before_stays_stopped,
    processes_that_keep_starting_others_are_stopped,
    programs_that_cannot_be_traced_are_stopped,
    the_ttl_stands_still_while_a_sandbox_is_paused,
    a_sandbox_can_be_paused_at_the_end_of_its_ttl,
    the_hard_end_ends_a_paused_sandbox,
    one_that_is_gone_is_not_found,
];

/// A job that counts in a file, ten times a second.
const COUNT: &str =
    "n=0; while :; do n=$((n+1)); echo $n > count.new; mv count.new count; sleep 0.1; done";

/// Waits until a file has other content than `former`, and returns it.
async fn wait_for_change(sbx: &Sandbox, file: &str, former: &str) -> Outcome<String> {
    for _ in 0..100 {
        if let Ok(now) = sbx.files().read_to_string(file).await
            && now != former
            && !now.is_empty()
        {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let states = "cat errors 2> /dev/null; grep -H -E '^(Name|State|PPid):' /proc/[0-9]*/status";
    let states = sbx.shell(states).output().await?;
    Err(format!("{file} does not change:\n{}", states.stdout_lossy()).into())
}

/// Checks that a file does not change for a while.
async fn assert_still(sbx: &Sandbox, file: &str) -> Outcome {
    let before = sbx.files().read_to_string(file).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sbx.files().read_to_string(file).await?, before);
    Ok(())
}

async fn everything_stops_and_continues(backend: TestedBackend) -> Outcome {
    let other = backend.new_client();
    with_sandbox(backend, |sbx| async move {
        let job = sbx.shell(COUNT).spawn_detached().await?;
        wait_for_change(&sbx, "count", "").await?;
        // An orphan, which is no child of the server.
        let orphan =
            "(setsid sh -c 'while :; do date +%s%N > orphan; sleep 0.1; done' &) > /dev/null 2>&1";
        sbx.shell(orphan).output().await?.check()?;
        wait_for_change(&sbx, "orphan", "").await?;
        let running = sbx.command("sleep").arg("3").spawn().await?;

        assert!(sbx.pause().await?);
        assert!(!sbx.pause().await?, "it is paused already");
        assert!(sbx.pause_state().await?.is_paused);
        assert_still(&sbx, "count").await?;
        assert_still(&sbx, "orphan").await?;
        let info = other.get_sandbox_info(sbx.id()).await?;
        assert!(info.is_paused(SystemTime::now()), "{info:?}");

        // Files can be used, and nothing is started.
        sbx.files().write("written", "while paused").await?;
        let refused = sbx.command("true").output().await?;
        assert_eq!(refused.status, ExitStatus::Code(126));
        assert!(
            refused.stderr_lossy().contains("sandbox resume"),
            "{refused:?}"
        );
        let refused = sbx.command("true").spawn_detached().await;
        assert!(
            matches!(&refused, Err(error) if error.to_string().contains("sandbox resume")),
            "{refused:?}"
        );

        // Any client may resume it.
        let second = other.connect(sbx.id()).await?;
        assert!(second.resume(None).await?);
        assert!(!sbx.resume(None).await?, "it is not paused any more");
        let count = sbx.files().read_to_string("count").await?;
        wait_for_change(&sbx, "count", &count).await?;
        let date = sbx.files().read_to_string("orphan").await?;
        wait_for_change(&sbx, "orphan", &date).await?;
        assert_eq!(running.output(1024).await?.status, ExitStatus::Code(0));
        let info = other.get_sandbox_info(sbx.id()).await?;
        assert!(!info.is_paused(SystemTime::now()), "{info:?}");
        job.signal(sandbox::Signal::Kill).await?;
        Ok(())
    })
    .await
}

async fn what_was_stopped_before_stays_stopped(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let start = format!("(setsid sh -c 'echo $$ > pid; {COUNT}' &) > /dev/null 2>&1");
        sbx.shell(start).output().await?.check()?;
        wait_for_change(&sbx, "count", "").await?;
        let stop = "kill -STOP $(cat pid); sleep 0.5";
        sbx.shell(stop).output().await?.check()?;
        sbx.pause().await?;
        sbx.resume(None).await?;
        assert_still(&sbx, "count").await?;
        let count = sbx.files().read_to_string("count").await?;
        sbx.shell("kill -CONT $(cat pid)").output().await?.check()?;
        wait_for_change(&sbx, "count", &count).await?;
        Ok(())
    })
    .await
}

async fn processes_that_keep_starting_others_are_stopped(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        // Each starts its successor and ends, so that there is always one that a listing may miss.
        let relay = "printf '%s\\n' 'echo $$ > runner' 'exec 2>> errors' 'sh relay & exit' > relay; \
                     (setsid sh relay &) > /dev/null 2>&1";
        sbx.shell(relay).output().await?.check()?;
        wait_for_change(&sbx, "runner", "").await?;
        for _ in 0..3 {
            sbx.pause().await?;
            assert_still(&sbx, "runner").await?;
            let runner = sbx.files().read_to_string("runner").await?;
            sbx.resume(None).await?;
            wait_for_change(&sbx, "runner", &runner).await?;
        }
        sbx.shell("rm relay").output().await?.check()?;
        Ok(())
    })
    .await
}

async fn programs_that_cannot_be_traced_are_stopped(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        // A program that may not be read may not be traced either, and so may be missing in /proc.
        let copied =
            "mkdir d; cp \"$(command -v sh)\" d/sh; chmod 111 d/sh; d/sh -c 'sleep 0; echo works'";
        if sbx.shell(copied).output().await?.stdout_lossy() != "works\n" {
            // busybox finds its programs by reading itself.
            eprintln!("skipped: the image's shell does not work if it may not be read");
            return Ok(());
        }
        let start = format!("(setsid d/sh -c '{COUNT}' &) > /dev/null 2>&1");
        sbx.shell(start).output().await?.check()?;
        wait_for_change(&sbx, "count", "").await?;
        sbx.pause().await?;
        assert_still(&sbx, "count").await?;
        let count = sbx.files().read_to_string("count").await?;
        sbx.resume(None).await?;
        wait_for_change(&sbx, "count", &count).await?;
        Ok(())
    })
    .await
}

async fn the_ttl_stands_still_while_a_sandbox_is_paused(backend: TestedBackend) -> Outcome {
    const TTL: Duration = Duration::from_secs(15);
    let sbx = backend.sandbox().ttl(TTL).create().await?;
    sbx.pause().await?;
    let left = sbx.pause_state().await?.ttl_seconds.ok_or("no ttl")?;
    tokio::time::sleep(TTL).await;
    assert_eq!(sbx.pause_state().await?.ttl_seconds, Some(left));
    sbx.resume(None).await?;
    sbx.command("true").output().await?.check()?;
    wait_until_deleted(&backend, sbx.id()).await?;
    Ok(())
}

async fn a_sandbox_can_be_paused_at_the_end_of_its_ttl(backend: TestedBackend) -> Outcome {
    const TTL: Duration = Duration::from_secs(10);
    let sbx = backend
        .sandbox()
        .ttl(TTL)
        .on_expiry(OnExpiry::Pause)
        .create()
        .await?;
    let outcome = async {
        sbx.shell(COUNT).spawn_detached().await?;
        wait_for_change(&sbx, "count", "").await?;
        for _ in 0..300 {
            if sbx.pause_state().await?.is_paused {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_still(&sbx, "count").await?;
        let client = backend.new_client();
        // The clock of the cluster may be a little late.
        let later = SystemTime::now() + Duration::from_secs(30);
        assert!(client.get_sandbox_info(sbx.id()).await?.is_paused(later));
        // Nobody deletes it.
        if let Err(error) = client.sweep(Default::default()).await {
            // An account that may not list what a sweep removes cannot remove it.
            eprintln!("not swept: {error}");
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(sbx.resume(Some(TTL * 60)).await?);
        sbx.command("true").output().await?.check()?;
        let info = client.get_sandbox_info(sbx.id()).await?;
        assert!(!info.is_paused(SystemTime::now()), "{info:?}");
        // From now on it ends then.
        sbx.set_on_expiry(OnExpiry::End).await?;
        sbx.set_ttl(Duration::from_secs(1)).await?;
        wait_until_deleted(&backend, sbx.id()).await
    }
    .await;
    sbx.delete().await?;
    outcome
}

async fn the_hard_end_ends_a_paused_sandbox(backend: TestedBackend) -> Outcome {
    let sbx = backend
        .sandbox()
        .max_lifetime(Duration::from_secs(15))
        .create()
        .await?;
    sbx.pause().await?;
    wait_until_deleted(&backend, sbx.id()).await?;
    let gone = backend.new_client().connect(sbx.id()).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    Ok(())
}

async fn one_that_is_gone_is_not_found(backend: TestedBackend) -> Outcome {
    let sbx = backend.sandbox().create().await?;
    // It ends without this handle, whose connection is open.
    backend.new_client().delete_sandbox(sbx.id()).await?;
    for (name, called) in [
        ("pause", sbx.pause().await.map(drop)),
        ("resume", sbx.resume(None).await.map(drop)),
        ("pause_state", sbx.pause_state().await.map(drop)),
        ("set_on_expiry", sbx.set_on_expiry(OnExpiry::End).await),
        ("usage", sbx.usage().await.map(drop)),
    ] {
        let is_gone = match &called {
            Err(Error::NotFound { id }) => id == sbx.id(),
            // A cluster may not know yet how the Pod has ended.
            Err(Error::Connection(error)) => error.diagnosis.is_some(),
            _ => false,
        };
        assert!(is_gone, "{name}: {called:?}");
    }
    Ok(())
}
