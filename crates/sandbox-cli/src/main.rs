//! The `sandbox` command: sandboxes from a terminal.

mod attached;
mod copy;
mod create;
mod doctor;
mod env_file;
mod escape;
mod exec;
mod extend;
mod failure;
mod forward;
mod gc;
mod generate;
mod habits;
mod info;
mod interrupt;
mod jobs;
mod list;
mod logs;
mod meter;
mod options;
mod pod_options;
mod progress;
mod remove;
mod run;
mod side;
mod ssh;
mod streams;
mod table;
mod target;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::failure::Outcome;
use crate::interrupt::Interrupts;
use crate::options::Global;

/// Sandboxes: isolated places to run commands and keep files for a while.
///
/// Without settings they are made on this machine. Exit codes: the command's own, 128 plus the
/// signal when one ended it, 124 when it ran out of time, and 125 when this program failed.
#[derive(Parser)]
#[command(name = "sandbox", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    #[command(flatten)]
    Work(Box<Work>),
    // These need no client, or want to see why there is none.
    Doctor(doctor::Args),
    Completions(generate::CompletionArgs),
    #[command(hide = true)]
    Man(generate::ManArgs),
}

/// What is done with sandboxes.
#[derive(Subcommand)]
enum Work {
    Run(run::Args),
    Create(create::Args),
    Exec(exec::Args),
    #[command(visible_alias = "copy")]
    Cp(copy::Args),
    Jobs(jobs::ListArgs),
    Logs(logs::Args),
    Wait(jobs::WaitArgs),
    Kill(jobs::KillArgs),
    #[command(visible_alias = "port-forward")]
    Forward(forward::Args),
    Ssh(ssh::SshArgs),
    SshConfig(ssh::ConfigArgs),
    Proxy(ssh::ProxyArgs),
    #[command(visible_aliases = ["ps", "list"])]
    Ls(list::Args),
    #[command(visible_alias = "inspect")]
    Info(info::Args),
    Extend(extend::Args),
    #[command(visible_aliases = ["delete", "remove"])]
    Rm(remove::Args),
    #[command(visible_alias = "sweep")]
    Gc(gc::Args),
}

/// How long what is half done may take to be undone.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(5);

fn main() -> ExitCode {
    // Before any thread: a local sandbox begins as this program, started once more.
    sandbox::local::init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    cli.global.start_log();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return failure::report(&anyhow::Error::new(error).context("cannot start the runtime"));
        }
    };
    let outcome = runtime.block_on(perform(cli));
    // A read of the terminal that nobody answers must not keep the program.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => failure::report(&error),
    }
}

async fn perform(cli: Cli) -> Outcome {
    let mut interrupts = Interrupts::new()?;
    let work = match cli.command {
        Action::Work(work) => *work,
        Action::Doctor(args) => {
            return until_signal(&mut interrupts, doctor::doctor(args, &cli.global)).await;
        }
        Action::Completions(args) => return generate::completions(&args, &mut Cli::command()),
        Action::Man(args) => return generate::man(&args, Cli::command()),
    };
    let client = tokio::select! {
        client = cli.global.client() => client?,
        signal = interrupts.next() => return Ok(signal.exit_code()),
    };
    // ssh shows what its proxy says each time, and knows where it goes.
    if !matches!(work, Work::Proxy(_)) {
        cli.global.tell_place(&client);
    }
    match work {
        // These have something to clean up, and look out for signals themselves.
        Work::Run(args) => run::run(args, &client, &mut interrupts, cli.global.quiet).await,
        Work::Create(args) => {
            create::create(args, &client, &mut interrupts, cli.global.quiet).await
        }
        Work::Exec(args) => exec::exec(args, &client, &mut interrupts).await,
        Work::Cp(args) => {
            let outcome = until_signal(&mut interrupts, copy::copy(args, &client)).await;
            settle(&client, &mut interrupts).await;
            outcome
        }
        Work::Jobs(args) => until_signal(&mut interrupts, jobs::list(args, &client)).await,
        Work::Logs(args) => until_signal(&mut interrupts, logs::logs(args, &client)).await,
        Work::Wait(args) => until_signal(&mut interrupts, jobs::wait(args, &client)).await,
        Work::Kill(args) => until_signal(&mut interrupts, jobs::kill(args, &client)).await,
        Work::Forward(args) => until_signal(&mut interrupts, forward::forward(args, &client)).await,
        Work::Ssh(args) => until_signal(&mut interrupts, ssh::ssh(args, &client)).await,
        Work::SshConfig(args) => until_signal(&mut interrupts, ssh::config(args, &client)).await,
        Work::Proxy(args) => until_signal(&mut interrupts, ssh::proxy(args, &client)).await,
        Work::Ls(args) => until_signal(&mut interrupts, list::list(args, &client)).await,
        Work::Info(args) => until_signal(&mut interrupts, info::info(args, &client)).await,
        Work::Extend(args) => until_signal(&mut interrupts, extend::extend(args, &client)).await,
        Work::Rm(args) => until_signal(&mut interrupts, remove::remove(args, &client)).await,
        Work::Gc(args) => until_signal(&mut interrupts, gc::collect(args, &client)).await,
    }
}

/// Lets what was dropped be undone in the sandbox, unless another signal says that there is no time.
async fn settle(client: &sandbox::Client, interrupts: &mut Interrupts) {
    tokio::select! {
        () = client.settle() => {}
        () = tokio::time::sleep(SETTLE) => {}
        _ = interrupts.next() => {}
    }
}

/// Drops what is being done when a signal comes; dropping undoes what is half done.
async fn until_signal(
    interrupts: &mut Interrupts,
    action: impl Future<Output = Outcome>,
) -> Outcome {
    tokio::select! {
        outcome = action => outcome,
        signal = interrupts.next() => Ok(signal.exit_code()),
    }
}
