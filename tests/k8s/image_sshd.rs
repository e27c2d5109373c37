//! Images with an SSH server of their own: OpenSSH's, as root on port 22.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use sandbox::{Client, CreationReason, CreationStage, Defaults, Error, Lifetime};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{ImageServer, Injection, SecurityProfile, Transport};
use sandbox_ssh::SshHostKeys;
use sandbox_testkit::peers;

use crate::cluster::{admin_backend, api, client_for, options};

cases![
    commands_and_files_over_each_transport,
    another_process_takes_it_up_by_the_key_that_was_learned,
    what_only_our_server_can_is_refused,
    a_user_that_it_does_not_have,
    a_port_that_it_does_not_listen_on,
    a_server_that_needs_root_under_the_restricted_profile,
];

const IMAGE: &str = "SANDBOX_TEST_SSHD_IMAGE";
/// Taken where a node has it.
const USUAL: &str = "localhost/debian-sshd:12";
static FOUND: OnceLock<String> = OnceLock::new();

/// Looks for the image; without one, that is said, or fails where it is required, and no case of it runs.
pub(crate) async fn find() -> Outcome<bool> {
    let named = std::env::var(IMAGE).ok();
    let image = match named {
        Some(named) => named,
        None if on_a_node(USUAL).await? => USUAL.to_owned(),
        None => {
            let needs =
                format!("needs an image with OpenSSH's server ({IMAGE}, or {USUAL} on a node)");
            return Ok(peers::skip("sshd-image", &needs));
        }
    };
    Ok(FOUND.set(image).is_ok())
}

async fn on_a_node(image: &str) -> Outcome<bool> {
    let nodes: Api<Node> = Api::all(api().await?);
    let nodes = nodes.list(&ListParams::default()).await?;
    let images = nodes
        .iter()
        .filter_map(|node| node.status.as_ref()?.images.as_ref())
        .flatten();
    Ok(images
        .filter_map(|one| one.names.as_ref())
        .flatten()
        .any(|name| name == image))
}

pub(crate) fn image() -> String {
    FOUND.get().cloned().expect("the image was found")
}

async fn own(transport: Transport) -> sandbox::Result<KubernetesBackend> {
    let mut options = options();
    options.injection = Injection::Image(ImageServer::default());
    options.security = SecurityProfile::Baseline;
    options.transport = transport;
    Ok(admin_backend(options)
        .await?
        .learning_host_keys_with(Arc::new(SshHostKeys::new())))
}

async fn client(transport: Transport) -> sandbox::Result<Client> {
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    Ok(client_for(own(transport).await?, defaults))
}

async fn commands_and_files_over_each_transport(_: TestedBackend) -> Outcome {
    // On few clusters Pods can be reached at their addresses; who asks for that says that they can.
    let transports: &[Transport] = match options().transport {
        Transport::Direct => &[Transport::Auto, Transport::Direct, Transport::PortForward],
        _ => &[Transport::Auto, Transport::PortForward],
    };
    let all = transports.iter().map(|transport| async move {
        let client = client(*transport).await?;
        let sbx = client.sandbox().create().await?;
        let outcome = async {
            assert_eq!(
                (sbx.info().port, sbx.info().user.as_str()),
                (Some(22), "root")
            );
            let out = sbx
                .command("printf")
                .args(["%s|", "it's", "a b", "$HOME"])
                .output()
                .await?
                .check()?;
            assert_eq!(out.stdout, "it's|a b|$HOME|");
            let out = sbx
                .shell("echo $LC_MODE; exit 7")
                .env("LC_MODE", "ci")
                .output()
                .await?;
            assert_eq!(
                (out.stdout_lossy().as_str(), out.status.code()),
                ("ci\n", Some(7))
            );
            // What its configuration does not take as such (AcceptEnv) goes another way.
            let out = sbx
                .shell("echo $MODE")
                .env("MODE", "it's ci")
                .output()
                .await?
                .check()?;
            assert_eq!(out.stdout, "it's ci\n");
            let content = vec![7; 3 << 20];
            sbx.files().write("file", content.clone()).await?;
            assert!(sbx.files().read("file").await? == content);
            Outcome::Ok(())
        }
        .await;
        sbx.delete().await?;
        outcome
    });
    futures_util::future::try_join_all(all).await?;
    Ok(())
}

