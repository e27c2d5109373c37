//! The network to the Pods is cut in the middle of a download.

use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use sandbox::Error;
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::Transport;
use tokio::time::{sleep, timeout};

use crate::cluster::{api, namespace};
use crate::components::client_over;
use crate::script::Script;

cases![a_download_over_a_cut_network_continues_or_is_an_error];

const BYTES: u64 = 512 << 20;
const OUTAGE: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(150);

async fn a_download_over_a_cut_network_continues_or_is_an_error(_: TestedBackend) -> Outcome {
    // A cluster whose components may be killed is one whose links may be cut.
    let Some(_script) = Script::find() else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let mut link = None;
    let mut downloads = Vec::new();
    for transport in [Transport::Direct, Transport::PortForward] {
        let sbx = client_over(transport).await?.sandbox().create().await?;
        let out = sbx
            .shell(format!("truncate -s {BYTES} big && printf end >> big"))
            .output()
            .await?;
        out.check()?;
        if link.is_none() {
            let pods: Api<Pod> = Api::namespaced(api().await?, namespace());
            let status = pods
                .get(sbx.id().as_str())
                .await?
                .status
                .ok_or("a Pod without a status")?;
            link = Some(Link::find(
                &status.pod_ip.ok_or("a Pod without an address")?,
            )?);
        }
        downloads.push((directory.path().join(sbx.id().as_str()), sbx));
    }
    let mut link = link.ok_or("no link")?;
    // Both downloads run at once, because the API server is behind the same link.
    let running: Vec<_> = downloads
        .iter()
        .map(|(local, sbx)| {
            let sbx = sbx.clone();
            let local = local.clone();
            tokio::spawn(async move { sbx.download("big", local).await })
        })
        .collect();
    sleep(Duration::from_millis(200)).await;
    assert!(
        running.iter().all(|download| !download.is_finished()),
        "the download ended before the cut"
    );
    link.cut()?;
    sleep(OUTAGE).await;
    link.restore()?;
    for (download, (local, sbx)) in running.into_iter().zip(downloads) {
        match timeout(CALL_TIMEOUT, download).await?? {
            Ok(bytes) => {
                let content = std::fs::read(&local)?;
                assert!(
                    bytes == BYTES + 3
                        && content.len() as u64 == bytes
                        && content.ends_with(b"end")
                );
            }
            Err(error) => {
                assert!(
                    matches!(error, Error::Transfer(_) | Error::Connection(_)),
                    "{error:?}"
                );
                assert!(
                    !local.exists(),
                    "an incomplete download has the name of the file"
                );
            }
        }
        sbx.command("true").output().await?.check()?;
        sbx.delete().await?;
    }
    Ok(())
}

/// The network link to an address, with the routes that are lost when it is down.
struct Link {
    device: String,
    routes: Vec<String>,
    is_cut: bool,
}

impl Link {
    fn find(address: &str) -> Outcome<Self> {
        let route = ip(&["route", "get", address])?;
        let device = route
            .split_whitespace()
            .skip_while(|word| *word != "dev")
            .nth(1);
        let device = device
            .ok_or_else(|| format!("no device in {route:?}"))?
            .to_owned();
        let routes = ip(&["route", "show", "dev", &device])?;
        let routes = routes
            .lines()
            .filter(|line| line.contains(" via "))
            .map(str::to_owned)
            .collect();
        Ok(Self {
            device,
            routes,
            is_cut: false,
        })
    }

    fn cut(&mut self) -> Outcome {
        ip(&["link", "set", &self.device, "down"])?;
        self.is_cut = true;
        Ok(())
    }

    fn restore(&mut self) -> Outcome {
        if !std::mem::take(&mut self.is_cut) {
            return Ok(());
        }
        ip(&["link", "set", &self.device, "up"])?;
        for route in &self.routes {
            let words: Vec<&str> = route
                .split_whitespace()
                .filter(|word| *word != "linkdown")
                .collect();
            ip(&[&["route", "replace"], &words[..], &["dev", &self.device]].concat())?;
        }
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            eprintln!("{} could not be restored: {error}", self.device);
        }
    }
}

fn ip(args: &[&str]) -> Outcome<String> {
    let output = Command::new("ip").args(args).output()?;
    if !output.status.success() {
        return Err(format!("ip {args:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
