//! Reaching ports inside.

use sandbox::{ConnectionStage, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Outcome, World, cases, with_sandbox};

cases![a_port_is_forwarded, a_closed_port_says_so];

/// A server for one connection, in whatever the sandbox has.
const SERVER: &str = "if command -v python3 >/dev/null; then exec python3 -c '
import socket
s = socket.create_server((\"127.0.0.1\", 8123)); print(\"up\", flush=True)
while True:
    c, _ = s.accept(); c.sendall(c.recv(100).upper()); c.close()
'; else echo up; while :; do printf HELLO | nc -l -p 8123 127.0.0.1; done; fi";

async fn a_port_is_forwarded(world: World) -> Outcome {
    with_sandbox(world, |sbx| async move {
        let mut server = sbx.shell(SERVER).spawn().await?;
        assert!(matches!(server.next().await, Some(Ok(sandbox::ExecEvent::Stdout(_)))));
        let forward = sbx.forward(8123).await?;
        for _ in 0..3 {
            let mut stream = TcpStream::connect(forward.local_addr()).await?;
            stream.write_all(b"hello").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            assert_eq!(answer, "HELLO");
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

async fn a_closed_port_says_so(world: World) -> Outcome {
    with_sandbox(world, |sbx| async move {
        match sbx.open_port(1).await.map(drop) {
            Err(Error::Connection(error)) => assert_eq!(error.stage, ConnectionStage::Channel),
            other => panic!("{other:?}"),
        }
        Ok(())
    })
    .await
}
