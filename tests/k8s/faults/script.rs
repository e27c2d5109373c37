//! The script that kills and starts components of the cluster.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sandbox_conformance::Outcome;
use sandbox_testkit::peers;
use tokio::time::sleep;

use crate::cluster;

const SCRIPT: &str = "SANDBOX_TEST_CLUSTER_SCRIPT";

/// The delay before a component is killed, in which calls start that the outage is to interrupt.
pub(crate) const NOTICE: Duration = Duration::from_millis(600);

/// Kills components, and starts those that it killed.
pub(crate) struct Script {
    path: PathBuf,
    killed: Vec<&'static str>,
}

impl Script {
    /// `None` if no script is named, which skips the test with a message.
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

    /// Kills a component after [`NOTICE`], and starts it after `outage`.
    pub(crate) async fn interrupt(&mut self, component: &'static str, outage: Duration) -> Outcome {
        sleep(NOTICE).await;
        self.kill(component)?;
        sleep(outage).await;
        self.restore().await
    }

    /// Starts all killed components, and waits until the cluster responds.
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
        Err("the cluster did not recover".into())
    }

    fn run(&self, action: &str, component: &str) -> Outcome {
        let status = Command::new(&self.path)
            .args([action, component])
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{action} {component}: {status}").into())
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        for component in &self.killed {
            if let Err(error) = self.run("start", component) {
                eprintln!("{component} was not started: {error}");
            }
        }
    }
}
