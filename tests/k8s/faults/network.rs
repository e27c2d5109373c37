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
use crate::components::over;
use crate::script::Script;

cases![a_cut_download_goes_on_or_is_an_error];

const BYTES: u64 = 512 << 20;
const CUT: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_secs(150);

async fn a_cut_download_goes_on_or_is_an_error(_: TestedBackend) -> Outcome {
    // Where components can be killed, so can links.
    let Some(_script) = Script::find() else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let (mut link, mut downloads) = (None, Vec::new());
    for transport in [Transport::Direct, Transport::PortForward] {
        let sbx = over(transport).await?.sandbox().create().await?;
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
            link = Some(Link::to(&status.pod_ip.ok_or("a Pod without an address")?)?);
        }
        downloads.push((directory.path().join(sbx.id().as_str()), sbx));
    }
    let mut link = link.ok_or("no link")?;
    // Both at once: the API server is beyond the same link.
    let running: Vec<_> = downloads
        .iter()
        .map(|(local, sbx)| {
            let (sbx, local) = (sbx.clone(), local.clone());
            tokio::spawn(async move { sbx.download("big", local).await })
        })
        .collect();
    sleep(Duration::from_millis(200)).await;
    assert!(
        running.iter().all(|download| !download.is_finished()),
        "there is nothing to cut"
    );
    link.cut()?;
    sleep(CUT).await;
    link.mend()?;
    for (download, (local, sbx)) in running.into_iter().zip(downloads) {
        match timeout(NEVER, download).await?? {
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
                assert!(!local.exists(), "what came of it looks like a whole file");
            }
        }
        sbx.command("true").output().await?.check()?;
        sbx.delete().await?;
    }
    Ok(())
}

/// The link that leads to an address, with the routes that it loses when it is taken down.
struct Link {
    device: String,
    routes: Vec<String>,
    is_cut: bool,
}

impl Link {
    fn to(address: &str) -> Outcome<Self> {
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

    fn mend(&mut self) -> Outcome {
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
        if let Err(error) = self.mend() {
            eprintln!("{} is left as it is: {error}", self.device);
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
