//! The conformance suite with the SSH server of an image: OpenSSH's, as root.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use sandbox::{Client, Defaults, Lifetime};
use sandbox_conformance::{
    TestedBackend, commands, files, guest_files, lifecycle, odd_input, ports, resuming, trees,
    watching,
};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{ImageServer, Injection, SecurityProfile, Transport};
use sandbox_ssh::SshHostKeyProbe;
use tokio::runtime::Handle;

use crate::cluster::{client_for, options, restricted_backend};
use crate::image_sshd::image;

/// How many cases run at once. Each server first generates an RSA key.
pub(crate) const CASES_AT_ONCE: usize = 6;

/// The cases that do not apply to OpenSSH's server, and the reason.
const EXCEPT: [(&str, &str); 7] = [
    (
        "a_gibibyte_of_output_is_capped_in_little_memory",
        "others fill the memory of this process meanwhile",
    ),
    (
        "environment_and_directory_are_set",
        "only sandbox-sshd reads the file with the environment of all commands",
    ),
    (
        "the_ttl_ends_a_sandbox_unless_it_is_extended",
        "Kubernetes enforces the ttl, which cannot be extended then",
    ),
    (
        "an_attached_sandbox_ends_without_a_client",
        "the server has no attach timeout",
    ),
    (
        "failures_have_a_reason",
        "the user is root, who may read every file",
    ),
    (
        "a_failed_download_keeps_the_previous_file",
        "the user is root, who may read every file",
    ),
    (
        "nul_is_refused",
        "a job is refused before its arguments are checked",
    ),
];

/// The suite without jobs, which only sandbox-sshd has. It runs only if the transport is `auto`,
/// because the abilities of the server do not depend on the transport;
/// [`image_sshd`](crate::image_sshd) tests each transport.
pub(crate) fn trials(runtime: &Handle) -> Vec<Trial> {
    if options().transport != Transport::Auto {
        println!("the suite with an image sshd runs over auto only");
        return Vec::new();
    }
    let handle = runtime.clone();
    let tested = TestedBackend::new(move |defaults| client(&handle, defaults));
    let lists = [
        commands::cases(),
        files::cases(),
        guest_files::without::cases(),
        lifecycle::cases(),
        odd_input::cases(),
        ports::cases(),
        resuming::cases(),
        trees::cases(),
        watching::cases(),
    ];
    let applies = |name: &str| !EXCEPT.iter().any(|(except, _)| name.ends_with(except));
    let cases = lists
        .into_iter()
        .flatten()
        .filter(|case| applies(case.name));
    cases
        .map(|case| {
            case.into_trial(tested.clone(), runtime.clone())
                .with_kind("OpenSSH")
        })
        .collect()
}

fn client(runtime: &Handle, mut defaults: Defaults) -> Client {
    let lifetime = &mut defaults.lifetime;
    lifetime
        .attach_timeout
        .take_if(|timeout| *timeout == Lifetime::DEFAULT_ATTACH);
    defaults.image = Some(image());
    let handle = runtime.clone();
    // A thread of the runtime may not block on it.
    let backend = std::thread::spawn(move || handle.block_on(image_sshd_backend()));
    client_for(
        backend.join().expect("a client").expect("a cluster"),
        defaults,
    )
}

async fn image_sshd_backend() -> sandbox::Result<KubernetesBackend> {
    let mut options = options();
    options.injection = Injection::Image(ImageServer::default());
    options.security = SecurityProfile::Baseline;
    // Each server first generates its host keys, among them an RSA key, which takes long.
    options.startup_grace = Duration::from_secs(240);
    Ok(restricted_backend(options)
        .await?
        .with_host_key_probe(Arc::new(SshHostKeyProbe::new())))
}
