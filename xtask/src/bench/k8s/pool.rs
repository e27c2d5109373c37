//! Times pools of sandboxes on a cluster.

use anyhow::Result;

use super::ROUTES;
use super::cluster::{Cluster, Mode};
use crate::bench::pool;

pub(super) async fn measure(cluster: &Cluster) -> Result<()> {
    for (route, over) in ROUTES {
        let (client, requests) = cluster.client(Mode::Inject, route);
        // A hundred of them fit on a node with two processors.
        let sandboxes = client.sandbox().cpu("10m").memory("16Mi");
        pool::measure(&client, &sandboxes, &format!("on a cluster, {over}")).await?;
        println!("* requests: {}", requests.summary());
    }
    Ok(())
}
