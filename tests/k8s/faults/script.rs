//! The script that takes a cluster's components away.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sandbox_conformance::Outcome;
use sandbox_testkit::peers;
use tokio::time::sleep;

use crate::cluster;

const SCRIPT: &str = "SANDBOX_TEST_CLUSTER_SCRIPT";

/// How long before a component is killed it is said so: what is to be cut begins in this time.
pub(crate) const NOTICE: Duration = Duration::from_millis(600);

/// Kills components, and brings back what it killed.
pub(crate) struct Script {
    path: PathBuf,
    killed: Vec<&'static str>,
}

impl Script {
    /// `None` where there is none, which is told.
    pub(crate) fn find() -> Option<Self> {
        let Some(path) = std::env::var_os(SCRIPT).filter(|path| !path.is_empty()) else {
            peers::skip(
                "cluster-faults",
                &format!("needs a script that kills components ({SCRIPT})"),
            );
            return None;
        };
        Some(Self {
            path: path.into(),
            killed: Vec::new(),
        })
    }

    pub(crate) fn kill(&mut self, component: &'static str) -> Outcome {
        self.run("kill", component)?;
        self.killed.push(component);
        Ok(())
    }

    /// Kills a component after [`NOTICE`], and brings it back after so long.
    pub(crate) async fn take_away(&mut self, component: &'static str, away: Duration) -> Outcome {
        sleep(NOTICE).await;
        self.kill(component)?;
        sleep(away).await;
        self.restore().await
    }

    /// Brings back all that was killed, and waits until the cluster answers.
    pub(crate) async fn restore(&mut self) -> Outcome {
        for component in std::mem::take(&mut self.killed) {
            self.run("start", component)?;
        }
        for _ in 0..600 {
            if cluster::managed_objects(&cluster::api().await?, cluster::namespace())
                .await
                .is_ok()
            {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err("the cluster did not come back".into())
    }

    fn run(&self, what: &str, component: &str) -> Outcome {
        let status = Command::new(&self.path).args([what, component]).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{what} {component}: {status}").into())
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        for component in &self.killed {
            if let Err(error) = self.run("start", component) {
                eprintln!("the cluster is left without a part: {error}");
            }
        }
    }
}
