//! Which client serves the way out, and what happens when none does.

use std::sync::Arc;

use sandbox::{Dial, Egress, Error, Resolve, Sandbox};
use sandbox_testkit::peers;

use crate::Outcome;
use crate::index::{Files, serve_http};
use crate::world::{Internet, World, create};

crate::cases![
    rules_are_replaced_at_once,
    a_sandbox_is_offline_when_no_client_serves_it,
    initial_commands_have_the_way_out,
    a_pool_serves_what_is_taken,
];

async fn internet() -> Outcome<Arc<Internet>> {
    let internet = Internet::default();
    let files = Files::from([("/hello".to_owned(), b"hello".to_vec())]);
    internet.add("web.test", "93.184.216.34", 80, serve_http(files).await?);
    Ok(Arc::new(internet))
}

fn has_curl() -> bool {
    peers::find_program("curl").is_some()
        || peers::skip("curl", "needs curl (apt-get install curl)")
}

/// What curl gets: the text, or else its error.
async fn get(sandbox: &Sandbox) -> Outcome<String> {
    let curl = ["-sS", "-m", "20", "http://web.test/hello"];
    let output = sandbox.command("curl").args(curl).output().await?;
    Ok(output.stdout_lossy() + &output.stderr_lossy())
}

async fn rules_are_replaced_at_once(world: Arc<World>) -> Outcome {
    if !has_curl() {
        return Ok(());
    }
    let (sandbox, _) = create(&world, &internet().await?, "none").await?;
    assert!(get(&sandbox).await?.contains("refused"));
    sandbox.update_egress("none +web.test".parse()?)?;
    assert_eq!(get(&sandbox).await?, "hello");
    assert_eq!(
        sandbox.egress().map(|rules| rules.to_string()).as_deref(),
        Some("none +web.test")
    );
    sandbox.update_egress(Egress::none())?;
    assert!(get(&sandbox).await?.contains("refused"));
    sandbox.delete().await?;
    Ok(())
}

async fn a_sandbox_is_offline_when_no_client_serves_it(world: Arc<World>) -> Outcome {
    if !has_curl() {
        return Ok(());
    }
    let internet = internet().await?;
    let (sandbox, _) = create(&world, &internet, "none +web.test").await?;
    assert_eq!(get(&sandbox).await?, "hello");
    let other = world.other.connect(sandbox.id()).await?;
    sandbox.stop_egress();
    assert!(sandbox.egress().is_none());
    assert!(matches!(
        sandbox.update_egress(Egress::open()),
        Err(Error::Invalid { .. })
    ));
    let offline = get(&sandbox).await?;
    assert!(offline.starts_with("curl: "), "{offline}");

    // Another handle serves it: the port and so the variables are the same.
    let through = |sandbox: &Sandbox| {
        let rules: Egress = "none +web.test".parse().expect("rules");
        sandbox.serve_egress(rules).through(
            Arc::clone(&internet) as Arc<dyn Resolve>,
            Arc::clone(&internet) as Arc<dyn Dial>,
        )
    };
    through(&other).await?;
    assert_eq!(get(&sandbox).await?, "hello");
    // One at a time.
    let held = through(&sandbox).await.expect_err("it is served");
    assert!(
        held.to_string().contains("another client may do so"),
        "{held}"
    );
    // Serving it again replaces what served it.
    through(&other).await?;
    assert_eq!(get(&sandbox).await?, "hello");
    sandbox.delete().await?;
    Ok(())
}

async fn initial_commands_have_the_way_out(world: Arc<World>) -> Outcome {
    if !has_curl() {
        return Ok(());
    }
    let internet = internet().await?;
    let sandbox = world
        .client
        .sandbox()
        .egress("none +web.test".parse()?)
        .egress_through(
            Arc::clone(&internet) as Arc<dyn Resolve>,
            Arc::clone(&internet) as Arc<dyn Dial>,
        )
        .env("NO_PROXY", "own.test")
        .init(sandbox::ExecRequest::from_shell(
            "curl -sf -m 20 -o hello http://web.test/hello",
        ))
        .create()
        .await?;
    assert_eq!(sandbox.files().read("hello").await?, "hello");
    // Variables of the caller are stronger.
    let own = sandbox.shell("echo $NO_PROXY").output().await?;
    assert_eq!(own.stdout, "own.test\n");
    sandbox.delete().await?;
    Ok(())
}

async fn a_pool_serves_what_is_taken(world: Arc<World>) -> Outcome {
    if !has_curl() {
        return Ok(());
    }
    let internet = internet().await?;
    let builder = world
        .client
        .sandbox()
        .egress("none +web.test".parse()?)
        .egress_through(
            Arc::clone(&internet) as Arc<dyn Resolve>,
            Arc::clone(&internet) as Arc<dyn Dial>,
        );
    let pool = world.client.pool(builder).size(1).start()?;
    let sandbox = pool.take().env("MODE", "ci").await?;
    assert_eq!(get(&sandbox).await?, "hello");
    let other = world.other.connect(sandbox.id()).await?;
    assert_eq!(get(&other).await?, "hello");
    sandbox.delete().await?;
    pool.close().await?;
    Ok(())
}
