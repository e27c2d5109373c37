//! Connections to ports of a sandbox.

use sandbox::{ConnectionStage, CreationStage, Egress, Error, ExecEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::with_sandbox;

cases![
    a_port_is_forwarded,
    a_connection_that_is_closed_inside_takes_no_writes,
    a_closed_port_is_an_error,
    a_unix_socket_is_reached,
    a_port_inside_is_served_here,
    egress_rules_are_enforced_or_refused,
];

/// A server that answers a line with the same line in capitals. It uses Python or busybox.
const SERVER: &str = "if command -v python3 >/dev/null; then exec python3 -c '
import socket
s = socket.create_server((\"127.0.0.1\", 8123))
while True:
    c, _ = s.accept(); c.sendall(c.recv(100).upper()); c.close()
'; else exec nc -ll -p 8123 -e sh -c 'head -n 1 | tr a-z A-Z'; fi";

async fn a_port_is_forwarded(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let _server = sbx.shell(SERVER).spawn().await?;
        wait_until_listening(&sbx).await?;
        let forward = sbx.forward(8123).await?;
        for _ in 0..3 {
            let mut stream = TcpStream::connect(forward.local_addr()).await?;
            stream.write_all(b"hello\n").await?;
            let mut response = String::new();
            stream.read_to_string(&mut response).await?;
            assert_eq!(response, "HELLO\n");
        }
        let address = forward.local_addr();
        drop(forward);
        for _ in 0..50 {
            if TcpStream::connect(address).await.is_err() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Err("the local port stayed open".into())
    })
    .await
}

async fn a_connection_that_is_closed_inside_takes_no_writes(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let _server = sbx.shell(SERVER).spawn().await?;
        wait_until_listening(&sbx).await?;
        let forward = sbx.forward(8123).await?;
        let mut stream = TcpStream::connect(forward.local_addr()).await?;
        stream.write_all(b"hello\n").await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        assert_eq!(response, "HELLO\n");
        for _ in 0..500 {
            if stream.write_all(b"is anybody there?").await.is_err() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Err("writes are accepted for ten seconds".into())
    })
    .await
}

async fn a_closed_port_is_an_error(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        match sbx.open_port(1).await.map(drop) {
            Err(Error::Connection(error)) => assert_eq!(error.stage, ConnectionStage::Channel),
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await
}

async fn a_unix_socket_is_reached(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        match sbx.open_unix_socket("no-such.sock").await.map(drop) {
            Err(Error::Connection(error)) => assert_eq!(error.stage, ConnectionStage::Channel),
            other => panic!("{other:?}"),
        }
        let python = sbx.command("python3").arg("--version").status().await?;
        if !python.success() {
            eprintln!("skipped: the image has no python3 to listen with");
            return Ok(());
        }
        let script = "
import socket
s = socket.socket(socket.AF_UNIX); s.bind('echo.sock'); s.listen()
print('listening', flush=True)
c, _ = s.accept(); c.sendall(c.recv(100).upper()); c.close()
";
        let mut server = sbx.command("python3").args(["-c", script]).spawn().await?;
        while let Some(event) = server.next().await {
            if let ExecEvent::Stdout(_) = event? {
                break;
            }
        }
        let mut stream = sbx.open_unix_socket("echo.sock").await?;
        stream.write_all(b"hello\n").await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        assert_eq!(response, "HELLO\n");
        Ok(())
    })
    .await
}

async fn a_port_inside_is_served_here(backend: TestedBackend) -> Outcome {
    if !backend.new_client().capabilities().sandbox_sshd {
        return Ok(());
    }
    with_sandbox(backend, |sbx| async move {
        let mut listener = sbx.session().listen(None).await?;
        let mut inside = sbx.open_port(listener.port()).await?;
        let mut here = listener.accept().await?.ok_or("nothing listens")?;
        inside.write_all(b"question").await?;
        inside.shutdown().await?;
        let mut question = String::new();
        here.read_to_string(&mut question).await?;
        assert_eq!(question, "question");
        here.write_all(b"answer").await?;
        here.shutdown().await?;
        let mut answer = String::new();
        inside.read_to_string(&mut answer).await?;
        assert_eq!(answer, "answer");
        Ok(())
    })
    .await
}

/// Rules that hold only for some programs are not called rules.
async fn egress_rules_are_enforced_or_refused(backend: TestedBackend) -> Outcome {
    let capabilities = backend.new_client().capabilities();
    match backend.sandbox().egress(Egress::none()).create().await {
        Ok(sbx) => {
            let served = sbx.egress();
            sbx.delete().await?;
            assert!(!capabilities.network || capabilities.network_isolation);
            assert_eq!(served, Some(Egress::none()));
        }
        // Nothing keeps it from its network, or it may not be found out whether something does.
        Err(Error::Creation(error)) if capabilities.network_isolation => {
            assert_eq!(error.stage, CreationStage::Isolate, "{error}");
        }
        Err(Error::Unsupported(error)) => {
            assert!(error.to_string().contains("egress"), "{error}");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn wait_until_listening(sbx: &sandbox::Sandbox) -> Outcome {
    for _ in 0..200 {
        if sbx.open_port(8123).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err("the server did not listen within ten seconds".into())
}
