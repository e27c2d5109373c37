//! One file for each subcommand, named as the user types it.

mod attached;
pub(crate) mod completions;
mod cp;
mod create;
pub(crate) mod doctor;
mod egress;
mod exec;
mod extend;
mod forward;
mod gc;
mod info;
mod jobs;
mod kill;
mod logs;
mod ls;
pub(crate) mod man;
pub(crate) mod mcp;
mod pause;
mod pool;
mod proxy;
mod resume;
mod rm;
mod run;
pub(crate) mod serve;
mod ssh;
mod ssh_config;
mod url;
mod wait;

use std::time::Duration;

use clap::Subcommand;
use sandbox::Client;

use crate::args::global::Global;
use crate::exit::Outcome;
use crate::interrupt::Interrupts;

/// How long an interrupted `cp` may take to remove its partial file from the sandbox.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The subcommands that need a client.
#[derive(Subcommand)]
pub(crate) enum ClientCommand {
    Run(run::Args),
    Create(create::Args),
    Exec(exec::Args),
    #[command(visible_alias = "copy")]
    Cp(cp::Args),
    Jobs(jobs::Args),
    Logs(logs::Args),
    Wait(wait::Args),
    Kill(kill::Args),
    #[command(visible_alias = "port-forward")]
    Forward(forward::Args),
    Egress(egress::Args),
    Url(url::Args),
    Ssh(ssh::Args),
    SshConfig(ssh_config::Args),
    Proxy(proxy::Args),
    #[command(visible_aliases = ["ps", "list"])]
    Ls(ls::Args),
    #[command(visible_alias = "inspect")]
    Info(info::Args),
    Extend(extend::Args),
    Pause(pause::Args),
    #[command(visible_alias = "unpause")]
    Resume(resume::Args),
    Pool(pool::Args),
    #[command(visible_aliases = ["delete", "remove"])]
    Rm(rm::Args),
    #[command(visible_alias = "sweep")]
    Gc(gc::Args),
}

/// Connects to the backend and runs a subcommand.
pub(crate) async fn run(
    command: ClientCommand,
    global: &Global,
    interrupts: &mut Interrupts,
) -> Outcome {
    let client = tokio::select! {
        client = global.create_client() => client?,
        signal = interrupts.next() => return Ok(signal.exit_code()),
    };
    // ssh prints what its ProxyCommand writes to stderr, at each connection.
    if !matches!(command, ClientCommand::Proxy(_)) {
        global.print_location(&client);
    }
    let client = &client;
    match command {
        // These delete or stop something on a signal, so they handle signals themselves.
        ClientCommand::Pool(args) => pool::run(args, client, interrupts, global.quiet).await,
        ClientCommand::Run(args) => run::run(args, client, interrupts, global.quiet).await,
        ClientCommand::Create(args) => create::run(args, client, interrupts, global.quiet).await,
        ClientCommand::Exec(args) => exec::run(args, client, interrupts, global.quiet).await,
        ClientCommand::Cp(args) => {
            let outcome = interrupts.run_until_signal(cp::run(args, client)).await;
            wait_for_cleanup(client, interrupts).await;
            outcome
        }
        ClientCommand::Jobs(args) => interrupts.run_until_signal(jobs::run(args, client)).await,
        ClientCommand::Logs(args) => {
            interrupts
                .run_until_signal(logs::run(args, client, global.quiet))
                .await
        }
        ClientCommand::Wait(args) => interrupts.run_until_signal(wait::run(args, client)).await,
        ClientCommand::Kill(args) => interrupts.run_until_signal(kill::run(args, client)).await,
        ClientCommand::Forward(args) => {
            interrupts
                .run_until_signal(forward::run(args, client))
                .await
        }
        ClientCommand::Egress(args) => {
            interrupts
                .run_until_signal(egress::run(args, client, global.quiet))
                .await
        }
        ClientCommand::Url(args) => interrupts.run_until_signal(url::run(args, client)).await,
        ClientCommand::Ssh(args) => interrupts.run_until_signal(ssh::run(args, client)).await,
        ClientCommand::SshConfig(args) => {
            interrupts
                .run_until_signal(ssh_config::run(args, client))
                .await
        }
        ClientCommand::Proxy(args) => interrupts.run_until_signal(proxy::run(args, client)).await,
        ClientCommand::Ls(args) => interrupts.run_until_signal(ls::run(args, client)).await,
        ClientCommand::Info(args) => interrupts.run_until_signal(info::run(args, client)).await,
        ClientCommand::Extend(args) => interrupts.run_until_signal(extend::run(args, client)).await,
        ClientCommand::Pause(args) => interrupts.run_until_signal(pause::run(args, client)).await,
        ClientCommand::Resume(args) => interrupts.run_until_signal(resume::run(args, client)).await,
        ClientCommand::Rm(args) => interrupts.run_until_signal(rm::run(args, client)).await,
        ClientCommand::Gc(args) => interrupts.run_until_signal(gc::run(args, client)).await,
    }
}

/// Waits for the cleanup of what was dropped, until a timeout or another signal.
async fn wait_for_cleanup(client: &Client, interrupts: &mut Interrupts) {
    tokio::select! {
        () = client.settle() => {}
        () = tokio::time::sleep(CLEANUP_TIMEOUT) => {}
        _ = interrupts.next() => {}
    }
}
