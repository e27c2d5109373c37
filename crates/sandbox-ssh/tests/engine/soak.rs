//! Many callers that cancel, for some rounds or for `SANDBOX_TEST_SOAK_SECONDS`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox_core::{DownloadRequest, ExecRequest, Session, UploadRequest};

use crate::support::contract::{pattern, put, sh};
use crate::support::leftovers::{soak_duration, wait_until_clean};
use crate::support::{self, InProcessSshd};

const CALLERS: u64 = 64;
const ROUNDS: u64 = 20;

/// Marsaglia's xorshift, so that every run is the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Longer than any call takes, however busy the machine is.
const PATIENT: Duration = Duration::from_secs(120);

/// Runs one call. Every third call is cancelled after a time between almost none and about its
/// duration. Returns whether the call ran to its end.
async fn call(session: &Arc<dyn Session>, caller: u64, round: u64, dice: &mut Dice) -> bool {
    let limit = match dice.roll(3) {
        0 => {
            let longest = 1 << (8 + dice.roll(12));
            Duration::from_micros(dice.roll(longest))
        }
        _ => PATIENT,
    };
    // Each run records itself once.
    let request = ExecRequest::from_shell(format!(
        "echo x >> run-{caller}-{round}; sleep 0.0{}",
        dice.roll(4)
    ));
    let work = async {
        match dice.roll(5) {
            0 | 1 => session.output(request, 100).await.map(drop),
            2 => session.exec(request).await?.wait().await.map(drop),
            3 => {
                let from = Box::new(std::io::Cursor::new(pattern(60_000)));
                session
                    .upload(UploadRequest::new(format!("up-{caller}")), from)
                    .await
                    .map(drop)
            }
            _ => session
                .download(DownloadRequest::new("down"), Box::new(tokio::io::sink()))
                .await
                .map(drop),
        }
    };
    match tokio::time::timeout(limit, work).await {
        Ok(result) => {
            result.unwrap();
            true
        }
        Err(_elapsed) => {
            assert!(limit < PATIENT, "it never ends");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cancelling_callers_leave_nothing_behind() {
    let sshd = InProcessSshd::with_config(|config| config.with_max_channels(8));
    let sessions = sshd.sessions();
    let session = support::session(&sessions, &sshd.access).await;
    put(&session, "down", &pattern(100_000)).await;
    let until = soak_duration().map(|time| Instant::now() + time);
    let callers = (0..CALLERS).map(|caller| {
        let session = Arc::clone(&session);
        tokio::spawn(async move {
            let mut dice = Dice(caller * 7919 + 1);
            let mut rounds = 0;
            let mut finished = 0;
            while until.map_or(rounds < ROUNDS, |until| Instant::now() < until) {
                finished += u64::from(call(&session, caller, rounds, &mut dice).await);
                rounds += 1;
            }
            (rounds, finished)
        })
    });
    let mut rounds = 0;
    let mut finished = 0;
    for caller in futures_util::future::join_all(callers).await {
        let (its_rounds, its_finished) = caller.unwrap();
        rounds += its_rounds;
        finished += its_finished;
    }
    eprintln!(
        "{rounds} calls, {finished} of them let run to their end: {:?}",
        sessions.status()
    );
    assert!(
        finished * 2 > rounds && finished < rounds,
        "{finished} of {rounds}"
    );
    assert_eq!(sh(&session, "echo on").await, "on\n");
    wait_until_clean(&sshd, &sessions).await;
    let mut ran = 0;
    for entry in std::fs::read_dir(sshd.home.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("run-") {
            // Some were killed before they wrote.
            let runs = std::fs::read(entry.path()).unwrap();
            assert!(runs.len() <= 2, "{:?} ran twice", entry.file_name());
            ran += 1;
        }
    }
    eprintln!("{ran} commands ran, each once");
    assert!(ran > 0);
}
