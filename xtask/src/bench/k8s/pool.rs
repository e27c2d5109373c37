//! Times pools of sandboxes on a cluster.

use anyhow::Result;

use super::ROUTES;
use super::cluster::{Cluster, Mode};
use crate::bench::pool;

/// How many clients claim from a shared pool at once.
const CLAIMERS: usize = 8;

/// Times the named routes, or all of them. With `shared`, only the pool that processes share.
pub(super) async fn measure(cluster: &Cluster, named: &[&str]) -> Result<()> {
    let is_named = |over: &str| named.contains(&over);
    let all = !ROUTES.iter().any(|(_, over)| is_named(over));
    for (route, over) in ROUTES {
        if !all && !is_named(over) {
            continue;
        }
        let (client, requests) = cluster.client(Mode::Inject, route);
        // Without limits: a hundred with limits do not fit on one node.
        let claimers: Vec<_> = (0..CLAIMERS)
            .map(|_| cluster.client(Mode::Inject, route).0)
            .collect();
        let over = format!("on a cluster, {over}");
        if is_named("shared") {
            pool::measure_shared(&client, &client.sandbox(), &claimers, &over).await?;
        } else {
            pool::measure(&client, &client.sandbox(), &claimers, &over).await?;
        }
        println!("* requests: {}", requests.summary());
    }
    Ok(())
}
