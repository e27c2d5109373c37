//! Tests of the lifetime, with a clock that the tests move.

use super::*;
use sandbox_core::KeyPair;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> ServerConfig {
    ServerConfig::new(KeyPair::generate().unwrap().private, Vec::new(), "/")
}

#[tokio::test(start_paused = true)]
async fn nothing_ends_a_sandbox_without_limits() {
    let life = Lifetime::new(&config());
    assert!(
        tokio::time::timeout(SECOND * 1_000_000, life.wait_until_due())
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_channel_or_a_job_is_not_idle() {
    for kind in [Activity::Channel, Activity::Job] {
        let life = Lifetime::new(&config().with_idle_timeout(SECOND));
        let using = life.begin(kind);
        assert!(
            tokio::time::timeout(SECOND * 10, life.wait_until_due())
                .await
                .is_err()
        );
        drop(using);
        let start = Instant::now();
        assert_eq!(life.wait_until_due().await, Due::End(EndReason::Idle));
        assert_eq!(start.elapsed().as_secs(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_reconnect_and_request_nothing_are_idle() {
    let life = Lifetime::new(&config().with_idle_timeout(SECOND * 10));
    let start = Instant::now();
    let reconnecting = async {
        loop {
            let client = life.begin(Activity::Client);
            tokio::time::sleep(SECOND * 3).await;
            drop(client);
        }
    };
    tokio::select! {
        end = life.wait_until_due() => assert_eq!(end, Due::End(EndReason::Idle)),
        () = reconnecting => {}
    }
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_ready_channel_is_idle() {
    let life = Lifetime::new(&config().with_idle_timeout(SECOND * 10));
    let mut ready = life.begin(Activity::ReadyChannel);
    let start = Instant::now();
    assert_eq!(life.wait_until_due().await, Due::End(EndReason::Idle));
    assert_eq!(start.elapsed().as_secs(), 10);
    ready.change_to(Activity::Channel);
    assert!(
        tokio::time::timeout(SECOND * 20, life.wait_until_due())
            .await
            .is_err()
    );
    ready.change_to(Activity::ReadyChannel);
    tokio::time::sleep(SECOND * 9).await;
    drop(ready);
    assert_eq!(life.wait_until_due().await, Due::End(EndReason::Idle));
    assert_eq!(
        start.elapsed().as_secs(),
        40,
        "the end of a ready channel does not defer it either"
    );
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_without_a_client_ends_although_a_job_runs() {
    let life = Lifetime::new(&config().with_attach_timeout(SECOND));
    let client = life.begin(Activity::Client);
    assert!(
        tokio::time::timeout(SECOND * 10, life.wait_until_due())
            .await
            .is_err()
    );
    drop(client);
    let _job = life.begin(Activity::Job);
    assert_eq!(
        life.wait_until_due().await,
        Due::End(EndReason::NotAttached)
    );
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_no_client_has_ever_used_ends() {
    let life = Lifetime::new(&config().with_first_login_timeout(SECOND * 5));
    let start = Instant::now();
    assert_eq!(life.wait_until_due().await, Due::End(EndReason::NeverUsed));
    assert_eq!(start.elapsed().as_secs(), 5);

    let life = Lifetime::new(&config().with_first_login_timeout(SECOND * 5));
    drop(life.begin(Activity::Client));
    assert!(
        tokio::time::timeout(SECOND * 60, life.wait_until_due())
            .await
            .is_err(),
        "one login is enough"
    );
}

#[tokio::test(start_paused = true)]
async fn an_extended_ttl_ends_at_the_hard_end() {
    let life = Lifetime::new(
        &config()
            .with_ttl(SECOND * 10)
            .with_max_lifetime(SECOND * 60),
    );
    assert_eq!(life.extend(SECOND * 5), SECOND * 10, "never shorter");
    assert_eq!(life.extend(SECOND * 30), SECOND * 30);
    assert_eq!(
        life.extend(Duration::MAX),
        SECOND * 60,
        "never past the hard end"
    );
    let start = Instant::now();
    assert_eq!(life.wait_until_due().await, Due::End(EndReason::Expired));
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_claim_sets_the_limits_anew_but_never_a_later_hard_end() {
    let config = config()
        .with_attach_timeout(SECOND)
        .with_max_lifetime(SECOND * 1000);
    let life = Lifetime::new(&config);
    let limits = ClaimedLimits {
        attach_timeout: None,
        ttl: None,
        max_lifetime: Some(SECOND * 5000),
    };
    assert_eq!(life.start_anew(limits), Some(SECOND * 1000));
    let start = Instant::now();
    let limits = ClaimedLimits {
        attach_timeout: Some(SECOND * 60),
        ttl: Some(SECOND * 300),
        max_lifetime: Some(SECOND * 200),
    };
    let client = life.begin(Activity::Client);
    assert_eq!(life.start_anew(limits), Some(SECOND * 200));
    assert_eq!(life.extend(SECOND * 9000), SECOND * 200);
    let ending = life.wait_until_due();
    tokio::pin!(ending);
    assert!(
        tokio::time::timeout(SECOND * 100, &mut ending)
            .await
            .is_err()
    );
    drop(client);
    assert_eq!(ending.await, Due::End(EndReason::NotAttached));
    assert_eq!(start.elapsed().as_secs(), 160);
}

#[tokio::test(start_paused = true)]
async fn times_that_cannot_be_represented_are_no_end() {
    let life = Lifetime::new(&config().with_attach_timeout(SECOND).with_ttl(SECOND));
    let mut limits = ClaimedLimits {
        max_lifetime: Some(Duration::MAX),
        ..ClaimedLimits::default()
    };
    assert_eq!(life.start_anew(limits), Some(SECOND), "the ttl stays");
    limits.ttl = Some(Duration::MAX);
    assert_eq!(life.start_anew(limits), None);
    let ending = tokio::time::timeout(SECOND * 1_000_000, life.wait_until_due());
    assert!(ending.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_ttl_stands_still_during_a_pause_and_the_hard_end_does_not() {
    let limits = config()
        .with_ttl(SECOND * 10)
        .with_idle_timeout(SECOND * 5)
        .with_max_lifetime(SECOND * 100);
    let life = Lifetime::new(&limits);
    let _channel = life.begin(Activity::Channel);
    tokio::time::sleep(SECOND * 4).await;
    life.pause();
    life.pause();
    tokio::time::sleep(SECOND * 50).await;
    assert_eq!(life.ttl_left(), Some(SECOND * 6));
    assert_eq!(life.extend(SECOND * 3), SECOND * 6, "never shorter");
    life.resume(None);
    let start = Instant::now();
    assert_eq!(life.wait_until_due().await, Due::End(EndReason::Expired));
    assert_eq!(start.elapsed().as_secs(), 6);

    let life = Lifetime::new(&limits);
    life.pause();
    assert_eq!(life.wait_until_due().await, Due::End(EndReason::Expired));
    assert_eq!(start.elapsed().as_secs(), 106, "the hard end");
}

#[tokio::test(start_paused = true)]
async fn the_idle_timeout_starts_anew_after_a_pause() {
    let life = Lifetime::new(&config().with_idle_timeout(SECOND * 5));
    tokio::time::sleep(SECOND * 4).await;
    life.pause();
    let waiting = tokio::time::timeout(SECOND * 100, life.wait_until_due());
    assert!(waiting.await.is_err());
    life.resume(None);
    let start = Instant::now();
    assert_eq!(life.wait_until_due().await, Due::End(EndReason::Idle));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_ttl_of_a_paused_sandbox_counts_from_when_it_is_resumed() {
    let life = Lifetime::new(&config());
    life.pause();
    assert_eq!(life.ttl_left(), None);
    assert_eq!(life.start_ttl(SECOND * 7), SECOND * 7);
    tokio::time::sleep(SECOND * 20).await;
    assert_eq!(life.extend(SECOND * 8), SECOND * 8);
    life.resume(None);
    assert_eq!(life.ttl_left(), Some(SECOND * 8));
    life.pause();
    life.resume(Some(SECOND * 3));
    assert_eq!(life.ttl_left(), Some(SECOND * 3));
    // Nothing is paused any more.
    life.resume(Some(SECOND * 99));
    assert_eq!(life.ttl_left(), Some(SECOND * 3));
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_may_be_paused_at_the_end_of_its_ttl() {
    let life = Lifetime::new(
        &config()
            .with_ttl(SECOND * 10)
            .with_max_lifetime(SECOND * 60),
    );
    life.set_on_expiry(OnExpiry::Pause);
    assert_eq!(life.wait_until_due().await, Due::Pause);
    life.pause();
    assert_eq!(life.ttl_left(), Some(Duration::ZERO));
    tokio::time::sleep(SECOND * 20).await;
    // Nothing was left, so all of it begins again.
    life.resume(None);
    assert_eq!(life.ttl_left(), Some(SECOND * 10));
    assert_eq!(life.wait_until_due().await, Due::Pause);
    life.pause();
    assert_eq!(life.wait_until_due().await, Due::End(EndReason::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_sleep_does_not_count_pauses() {
    let life = Lifetime::new(&config());
    let start = Instant::now();
    let pausing = async {
        for _ in 0..3 {
            tokio::time::sleep(SECOND * 2).await;
            life.pause();
            tokio::time::sleep(SECOND * 100).await;
            life.resume(None);
            // Other changes do not matter.
            drop(life.begin(Activity::Channel));
        }
    };
    tokio::join!(life.sleep(SECOND * 7), pausing);
    assert_eq!(start.elapsed().as_secs(), 307);
    tokio::time::timeout(SECOND, life.sleep(Duration::MAX))
        .await
        .unwrap_err();
}
