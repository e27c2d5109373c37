//! Images with an SSH server: OpenSSH's, as root on port 22.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use sandbox::{Client, CreationReason, CreationStage, Defaults, Error, Lifetime};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{ImageServer, Injection, SecurityProfile, Transport};
use sandbox_ssh::SshHostKeyProbe;
use sandbox_testkit::peers;

use crate::cluster::{admin_backend, api, client_for, options};

cases![
    commands_and_files_work_over_each_transport,
    another_process_connects_with_the_stored_host_key,
    features_of_sandbox_sshd_are_refused,
    an_unknown_user_is_reported,
    a_wrong_port_is_reported,
    a_server_that_needs_root_is_refused_by_the_restricted_profile,
];

const IMAGE: &str = "SANDBOX_TEST_SSHD_IMAGE";
/// Used if a node has it.
const DEFAULT_IMAGE: &str = "localhost/debian-sshd:12";
static FOUND: OnceLock<String> = OnceLock::new();

/// Whether an image with an SSH server was found. Without one the cases are skipped with a message,
/// or fail if `SANDBOX_TEST_REQUIRE` lists it.
pub(crate) async fn find_image() -> Outcome<bool> {
    let named = std::env::var(IMAGE).ok();
    let image = match named {
        Some(named) => named,
        None if is_on_a_node(DEFAULT_IMAGE).await? => DEFAULT_IMAGE.to_owned(),
        None => {
            let needs = format!(
                "needs an image with OpenSSH's server ({IMAGE}, or {DEFAULT_IMAGE} on a node)"
            );
            return Ok(peers::skip("sshd-image", &needs));
        }
    };
    Ok(FOUND.set(image).is_ok())
}

async fn is_on_a_node(image: &str) -> Outcome<bool> {
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

/// Whether [`find_image`] has found one.
pub(crate) fn has_image() -> bool {
    FOUND.get().is_some()
}

pub(crate) fn image() -> String {
    FOUND.get().cloned().expect("the image was found")
}

async fn image_sshd_backend(transport: Transport) -> sandbox::Result<KubernetesBackend> {
    let mut options = options();
    options.injection = Injection::Image(ImageServer::default());
    options.security = SecurityProfile::Baseline;
    options.transport = transport;
    Ok(admin_backend(options)
        .await?
        .with_host_key_probe(Arc::new(SshHostKeyProbe::new())))
}

async fn client(transport: Transport) -> sandbox::Result<Client> {
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    Ok(client_for(image_sshd_backend(transport).await?, defaults))
}

async fn commands_and_files_work_over_each_transport(_: TestedBackend) -> Outcome {
    // Few clusters allow connections to Pod addresses; the setting says that this one does.
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
            // Variables that AcceptEnv does not allow are passed by a script.
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

async fn another_process_connects_with_the_stored_host_key(_: TestedBackend) -> Outcome {
    let creator = client(Transport::Auto).await?;
    let sbx = creator.sandbox().detached().create().await?;
    let outcome = async {
        // This client cannot probe for the key, so it has to read the stored one.
        let mut options = options();
        options.injection = Injection::Image(ImageServer::default());
        options.security = SecurityProfile::Baseline;
        let other = client_for(admin_backend(options).await?, Defaults::default());
        let same = other.connect(sbx.id()).await?;
        assert_eq!(
            same.command("id").arg("-u").output().await?.check()?.stdout,
            "0\n"
        );
        // This client has settings for an injected server.
        let injecting = client_for(
            admin_backend(crate::cluster::options()).await?,
            Defaults::default(),
        );
        let same = injecting.connect(sbx.id()).await?;
        assert_eq!(same.shell("echo $0").output().await?.status.code(), Some(0));
        Outcome::Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}

async fn features_of_sandbox_sshd_are_refused(_: TestedBackend) -> Outcome {
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
        // The ttl cannot be extended, because Kubernetes enforces it.
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

/// The error of a creation whose options do not match the server of the image.
async fn creation_error(
    server: ImageServer,
    security: SecurityProfile,
    grace: Duration,
) -> Outcome<Error> {
    let mut options = options();
    options.injection = Injection::Image(server);
    options.security = security;
    options.startup_grace = grace;
    let backend = admin_backend(options)
        .await?
        .with_host_key_probe(Arc::new(SshHostKeyProbe::new()));
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    // The grace ends the creation.
    defaults.create_timeout = 2 * grace.max(Duration::from_secs(60));
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

fn assert_unreachable(error: &Error, texts: &[&str]) {
    let Error::Creation(creation) = error else {
        panic!("{error:?}")
    };
    let actual = (creation.stage, creation.reason);
    assert_eq!(
        actual,
        (CreationStage::Connect, CreationReason::Unreachable),
        "{error}"
    );
    for text in texts {
        assert!(
            creation.message.contains(text),
            "{text:?} is not in: {error}"
        );
    }
    // On a busy node the kubelet may not have reported the container yet, and then may have no log of it either.
    if creation.log_tail.is_empty() && !creation.message.contains("its container runs") {
        return;
    }
    // Or the server may still be generating its keys.
    let log_lines = ["generating new host keys", "Server listening on"];
    assert!(
        log_lines
            .iter()
            .any(|line| creation.log_tail.contains(line)),
        "the log of the server: {:?}",
        creation.log_tail
    );
}

async fn an_unknown_user_is_reported(_: TestedBackend) -> Outcome {
    let mut server = ImageServer::default();
    server.user = "unknown-user".into();
    // The server first generates its host keys, which may take minutes.
    let error = creation_error(server, SecurityProfile::Baseline, Duration::from_secs(240)).await?;
    assert_unreachable(
        &error,
        &[
            "does not accept",
            "unknown-user",
            "SANDBOX_SSH_USER",
            "port 22",
        ],
    );
    Ok(())
}

async fn a_wrong_port_is_reported(_: TestedBackend) -> Outcome {
    let mut server = ImageServer::default();
    server.port = 2022;
    let error = creation_error(server, SecurityProfile::Baseline, Duration::from_secs(20)).await?;
    assert_unreachable(
        &error,
        &[
            "nothing responded on port 2022",
            "connection refused",
            "SANDBOX_SSH_PORT",
        ],
    );
    Ok(())
}

async fn a_server_that_needs_root_is_refused_by_the_restricted_profile(
    _: TestedBackend,
) -> Outcome {
    for (user, port, text) in [("root", 2222, "logs in as root"), ("app", 22, "below 1024")] {
        let mut server = ImageServer::default();
        server.user = user.into();
        server.port = port;
        // The options are refused before any request is sent, so this is not a failed creation.
        let error =
            creation_error(server, SecurityProfile::Restricted, Duration::from_secs(3)).await?;
        assert!(
            matches!(&error, Error::Config { message } if message.contains(text)),
            "{error:?}"
        );
        assert!(error.to_string().contains("profile Baseline"), "{error}");
    }
    Ok(())
}
