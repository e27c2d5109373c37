//! The Lease of a long-lived process: the sandboxes that it owns are deleted with it.

mod expiry;
mod ownership;
mod renewal;

use std::time::{Duration, SystemTime};

use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::ApiServer;
use serde_json::Value;

use crate::support::{backend_with, options};

const LASTS: Duration = Duration::from_secs(60);

fn holder(server: &ApiServer) -> KubernetesBackend {
    let mut options = options();
    options.owner_lease = Some(LASTS);
    backend_with(server, options)
}

fn leases(server: &ApiServer) -> Vec<Value> {
    let names = server.object_names();
    let names = names.iter().filter_map(|name| name.strip_prefix("leases/"));
    names
        .map(|name| server.object("leases", name).unwrap())
        .collect()
}

fn renew_time(lease: &Value) -> SystemTime {
    let text = lease["spec"]["renewTime"].as_str().unwrap();
    SystemTime::from(text.parse::<jiff::Timestamp>().unwrap())
}
