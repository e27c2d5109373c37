//! Runs sandbox-sshd as a process of the benchmark: `xtask bench ssh-server DIRECTORY`. The directory has its
//! host key and the user's public key.

use std::path::Path;

use anyhow::{Result, bail};
use sandbox_core::PrivateKey;
use sandbox_sshd::{Server, ServerConfig};

pub(crate) fn serve(args: &[&str]) -> Result<()> {
    let [directory] = args else {
        bail!("usage: ssh-server DIRECTORY (`bench ssh` starts it)")
    };
    let directory = Path::new(directory);
    let host = PrivateKey::from_openssh(std::fs::read_to_string(directory.join("host"))?)?;
    let user = std::fs::read_to_string(directory.join("user.pub"))?;
    // An authorized key is the first two words; the comment after it is dropped.
    let user = user
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    let config = ServerConfig::new(host, vec![user], directory.join("home"))
        .with_env(std::env::vars_os().filter(|(name, _)| name == "PATH"));
    crate::bench::child::end_with_stdin();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let server = Server::new(config)?;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?.port());
            server.serve_tcp(listener, std::future::pending()).await;
            Ok(())
        })
}
