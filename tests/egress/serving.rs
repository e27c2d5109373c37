//! Which client serves the way out, and what happens when none does.

use std::future::IntoFuture;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sandbox::{Dial, Egress, EgressEvent, Error, ExecEvent, Resolve, Sandbox};
use sandbox_testkit::peers;
use tokio::sync::mpsc;

use crate::Outcome;
use crate::index::{Files, serve_http};
use crate::internet::Internet;
use crate::world::{Decisions, World, create};

crate::cases![
    rules_are_replaced_at_once,
    a_sandbox_is_offline_when_no_client_serves_it,
    initial_commands_have_the_way_out,
    a_pool_serves_what_is_taken,
    many_connections_at_once_are_all_served,
    a_flood_from_inside_blocks_only_the_way_out_of_its_own_sandbox,
];

/// Opens more connections than are served at once, and asks on each when all are open. Prints how many got what they asked for.
const CROWD: &str = r#"
import os, resource, socket
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
port = int(os.environ["HTTP_PROXY"].rsplit(":", 1)[1])
open = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(1100)]
for one in open:
    one.sendall(b"GET http://web.test/hello HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
served = 0
for one in open:
    answer = b""
    while part := one.recv(4096):
        answer += part
    served += answer.endswith(b"hello")
print(served)
"#;

/// Opens more connections than are served at once, keeps them open without a word, and says how many there are.
const FLOOD: &str = r#"
import os, resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
port = int(os.environ["HTTP_PROXY"].rsplit(":", 1)[1])
open = []
for _ in range(1500):
    one = socket.socket()
    one.setblocking(False)
    try:
        one.connect(("127.0.0.1", port))
    except BlockingIOError:
        pass
    open.append(one)
print(len(open), flush=True)
sys.stdin.read()
"#;

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
    let of_pool: Decisions = Arc::default();
    let seen = Arc::clone(&of_pool);
    let builder = builder.on_egress(move |event| seen.lock().unwrap().push(event.clone()));
    let pool = world.client.pool(builder).size(1).start()?;
    pool.filled().await;
    // One of them waits, and the other may have to be created.
    let (first_sender, mut first) = mpsc::unbounded_channel();
    let (second_sender, mut second) = mpsc::unbounded_channel();
    let take = |sender: mpsc::UnboundedSender<EgressEvent>| {
        let take = pool.take().env("MODE", "ci");
        take.on_egress(move |event| drop(sender.send(event.clone())))
    };
    let (sandbox, neighbour) = tokio::try_join!(
        take(first_sender).into_future(),
        take(second_sender).into_future()
    )?;
    assert_eq!(get(&sandbox).await?, "hello");
    let other = world.other.connect(sandbox.id()).await?;
    assert_eq!(get(&other).await?, "hello");
    let decided = first.recv().await.ok_or("no decision")?;
    assert_eq!(decided.rule.as_deref(), Some("allow web.test"));
    // Each has its own decisions, and the pool has those of none.
    assert!(second.try_recv().is_err());
    assert_eq!(get(&neighbour).await?, "hello");
    let decided = second.recv().await.ok_or("no decision")?;
    assert_eq!(decided.rule.as_deref(), Some("allow web.test"));
    assert!(of_pool.lock().unwrap().is_empty());
    sandbox.delete().await?;
    neighbour.delete().await?;
    pool.close().await?;
    Ok(())
}

async fn many_connections_at_once_are_all_served(world: Arc<World>) -> Outcome {
    let Some(python) = &world.python else {
        return Ok(());
    };
    // This process has both ends of each connection to the server.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let (sandbox, _) = create(&world, &internet().await?, "none +web.test").await?;
    let output = sandbox
        .command(&python.program)
        .args(["-c", CROWD])
        .output()
        .await?;
    assert_eq!(output.stdout_lossy(), "1100\n", "{output:?}");
    sandbox.delete().await?;
    Ok(())
}

async fn a_flood_from_inside_blocks_only_the_way_out_of_its_own_sandbox(
    world: Arc<World>,
) -> Outcome {
    let Some(python) = world.python.as_ref().filter(|_| has_curl()) else {
        return Ok(());
    };
    let internet = internet().await?;
    let (sandbox, _) = create(&world, &internet, "none +web.test").await?;
    let (other, _) = create(&world, &internet, "none +web.test").await?;
    let before = open_descriptors()?;
    let mut flood = sandbox
        .command(&python.program)
        .args(["-c", FLOOD])
        .stdin_piped()
        .spawn()
        .await?;
    let Some(ExecEvent::Stdout(count)) = flood.next().await.transpose()? else {
        return Err("the flood did not begin".into());
    };
    assert_eq!(count, "1500\n");
    // Commands and files use other connections, and another sandbox has a proxy of its own.
    let output = sandbox.shell("echo works").output().await?;
    assert_eq!(output.stdout, "works\n");
    sandbox.files().write("file", "content").await?;
    assert_eq!(get(&other).await?, "hello");
    // A connection from inside takes no descriptor here before the rules have allowed it.
    assert!(open_descriptors()? < before + 200);
    drop(flood.take_stdin());
    while let Some(event) = flood.next().await {
        event?;
    }
    assert_eq!(get(&sandbox).await?, "hello");
    sandbox.delete().await?;
    other.delete().await?;
    Ok(())
}

/// How many descriptors this process has open.
fn open_descriptors() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}
