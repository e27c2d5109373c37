//! Measures durations. Not run with the tests, because it asserts nothing. In release:
//!
//! ```text
//! cargo test --release -p sandbox-ssh --test measure -- --ignored --nocapture --test-threads=1
//! ```

#![allow(clippy::unwrap_used, reason = "nothing depends on it")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox_core::{DownloadRequest, ExecRequest, Session, UploadRequest};
use support::contract::resident;

const SIZE: u64 = 256 << 20;

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    eprintln!(
        "{what}: p50 {:.3} ms, p99 {:.3} ms ({} times)",
        at(0.5),
        at(0.99),
        times.len()
    );
}

async fn measure(name: &str, session: Arc<dyn Session>) {
    let run = || session.output(ExecRequest::from_argv(["true"]), 1000);
    for _ in 0..50 {
        run().await.unwrap().check().unwrap();
    }
    let mut times = Vec::new();
    for _ in 0..500 {
        let begun = Instant::now();
        run().await.unwrap().check().unwrap();
        times.push(begun.elapsed());
    }
    report(&format!("{name}: output(true)"), times);

    let mut times = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        assert!(
            session
                .exec(ExecRequest::from_argv(["true"]))
                .await
                .unwrap()
                .wait()
                .await
                .unwrap()
                .success()
        );
        times.push(begun.elapsed());
    }
    report(&format!("{name}: exec(true)"), times);

    for callers in [4, 16, 64] {
        let begun = Instant::now();
        let many = (0..callers).map(|_| async {
            for _ in 0..1000 / callers {
                run().await.unwrap().check().unwrap();
            }
        });
        futures_util::future::join_all(many).await;
        let rate = 1000.0 / begun.elapsed().as_secs_f64();
        eprintln!("{name}: {rate:.0} commands a second by {callers} callers");
    }

    let rate = |begun: Instant| (SIZE >> 20) as f64 / begun.elapsed().as_secs_f64();
    for _ in 0..3 {
        let before = cpu();
        let begun = Instant::now();
        let from = Box::new(tokio::io::AsyncReadExt::take(tokio::io::repeat(7), SIZE));
        session
            .upload(UploadRequest::new("large"), from)
            .await
            .unwrap();
        let up = rate(begun);
        let begun = Instant::now();
        session
            .download(DownloadRequest::new("large"), Box::new(tokio::io::sink()))
            .await
            .unwrap();
        let down = rate(begun);
        let begun = Instant::now();
        let output = session
            .output(
                ExecRequest::from_shell(format!("head -c {SIZE} large")),
                1000,
            )
            .await
            .unwrap();
        assert!(output.status.success());
        let read = rate(begun);
        let cpu = cpu() - before;
        eprintln!(
            "{name}: {up:.0} MiB/s up, {down:.0} MiB/s down, {read:.0} MiB/s of output; {cpu:.2} s of CPU"
        );
    }
    session.remove_file(&"large".into()).await.unwrap();
    eprintln!("{name}: {} MiB resident", resident() >> 20);
}

/// Seconds of processor time of this process.
fn cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn openssh() {
    let Some(sshd) = support::openssh::start(&[]) else {
        return;
    };
    let mut times = Vec::new();
    for _ in 0..20 {
        let sessions = sshd.sessions();
        let begun = Instant::now();
        support::session(&sessions, &sshd.access).await;
        times.push(begun.elapsed());
    }
    report("openssh: session", times);
    measure("openssh", sshd.session().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn sandbox_sshd_in_memory() {
    let sshd = support::InProcessSshd::new();
    let mut times = Vec::new();
    for _ in 0..50 {
        let sessions = sshd.sessions();
        let begun = Instant::now();
        support::session(&sessions, &sshd.access).await;
        times.push(begun.elapsed());
    }
    report("sandbox-sshd, in this process: session", times);
    measure("sandbox-sshd, in this process", sshd.session().await).await;
}
