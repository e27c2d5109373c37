//! The conformance suite on a real cluster, and tests of the Kubernetes backend alone, one list of
//! cases in each module.
//!
//! `SANDBOX_TEST_KUBECONFIG` names the kubeconfig of a cluster in which Pods may be created.
//! Without it the tests are skipped with a message, or fail if `SANDBOX_TEST_REQUIRE` lists
//! `cluster`. `cargo xtask e2e` sets all variables that [`cluster`] reads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod api_server;
mod by_cluster_version;
mod cluster;
mod cluster_resources;
mod command;
mod creation;
mod credentials;
mod deploy_manifests;
mod egress;
mod enforced_policies;
mod external_changes;
mod failures;
mod gc_cronjob;
mod image_sshd;
mod image_sshd_conformance;
#[path = "../egress/index.rs"]
#[allow(dead_code, reason = "another test program uses the rest")]
mod index;
#[path = "../egress/internet.rs"]
mod internet;
mod lifetimes;
mod owner_lease;
mod pod_options;
mod pool_rights;
mod recording_client;
mod rights;
mod shared_pools;
mod skewed_clock_client;
mod support;
mod transfers;
mod upload;

use std::num::NonZero;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Conclusion};
use sandbox_conformance::{
    Case, Outcome, TestedBackend, commands, dropped_trees, files, jobs, lifecycle, moving_trees,
    ports, resuming, trees,
};
use sandbox_k8s::options::Transport;
use sandbox_testkit::peers;

/// How many cases run at once, at most, and for each processor: a cluster on this machine has to start and to end their
/// Pods. They are many because on Kubernetes 1.20 the deletion of a Pod takes ten seconds, and each case waits for it.
const CASES_AT_ONCE: usize = 24;
const CASES_PER_PROCESSOR: usize = 9;

/// Cases that run first, and one after another: they measure this process's memory, or fill it.
const ALONE: [&str; 2] = [
    "a_gibibyte_of_output_is_capped_in_little_memory",
    "both_ways_at_once",
];

fn main() -> ExitCode {
    if std::env::var_os(owner_lease::HOLDER_VARIABLE).is_some() {
        return owner_lease::run_holder();
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
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let at_once = CASES_AT_ONCE.min(CASES_PER_PROCESSOR * processors);
    arguments.test_threads.get_or_insert(at_once);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let namespace = runtime
        .block_on(cluster::Namespace::begin())
        .expect("a namespace");
    let tested = TestedBackend::new({
        let handle = runtime.handle().clone();
        move |defaults| cluster::client(&handle, defaults)
    });
    let has_sshd = runtime
        .block_on(image_sshd::find_image())
        .expect("the nodes' images");
    let image_sshd_cases = if has_sshd {
        image_sshd::cases()
    } else {
        Vec::new()
    };
    let depends_on_transport = [
        conformance_cases(),
        creation::cases(),
        command::cases(),
        rights::cases(),
        transfers::cases(),
    ];
    // Those that wait longest begin first.
    let mut lists = vec![shared_pools::cases()];
    if cluster::options().transport == Transport::PortForward {
        println!("the cases that do not depend on the transport run over auto or direct only");
        lists.extend(depends_on_transport);
    } else {
        lists.extend([
            owner_lease::cases(),
            gc_cronjob::cases(),
            pool_rights::cases(),
            lifetimes::cases(),
            upload::cases(),
            // Those that depend on it use each transport.
            image_sshd_cases,
        ]);
        lists.extend(depends_on_transport);
        lists.extend([
            external_changes::cases(),
            credentials::cases(),
            cluster_resources::cases(),
            by_cluster_version::cases(),
            egress::cases(),
            pod_options::cases(),
            failures::cases(),
            // By then another case has found out whether policies are enforced.
            enforced_policies::cases(),
        ]);
    }
    let cases = lists.into_iter().flatten();
    let trials = cases
        .map(|case| case.into_trial(tested.clone(), runtime.handle().clone()))
        .collect();
    let [first, second] = sandbox_testkit::run_trials(&arguments, trials, &ALONE);
    let conclusions = [
        first,
        second,
        libtest_mimic::run(
            &Arguments {
                test_threads: Some(image_sshd_conformance::CASES_AT_ONCE),
                ..arguments.clone()
            },
            if has_sshd {
                image_sshd_conformance::trials(runtime.handle())
            } else {
                Vec::new()
            },
        ),
    ];
    match runtime.block_on(namespace.finish()) {
        Ok(()) if conclusions.iter().any(Conclusion::has_failed) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(left) => {
            eprintln!("{left}");
            ExitCode::FAILURE
        }
    }
}

/// The conformance suite. Over port-forwards, only the cases that move much, that connect or reconnect: the others are the
/// same over each transport.
fn conformance_cases() -> Vec<Case> {
    if cluster::options().transport != Transport::PortForward {
        return sandbox_conformance::all_cases();
    }
    let lists = [
        commands::cases(),
        dropped_trees::cases(),
        files::cases(),
        jobs::cases(),
        lifecycle::cases(),
        moving_trees::cases(),
        ports::cases(),
        resuming::cases(),
        trees::cases(),
    ];
    // What output costs this process does not depend on it either, and takes half a minute to measure.
    let is_left_out = |case: &Case| ALONE.iter().any(|name| case.name.ends_with(name));
    let cases = lists.into_iter().flatten();
    cases.filter(|case| !is_left_out(case)).collect()
}
