//! The API server or the kubelet is killed, and comes back.

use std::time::Duration;

use sandbox::{Client, Defaults, Error};
use sandbox_k8s::options::Transport;
use sandbox_tests::{Outcome, World, cases};
use tokio::time::{sleep, timeout};

use crate::cluster::{api, backend, image, namespace, options, ours, parts};
use crate::script::Script;

cases![
    no_api_server_during_a_create,
    no_api_server_during_a_transfer,
    no_api_server_during_a_delete,
    no_kubelet,
];

/// How long a component is away.
const AWAY: Duration = Duration::from_secs(3);
/// Nothing may hang, whatever is away.
const NEVER: Duration = Duration::from_secs(150);

async fn no_api_server_during_a_create(world: World) -> Outcome {
    let Some(mut script) = Script::find() else { return Ok(()) };
    for patience in [0, 40, 300] {
        let maker = world.fresh();
        let creation = tokio::spawn(async move { maker.sandbox().create().await });
        sleep(Duration::from_millis(patience)).await;
        script.kill("apiserver")?;
        sleep(AWAY).await;
        script.restore().await?;
        match timeout(NEVER, creation).await?? {
            Ok(sbx) => {
                sbx.command("true").output().await?.check()?;
                sbx.delete().await?;
            }
            Err(error) => assert!(matches!(error, Error::Creation(_)), "{error:?}"),
        }
        nothing_left().await?;
    }
    Ok(())
}

async fn no_api_server_during_a_transfer(_: World) -> Outcome {
    const BYTES: usize = 200 << 20;
    let Some(mut script) = Script::find() else { return Ok(()) };
    for transport in [Transport::Direct, Transport::PortForward] {
        let client = over(transport).await?;
        let sbx = client.sandbox().create().await?;
        // As long as it says, and with something at its end.
        let out = sbx.shell(format!("truncate -s {BYTES} big && printf end >> big")).output().await?;
        out.check()?;
        let reading = {
            let sbx = sbx.clone();
            tokio::spawn(async move { sbx.files().read("big").await })
        };
        sleep(Duration::from_millis(150)).await;
        script.kill("apiserver")?;
        sleep(AWAY).await;
        script.restore().await?;
        match timeout(NEVER, reading).await?? {
            Ok(bytes) => assert!(bytes.len() == BYTES + 3 && bytes.ends_with(b"end"), "cut short"),
            Err(error) => assert_ne!(transport, Transport::Direct, "{error}"),
        }
        sbx.command("true").output().await?.check()?;
        sbx.delete().await?;
    }
    nothing_left().await
}

async fn no_api_server_during_a_delete(world: World) -> Outcome {
    let Some(mut script) = Script::find() else { return Ok(()) };
    for patience in [0, 5, 500] {
        let sbx = world.sandbox().create().await?;
        let deletion = {
            let sbx = sbx.clone();
            tokio::spawn(async move { sbx.delete().await })
        };
        sleep(Duration::from_millis(patience)).await;
        script.kill("apiserver")?;
        sleep(AWAY).await;
        script.restore().await?;
        // It may have given up; then it can be repeated.
        if let Err(error) = timeout(NEVER, deletion).await?? {
            assert!(matches!(error, Error::Deletion { .. }), "{error:?}");
            sbx.delete().await?;
        }
        nothing_left().await?;
    }
    Ok(())
}

async fn no_kubelet(_: World) -> Outcome {
    let Some(mut script) = Script::find() else { return Ok(()) };
    let (direct, forward) = (over(Transport::Direct).await?, over(Transport::PortForward).await?);
    let sbx = direct.sandbox().detached().create().await?;
    sbx.command("true").output().await?.check()?;
    script.kill("kubelet")?;
    // What runs goes on running, and is reached without it.
    sbx.command("true").output().await?.check()?;
    // A port-forward goes through it.
    let unreachable = timeout(NEVER, forward.connect(sbx.id())).await?;
    assert!(
        matches!(unreachable, Err(Error::Connection(_) | Error::Timeout { .. })),
        "{:?}",
        unreachable.map(drop)
    );
    let late = tokio::spawn(direct.sandbox().create_timeout(Duration::from_secs(3)).create());
    sleep(Duration::from_secs(4)).await;
    script.restore().await?;
    // It returns when its Pod is gone, for which it takes the kubelet.
    let late = timeout(NEVER, late).await??;
    assert!(matches!(late, Err(Error::Creation(_))), "{:?}", late.map(drop));

    forward.connect(sbx.id()).await?.command("true").output().await?.check()?;
    sbx.delete().await?;
    nothing_left().await
}

pub(crate) async fn over(transport: Transport) -> Outcome<Client> {
    let mut options = options();
    options.transport = transport;
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    Ok(parts(backend(options).await?, defaults))
}

/// In a while: the garbage collector and the kubelet have to come back first.
async fn nothing_left() -> Outcome {
    let mut left = Vec::new();
    for _ in 0..480 {
        left = ours(&api().await?, namespace()).await?;
        if left.is_empty() {
            return Ok(());
        }
        sleep(Duration::from_millis(250)).await;
    }
    Err(format!("left behind: {left:?}").into())
}
