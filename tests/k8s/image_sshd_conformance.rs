//! The conformance list against an image's own SSH server: OpenSSH's, as root.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use sandbox::{Client, Defaults, Lifetime};
use sandbox_conformance::{
    TestedBackend, commands, files, lifecycle, odd_input, ports, resuming, trees, watching,
};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{ImageServer, Injection, SecurityProfile, Transport};
use sandbox_ssh::SshHostKeys;
use tokio::runtime::Handle;

use crate::cluster::{client_for, options, restricted_backend};
use crate::image_sshd::image;

/// At once: each makes an RSA key first.
pub(crate) const AT_ONCE: usize = 6;

/// What OpenSSH's server cannot do, or does in another way, and why.
const EXCEPT: [(&str, &str); 6] = [
    (
        "environment_and_directory_are_set",
        "what its maker set for every command is a file that only our own server reads",
    ),
    (
        "the_ttl_ends_a_sandbox_unless_it_is_extended",
        "Kubernetes keeps the ttl, and keeps to it",
    ),
    (
        "an_attached_sandbox_ends_without_a_client",
        "it does not know that it should",
    ),
    (
        "failures_have_a_reason",
        "root is who logs in, and no file is closed to root",
    ),
    ("a_failed_download_keeps_the_previous_file", "the same"),
    (
        "nul_is_refused",
        "a job is refused before its arguments are looked at",
    ),
];

/// Jobs are our own server's, all of them. Nothing over a single way to the Pods: what the server can does not depend on the way, and
/// [`image_sshd`](crate::image_sshd) tries it over each.
pub(crate) fn trials(runtime: &Handle) -> Vec<Trial> {
    if options().transport != Transport::Auto {
        println!("the list against an image's own server runs over auto");
        return Vec::new();
    }
    let handle = runtime.clone();
    let tested = TestedBackend::new(move |defaults| client(&handle, defaults));
    let lists = [
        commands::cases(),
        files::cases(),
        lifecycle::cases(),
        odd_input::cases(),
        ports::cases(),
        resuming::cases(),
        trees::cases(),
        watching::cases(),
    ];
    let able = |name: &str| !EXCEPT.iter().any(|(except, _)| name.ends_with(except));
    let cases = lists.into_iter().flatten().filter(|case| able(case.name));
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
    // A runtime's own thread may not wait for it.
    let made = std::thread::spawn(move || handle.block_on(backend()));
    client_for(made.join().expect("a client").expect("a cluster"), defaults)
}

async fn backend() -> sandbox::Result<KubernetesBackend> {
    let mut options = options();
    options.injection = Injection::Image(ImageServer::default());
    options.security = SecurityProfile::Baseline;
    // Each makes its host keys first, an RSA key among them, and that is work for a processor.
    options.startup_grace = Duration::from_secs(240);
    Ok(restricted_backend(options)
        .await?
        .learning_host_keys_with(Arc::new(SshHostKeys::new())))
}
