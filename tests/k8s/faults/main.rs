//! Tests that need a whole cluster for themselves: its components fail, its network is cut, a
//! hundred sandboxes are created at once, their creator is killed. They run one after another.
//!
//! Besides the variables of [`cluster`], `SANDBOX_TEST_CLUSTER_SCRIPT` names a script with `kill
//! COMPONENT` and `start COMPONENT` (`apiserver`, `kubelet`) for the cluster. Without it those
//! tests are skipped with a message, or fail if `SANDBOX_TEST_REQUIRE` lists `cluster-faults`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

#[path = "../api_server.rs"]
#[allow(dead_code, reason = "the other test program uses the rest")]
mod api_server;
#[path = "../cluster.rs"]
#[allow(dead_code, reason = "the other test program uses the rest")]
mod cluster;
mod components;
mod crowd;
#[path = "../deploy_manifests.rs"]
#[allow(dead_code, reason = "the other test program uses the rest")]
mod deploy_manifests;
mod killed;
mod network;
mod script;
#[path = "../skewed_clock_client.rs"]
mod skewed_clock_client;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use sandbox_conformance::TestedBackend;
use sandbox_testkit::peers;

fn main() -> ExitCode {
    if std::env::var_os(killed::CREATOR_VARIABLE).is_some() {
        return killed::create_endlessly();
    }
    let mut arguments = Arguments::from_args();
    if std::env::var_os(cluster::KUBECONFIG).is_none() {
        let name = cluster::KUBECONFIG;
        peers::skip(
            "cluster",
            &format!("needs a cluster ({name} names its kubeconfig)"),
        );
        return ExitCode::SUCCESS;
    }
    arguments.test_threads = Some(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let namespace = runtime
        .block_on(cluster::Namespace::begin())
        .expect("a namespace");
    let backend = TestedBackend::new({
        let handle = runtime.handle().clone();
        move |defaults| cluster::client(&handle, defaults)
    });
    let lists = [
        crowd::cases(),
        killed::cases(),
        components::cases(),
        network::cases(),
    ];
    let lists = lists.into_iter().flatten();
    let trials = lists
        .map(|case| case.into_trial(backend.clone(), runtime.handle().clone()))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    match runtime.block_on(namespace.finish()) {
        Ok(()) => conclusion.exit_code(),
        Err(left) => {
            eprintln!("{left}");
            ExitCode::FAILURE
        }
    }
}