async fn another_process_takes_it_up_by_the_key_that_was_learned(_: TestedBackend) -> Outcome {
    let maker = client(Transport::Auto).await?;
    let sbx = maker.sandbox().detached().create().await?;
    let outcome = async {
        // One that cannot learn a key: it has to find it.
        let mut options = options();
        options.injection = Injection::Image(ImageServer::default());
        options.security = SecurityProfile::Baseline;
        let other = client_for(admin_backend(options).await?, Defaults::default());
        let same = other.connect(sbx.id()).await?;
        assert_eq!(
            same.command("id").arg("-u").output().await?.check()?.stdout,
            "0\n"
        );
        // And one whose settings are about something else.
        let usual = client_for(
            admin_backend(crate::cluster::options()).await?,
            Defaults::default(),
        );
        let same = usual.connect(sbx.id()).await?;
        assert_eq!(same.shell("echo $0").output().await?.status.code(), Some(0));
        Outcome::Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}

async fn what_only_our_server_can_is_refused(_: TestedBackend) -> Outcome {
    let client = client(Transport::Auto).await?;
    let error = client
        .sandbox()
        .idle_timeout(Duration::from_secs(60))
        .create()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("idle"), "{error}");
    let sbx = client
        .sandbox()
        .ttl(Duration::from_secs(600))
        .create()
        .await?;
    let outcome = async {
        let job = sbx.command("true").spawn_detached().await;
        assert!(matches!(job, Err(Error::Unsupported { .. })), "{job:?}");
        let info = sbx.refresh().await?;
        assert_eq!(
            info.expires_at,
            Some(info.created_at + Duration::from_secs(600))
        );
        // It cannot be put off: Kubernetes itself keeps it.
        let info = sbx.extend(Lifetime::DEFAULT_MAX).await?;
        assert_eq!(
            info.expires_at,
            Some(info.created_at + Duration::from_secs(600))
        );
        Outcome::Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}

/// What is told of a server that is not as it was said to be; nothing of it is left.
async fn told(server: ImageServer, security: SecurityProfile, grace: Duration) -> Outcome<Error> {
    let mut options = options();
    options.injection = Injection::Image(server);
    options.security = security;
    options.startup_grace = grace;
    let backend = admin_backend(options)
        .await?
        .learning_host_keys_with(Arc::new(SshHostKeys::new()));
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    match client_for(backend, defaults).sandbox().create().await {
        Ok(sandbox) => {
            sandbox.delete().await?;
            Err("it was created".into())
        }
        Err(error) => {
            println!("{error}");
            Ok(error)
        }
    }
}

fn unreachable(error: &Error, words: &[&str]) {
    let Error::Creation(creation) = error else {
        panic!("{error:?}")
    };
    let step = (creation.stage, creation.reason);
    assert_eq!(
        step,
        (CreationStage::Connect, CreationReason::Unreachable),
        "{error}"
    );
    for word in words {
        assert!(
            creation.message.contains(word),
            "{word:?} is not in: {error}"
        );
    }
    // It makes its keys first, and on a busy node may still be at it.
    let words = ["generating new host keys", "Server listening on"];
    assert!(
        words.iter().any(|word| creation.log_tail.contains(word)),
        "its own words: {:?}",
        creation.log_tail
    );
}

async fn a_user_that_it_does_not_have(_: TestedBackend) -> Outcome {
    let mut server = ImageServer::default();
    server.user = "nobody-of-that-name".into();
    // It makes its host keys first, which takes as long as it takes.
    let error = told(server, SecurityProfile::Baseline, Duration::from_secs(240)).await?;
    unreachable(
        &error,
        &[
            "does not accept",
            "nobody-of-that-name",
            "SANDBOX_SSH_USER",
            "port 22",
        ],
    );
    Ok(())
}

async fn a_port_that_it_does_not_listen_on(_: TestedBackend) -> Outcome {
    let mut server = ImageServer::default();
    server.port = 2022;
    let error = told(server, SecurityProfile::Baseline, Duration::from_secs(20)).await?;
    unreachable(
        &error,
        &[
            "nothing answered on port 2022",
            "connection refused",
            "SANDBOX_SSH_PORT",
        ],
    );
    Ok(())
}

async fn a_server_that_needs_root_under_the_restricted_profile(_: TestedBackend) -> Outcome {
    for (user, port, said) in [("root", 2222, "logs in as root"), ("app", 22, "below 1024")] {
        let mut server = ImageServer::default();
        (server.user, server.port) = (user.into(), port);
        // Before anything is sent: it is no creation that failed.
        let error = told(server, SecurityProfile::Restricted, Duration::from_secs(3)).await?;
        assert!(
            matches!(&error, Error::Config { message } if message.contains(said)),
            "{error:?}"
        );
        assert!(error.to_string().contains("profile Baseline"), "{error}");
    }
    Ok(())
}
