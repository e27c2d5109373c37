//! Fills a shared pool whenever this process is the elected filler.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::PoolLead;
use tokio::sync::watch;

use super::status::FillerStatus;
use super::term::{End, FillerSetup, Term, wait_for_stop};
use crate::pool::pace::Pace;

/// The pause after an error of the election, or of a task.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Fills the pool whenever this process is elected, until it is stopped.
pub(super) async fn run(setup: FillerSetup, mut stop: watch::Receiver<bool>) {
    loop {
        setup.publish(FillerStatus::default());
        let lead = tokio::select! {
            lead = setup.pools.lead(&setup.name, &setup.key) => lead,
            () = wait_for_stop(&mut stop) => break,
        };
        let lead: Arc<dyn PoolLead> = match lead {
            Ok(lead) => Arc::from(lead),
            Err(error) => {
                tracing::warn!(pool = %setup.name, %error, "cannot be elected to fill the pool; retrying");
                let mut pace = Pace::new(1);
                pace.record_failure(&error);
                setup.publish(FillerStatus {
                    problem: pace.problem().cloned(),
                    ..FillerStatus::default()
                });
                tokio::select! {
                    () = tokio::time::sleep(RETRY_PAUSE) => continue,
                    () = wait_for_stop(&mut stop) => break,
                }
            }
        };
        tracing::info!(pool = %setup.name, key = %setup.key, "elected to fill the pool");
        let mut term = Term::new(&setup, Arc::clone(&lead));
        let end = term.run(&mut stop).await;
        // Another filler connects to what waits, so that it stays attached.
        term.end(&*lead).await;
        match end {
            End::Stopped => break,
            End::Lost => {
                tracing::warn!(pool = %setup.name, "no longer elected to fill the pool; standing by");
            }
            End::Failed => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
    setup.publish(FillerStatus {
        is_stopped: true,
        ..FillerStatus::default()
    });
}
