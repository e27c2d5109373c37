//! The conformance list on a real cluster, and what only this backend has: each module beside this
//! file is one list.
//!
//! `SANDBOX_TEST_KUBECONFIG` names the kubeconfig of a cluster that Pods may be made in; without
//! it nothing runs here, and that is said, or fails where `SANDBOX_TEST_REQUIRE` lists `cluster`.
//! `cargo xtask e2e` sets all that [`cluster`] reads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod by_cluster_version;
mod cluster;
mod cluster_resources;
mod command;
mod creation;
mod credentials;
mod deploy_manifests;
mod external_changes;
mod failures;
mod gc_cronjob;
mod image_sshd;
mod image_sshd_conformance;
mod lifetimes;
mod owner_lease;
mod pod_options;
mod recording_client;
mod rights;
mod skewed_clock_client;
mod support;
mod transfers;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Conclusion};
use sandbox_conformance::TestedBackend;
use sandbox_testkit::peers;

/// At once: on Kubernetes 1.20 a Pod takes ten seconds to go, and a case waits for that.
const CASES_AT_ONCE: usize = 24;

/// First, and one after another: they look at this process's memory, or fill it, or wait for the
/// kubelet's events, of which it sends five a second and keeps the others waiting (before 1.27).
const ALONE: [&str; 3] = [
    "a_gibibyte_of_output_is_capped_in_little_memory",
    "both_ways_at_once",
    "an_image_that_cannot_be_fetched",
];

fn main() -> ExitCode {
    if std::env::var_os(owner_lease::HOLDER).is_some() {
        return owner_lease::hold();
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
    arguments.test_threads.get_or_insert(CASES_AT_ONCE);
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
    let mut trials = sandbox_conformance::trials(&tested, runtime.handle());
    let has_sshd = runtime
        .block_on(image_sshd::find())
        .expect("the nodes' images");
    let of_sshd = if has_sshd {
        image_sshd::cases()
    } else {
        Vec::new()
    };
    let own = [
        external_changes::cases(),
        creation::cases(),
        credentials::cases(),
        cluster_resources::cases(),
        of_sshd,
        by_cluster_version::cases(),
        lifetimes::cases(),
        command::cases(),
        rights::cases(),
        transfers::cases(),
        pod_options::cases(),
        failures::cases(),
        gc_cronjob::cases(),
        owner_lease::cases(),
        // One line for each list.
    ];
    let own = own.into_iter().flatten();
    trials.extend(own.map(|case| case.into_trial(tested.clone(), runtime.handle().clone())));
    let (alone, trials): (Vec<_>, Vec<_>) = trials
        .into_iter()
        .partition(|trial| ALONE.iter().any(|name| trial.name().ends_with(name)));
    let first = libtest_mimic::run(
        &Arguments {
            test_threads: Some(1),
            ..arguments.clone()
        },
        alone,
    );
    let conclusions = [
        first,
        libtest_mimic::run(&arguments, trials),
        libtest_mimic::run(
            &Arguments {
                test_threads: Some(image_sshd_conformance::AT_ONCE),
                ..arguments.clone()
            },
            if has_sshd {
                image_sshd_conformance::trials(runtime.handle())
            } else {
                Vec::new()
            },
        ),
    ];
    match runtime.block_on(namespace.end()) {
        Ok(()) if conclusions.iter().any(Conclusion::has_failed) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(left) => {
            eprintln!("{left}");
            ExitCode::FAILURE
        }
    }
}
