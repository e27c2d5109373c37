//! Large transfers over port-forwards.

use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::Transport;

use crate::cluster::{admin_backend, client_for, defaults, options};

cases![both_ways_at_once];

/// Both directions of one connection carry much at once, which would block a queue shared by both.
async fn both_ways_at_once(_: TestedBackend) -> Outcome {
    const BYTES: usize = 64 << 20;
    let mut options = options();
    options.transport = Transport::PortForward;
    let client = client_for(admin_backend(options).await?, defaults());
    let sbx = client.sandbox().create().await?;
    let content = vec![0x5a; BYTES];
    let outcome = async {
        sbx.files().write("down", content.clone()).await?;
        let files = sbx.files();
        let (up, down) = tokio::join!(files.write("up", content.clone()), files.read("down"));
        up?;
        assert!(down? == content);
        let out = sbx.command("cmp").args(["up", "down"]).output().await?;
        assert!(out.status.success(), "{out:?}");
        Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}
