//! Benchmarks: ratios against a named peer in the same run.

use anyhow::{Result, bail};

mod child;
mod deletions;
mod egress;
mod figures;
mod gateway;
#[cfg(feature = "bench-k8s")]
mod k8s;
mod load;
mod local;
mod openssh;
mod pool;
mod python;
#[cfg(feature = "bench-k8s")]
mod scale;
mod ssh;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        ["local"] => local::run(),
        ["egress", parts @ ..] => egress::run(parts),
        // A process that `bench egress` starts.
        ["egress-server"] => egress::server::serve(),
        ["gateway", parts @ ..] => gateway::run(parts),
        ["python"] => python::run(),
        // A process that `bench gateway` starts.
        ["gateway-server", directory] => gateway::server::serve(directory),
        ["pool"] => {
            pool::run()?;
            #[cfg(feature = "bench-k8s")]
            if std::env::var_os("SANDBOX_KUBECONFIG").is_some() {
                k8s::run(&["pool"])?;
            }
            Ok(())
        }
        ["ssh", options @ ..] => ssh::run(options),
        // Processes that `bench ssh` starts.
        ["ssh-client", rest @ ..] => ssh::client::run(rest),
        ["ssh-server", rest @ ..] => ssh::server::serve(rest),
        ["ssh-delay", rest @ ..] => ssh::delay::serve(rest),
        #[cfg(feature = "bench-k8s")]
        ["k8s", parts @ ..] => k8s::run(parts),
        #[cfg(feature = "bench-k8s")]
        ["scale", sizes @ ..] => scale::run(sizes),
        // Processes that `bench scale` starts.
        #[cfg(feature = "bench-k8s")]
        ["scale-server"] => scale::server::serve(),
        #[cfg(feature = "bench-k8s")]
        ["scale-client", port, size] => scale::client::run(port, size),
        _ => bail!("name a benchmark: local, egress, gateway, pool, python, ssh, k8s or scale"),
    }
}
