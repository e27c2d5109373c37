//! The API server or the kubelet is killed, and comes back.

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
    no_api_server_during_a_create,
    no_api_server_during_a_transfer,
    no_api_server_during_a_delete,
    no_kubelet,
];

/// How long a component is away.
const AWAY: Duration = Duration::from_secs(3);
/// A Pod that only its kubelet can end is given up sooner.
const SOON: Duration = Duration::from_secs(60);
/// Nothing may hang, whatever is away.
const NEVER: Duration = Duration::from_secs(150);

async fn no_api_server_during_a_create(tested: TestedBackend) -> Outcome {
    const BEFORE: [u64; 5] = [0, 5, 40, 100, 300];
    let Some(mut script) = Script::find() else {
        return Ok(());
    };
    let creations = BEFORE.map(|millis| {
        let maker = tested.new_client();
        begun_before(millis, async move { maker.sandbox().create().await })
    });
    script.take_away("apiserver", AWAY).await?;
    for creation in creations {
        match timeout(NEVER, creation).await?? {
            Ok(sbx) => {
                sbx.command("true").output().await?.check()?;
                sbx.delete().await?;
            }
            Err(error) => assert!(matches!(error, Error::Creation(_)), "{error:?}"),
        }
    }
    nothing_left().await
}

async fn no_api_server_during_a_transfer(_: TestedBackend) -> Outcome {
    const BYTES: usize = 200 << 20;
    const TRANSPORTS: [Transport; 2] = [Transport::Direct, Transport::PortForward];
    let Some(mut script) = Script::find() else {
        return Ok(());
    };
    let mut sandboxes = Vec::new();
    for transport in TRANSPORTS {
        let sbx = over(transport).await?.sandbox().create().await?;
        // As long as it says, and with something at its end.
        let out = sbx
            .shell(format!("truncate -s {BYTES} big && printf end >> big"))
            .output()
            .await?;
        out.check()?;
        sandboxes.push(sbx);
    }
    let transfers = sandboxes.iter().map(|sbx| {
        let sbx = sbx.clone();
        begun_before(150, async move { sbx.files().read("big").await })
    });
    let transfers: Vec<_> = transfers.collect();
    script.take_away("apiserver", AWAY).await?;
    for ((transfer, sbx), transport) in transfers.into_iter().zip(sandboxes).zip(TRANSPORTS) {
        match timeout(NEVER, transfer).await?? {
            Ok(bytes) => assert!(
                bytes.len() == BYTES + 3 && bytes.ends_with(b"end"),
                "cut short"
            ),
            Err(error) => assert_ne!(transport, Transport::Direct, "{error}"),
        }
        sbx.command("true").output().await?.check()?;
        sbx.delete().await?;
    }
    nothing_left().await
}

async fn no_api_server_during_a_delete(tested: TestedBackend) -> Outcome {
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
            begun_before(millis, async move { sbx.delete().await })
        })
        .collect();
    script.take_away("apiserver", AWAY).await?;
    for (deletion, sbx) in deletions.into_iter().zip(sandboxes) {
        // It may have given up; then it can be repeated.
        if let Err(error) = timeout(NEVER, deletion).await?? {
            assert!(matches!(error, Error::Deletion { .. }), "{error:?}");
            sbx.delete().await?;
        }
    }
    nothing_left().await
}

async fn no_kubelet(_: TestedBackend) -> Outcome {
    let Some(mut script) = Script::find() else {
        return Ok(());
    };
    let (direct, forward) = (
        over(Transport::Direct).await?,
        over(Transport::PortForward).await?,
    );
    let sbx = direct.sandbox().detached().create().await?;
    sbx.command("true").output().await?.check()?;
    script.kill("kubelet")?;
    // What runs goes on running, and is reached without it.
    sbx.command("true").output().await?.check()?;
    // A port-forward goes through it.
    let unreachable = timeout(NEVER, forward.connect(sbx.id())).await?;
    assert!(
        matches!(
            unreachable,
            Err(Error::Connection(_) | Error::Timeout { .. })
        ),
        "{:?}",
        unreachable.map(drop)
    );
    // It does not wait for its Pod to go, for which it takes the kubelet.
    let late = timeout(
        SOON,
        direct
            .sandbox()
            .create_timeout(Duration::from_secs(3))
            .create(),
    )
    .await?;
    assert!(
        matches!(late, Err(Error::Creation(_))),
        "{:?}",
        late.map(drop)
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
    nothing_left().await
}

/// Does something so long before [`Script::take_away`], which is called next, takes something away.
fn begun_before<T: Send + 'static>(
    millis: u64,
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(async move {
        sleep(NOTICE.saturating_sub(Duration::from_millis(millis))).await;
        work.await
    })
}

pub(crate) async fn over(transport: Transport) -> Outcome<Client> {
    let mut options = options();
    options.transport = transport;
    Ok(client_for(admin_backend(options).await?, defaults()))
}

/// In a while: the garbage collector and the kubelet have to come back first. One of 1.20 may take
/// minutes to let go of a Pod that was deleted while it could not ask.
async fn nothing_left() -> Outcome {
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
