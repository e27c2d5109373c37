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
        tokio::time::timeout(SECOND * 1_000_000, life.wait_for_end())
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
            tokio::time::timeout(SECOND * 10, life.wait_for_end())
                .await
                .is_err()
        );
        drop(using);
        let start = Instant::now();
        assert_eq!(life.wait_for_end().await, EndReason::Idle);
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
        end = life.wait_for_end() => assert_eq!(end, EndReason::Idle),
        () = reconnecting => {}
    }
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_ready_channel_is_idle() {
    let life = Lifetime::new(&config().with_idle_timeout(SECOND * 10));
    let mut ready = life.begin(Activity::ReadyChannel);
    let start = Instant::now();
    assert_eq!(life.wait_for_end().await, EndReason::Idle);
    assert_eq!(start.elapsed().as_secs(), 10);
    ready.change_to(Activity::Channel);
    assert!(
        tokio::time::timeout(SECOND * 20, life.wait_for_end())
            .await
            .is_err()
    );
    ready.change_to(Activity::ReadyChannel);
    tokio::time::sleep(SECOND * 9).await;
    drop(ready);
    assert_eq!(life.wait_for_end().await, EndReason::Idle);
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
        tokio::time::timeout(SECOND * 10, life.wait_for_end())
            .await
            .is_err()
    );
    drop(client);
    let _job = life.begin(Activity::Job);
    assert_eq!(life.wait_for_end().await, EndReason::NotAttached);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_no_client_has_ever_used_ends() {
    let life = Lifetime::new(&config().with_first_login_timeout(SECOND * 5));
    let start = Instant::now();
    assert_eq!(life.wait_for_end().await, EndReason::NeverUsed);
    assert_eq!(start.elapsed().as_secs(), 5);

    let life = Lifetime::new(&config().with_first_login_timeout(SECOND * 5));
    drop(life.begin(Activity::Client));
    assert!(
        tokio::time::timeout(SECOND * 60, life.wait_for_end())
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
    assert_eq!(life.wait_for_end().await, EndReason::Expired);
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
    let ending = life.wait_for_end();
    tokio::pin!(ending);
    assert!(
        tokio::time::timeout(SECOND * 100, &mut ending)
            .await
            .is_err()
    );
    drop(client);
    assert_eq!(ending.await, EndReason::NotAttached);
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
    let ending = tokio::time::timeout(SECOND * 1_000_000, life.wait_for_end());
    assert!(ending.await.is_err());
}
