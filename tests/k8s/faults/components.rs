//! The API server or the kubelet is killed and started again.

use std::future::Future;
use std::time::Duration;

use futures_util::future::try_join_all;
use sandbox::{Client, Error};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::Transport;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::cluster::{
    admin_backend, api, client_for, defaults, managed_objects, namespace, options,
};
use crate::script::{NOTICE, Script};

cases![
    a_creation_survives_an_api_server_outage,
    a_transfer_survives_an_api_server_outage,
    a_deletion_survives_an_api_server_outage,
    a_kubelet_outage_does_not_block,
];

/// How long a component is down.
const OUTAGE: Duration = Duration::from_secs(3);
/// A creation whose Pod only the kubelet can end must fail within this time.
const CREATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Every call must return within this time during any outage.
const CALL_TIMEOUT: Duration = Duration::from_secs(150);

async fn a_creation_survives_an_api_server_outage(tested: TestedBackend) -> Outcome {
    const BEFORE: [u64; 5] = [0, 5, 40, 100, 300];
    let Some(mut script) = Script::find() else {
        return Ok(());
    };
    let creations = BEFORE.map(|millis| {
        let client = tested.new_client();
        start_before_outage(millis, async move { client.sandbox().create().await })
    });
    script.interrupt("apiserver", OUTAGE).await?;
    for creation in creations {
        match timeout(CALL_TIMEOUT, creation).await?? {
            Ok(sbx) => {
                sbx.command("true").output().await?.check()?;
                sbx.delete().await?;
            }
            Err(error) => assert!(matches!(error, Error::Creation(_)), "{error:?}"),
        }
    }
    wait_until_nothing_is_left().await
}

async fn a_transfer_survives_an_api_server_outage(_: TestedBackend) -> Outcome {
    const BYTES: usize = 200 << 20;
    const TRANSPORTS: [Transport; 2] = [Transport::Direct, Transport::PortForward];
    let Some(mut script) = Script::find() else {
        return Ok(());
    };
    let mut sandboxes = Vec::new();
    for transport in TRANSPORTS {
        let sbx = client_over(transport).await?.sandbox().create().await?;
        // The end of the file shows whether the transfer was complete.
        let out = sbx
            .shell(format!("truncate -s {BYTES} big && printf end >> big"))
            .output()
            .await?;
        out.check()?;
        sandboxes.push(sbx);
    }
    let transfers = sandboxes.iter().map(|sbx| {
        let sbx = sbx.clone();
        start_before_outage(150, async move { sbx.files().read("big").await })
    });
    let transfers: Vec<_> = transfers.collect();
    script.interrupt("apiserver", OUTAGE).await?;
    for ((transfer, sbx), transport) in transfers.into_iter().zip(sandboxes).zip(TRANSPORTS) {
        match timeout(CALL_TIMEOUT, transfer).await?? {
            Ok(bytes) => assert!(
                bytes.len() == BYTES + 3 && bytes.ends_with(b"end"),
                "cut short"
            ),
            Err(error) => assert_ne!(transport, Transport::Direct, "{error}"),
        }
        sbx.command("true").output().await?.check()?;
        sbx.delete().await?;
    }
    wait_until_nothing_is_left().await
}

async fn a_deletion_survives_an_api_server_outage(tested: TestedBackend) -> Outcome {
    const BEFORE: [u64; 4] = [0, 5, 50, 500];
    let Some(mut script) = Script::find() else {
        return Ok(());
    };
    let sandboxes = try_join_all(BEFORE.map(|_| tested.sandbox().create())).await?;
    let deletions: Vec<_> = sandboxes
        .iter()
        .zip(BEFORE)
        .map(|(sbx, millis)| {
            let sbx = sbx.clone();
            start_before_outage(millis, async move { sbx.delete().await })
        })
        .collect();
    script.interrupt("apiserver", OUTAGE).await?;
    for (deletion, sbx) in deletions.into_iter().zip(sandboxes) {
        // A deletion that failed can be repeated.
        if let Err(error) = timeout(CALL_TIMEOUT, deletion).await?? {
            assert!(matches!(error, Error::Deletion { .. }), "{error:?}");
            sbx.delete().await?;
        }
    }
    wait_until_nothing_is_left().await
}

async fn a_kubelet_outage_does_not_block(_: TestedBackend) -> Outcome {
    let Some(mut script) = Script::find() else {
        return Ok(());
    };
    let direct = client_over(Transport::Direct).await?;
    let forward = client_over(Transport::PortForward).await?;
    let sbx = direct.sandbox().detached().create().await?;
    sbx.command("true").output().await?.check()?;
    script.kill("kubelet")?;
    // A running sandbox keeps running, and is reached without the kubelet.
    sbx.command("true").output().await?.check()?;
    // A port-forward needs the kubelet.
    let unreachable = timeout(CALL_TIMEOUT, forward.connect(sbx.id())).await?;
    assert!(
        matches!(
            unreachable,
            Err(Error::Connection(_) | Error::Timeout { .. })
        ),
        "{:?}",
        unreachable.map(drop)
    );
    // The creation does not wait for the deletion of its Pod, which needs the kubelet.
    let creation = timeout(
        CREATION_TIMEOUT,
        direct
            .sandbox()
            .create_timeout(Duration::from_secs(3))
            .create(),
    )
    .await?;
    assert!(
        matches!(creation, Err(Error::Creation(_))),
        "{:?}",
        creation.map(drop)
    );
    script.restore().await?;

    forward
        .connect(sbx.id())
        .await?
        .command("true")
        .output()
        .await?
        .check()?;
    sbx.delete().await?;
    wait_until_nothing_is_left().await
}

/// Starts `work` so many milliseconds before the outage of [`Script::interrupt`], which the caller
/// calls next.
fn start_before_outage<T: Send + 'static>(
    millis: u64,
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(async move {
        sleep(NOTICE.saturating_sub(Duration::from_millis(millis))).await;
        work.await
    })
}

pub(crate) async fn client_over(transport: Transport) -> Outcome<Client> {
    let mut options = options();
    options.transport = transport;
    Ok(client_for(admin_backend(options).await?, defaults()))
}

/// Waits for minutes, because the garbage collector and the kubelet have to recover first. A
/// kubelet of 1.20 may take minutes for a Pod that was deleted during its outage.
async fn wait_until_nothing_is_left() -> Outcome {
    let mut left = Vec::new();
    for _ in 0..1200 {
        left = managed_objects(&api().await?, namespace()).await?;
        if left.is_empty() {
            return Ok(());
        }
        sleep(Duration::from_millis(250)).await;
    }
    Err(format!("left behind: {left:?}").into())
}
