//! The gateway as a process of its own, so that its memory can be measured: `xtask bench gateway-server`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};
use sandbox::Client;
use sandbox_gateway::{ConfigOverrides, Gateway, GatewayConfig, Template, TemplatePool};
use tempfile::TempDir;

/// The template without a pool.
pub(super) const COLD: &str = "base";
/// The template whose sandboxes wait.
pub(super) const WARM: &str = "warm";
/// How many wait.
const POOL_SIZE: usize = 4;
const KEYS: &str = "keys";

/// A gateway that runs. Dropping it ends the process.
pub(in crate::bench) struct Server {
    child: Child,
    address: SocketAddr,
    key: String,
    // Fields are dropped in this order: the process ends once its input does.
    _stdin: Option<ChildStdin>,
    _directory: TempDir,
}

impl Server {
    pub(in crate::bench) fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let key = sandbox_gateway::add_key(&directory.path().join(KEYS), "bench")?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "gateway-server"])
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the gateway")?;
        let stdout = child.stdout.take().context("the gateway's output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self {
            address: line.trim().parse().context("the gateway's address")?,
            key,
            _stdin: child.stdin.take(),
            child,
            _directory: directory,
        })
    }

    pub(in crate::bench) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(in crate::bench) fn key(&self) -> &str {
        &self.key
    }

    /// The memory that the process has in RAM, in bytes.
    pub(super) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .context("no VmRSS in the status of the gateway")?;
        Ok(kilobytes.parse::<u64>()? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its sandboxes are attached to it: local ones end with it, and those on a cluster within a minute.
        self._stdin = None;
        self.child.wait().ok();
    }
}

/// Runs the gateway with the keys in a directory until its standard input ends.
pub(in crate::bench) fn serve(directory: &str) -> Result<()> {
    crate::bench::child::end_with_stdin();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let mut settings = ConfigOverrides::default();
            settings.listen = Some("127.0.0.1:0".parse()?);
            settings.keys_file = Some(Path::new(directory).join(KEYS));
            // Not every cluster enforces policies, and the proof that one does would be a part of each creation.
            settings.backend_network = crate::is_cluster_the_backend();
            let mut warm = Template::default();
            warm.backend_network = settings.backend_network;
            warm.pool = Some(TemplatePool::Own { size: POOL_SIZE });
            let mut config = GatewayConfig::load(None, settings)?;
            config.templates.insert(WARM.to_owned(), warm);
            let gateway = Gateway::bind(config, Client::from_env().await?).await?;
            println!("{}", gateway.local_addr());
            gateway.serve(std::future::pending()).await;
            Ok(())
        })
}
