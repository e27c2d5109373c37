//! Times pools of sandboxes on a cluster.

use anyhow::Result;

use super::ROUTES;
use super::cluster::{Cluster, Mode};
use crate::bench::pool;

pub(super) async fn measure(cluster: &Cluster) -> Result<()> {
    for (route, over) in ROUTES {
        let (client, requests) = cluster.client(Mode::Inject, route);
        // Without limits: a hundred with limits do not fit on one node.
        pool::measure(&client, &client.sandbox(), &format!("on a cluster, {over}")).await?;
        println!("* requests: {}", requests.summary());
    }
    Ok(())
}
