//! The `sandbox` command: sandboxes from a terminal.

mod args;
mod commands;
mod egress_log;
mod exit;
mod interrupt;
mod openssh;
#[cfg(feature = "k8s")]
mod servers;
mod ui;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::args::global::Global;
use crate::commands::{ClientCommand, completions, doctor, man, mcp, serve};
use crate::exit::Outcome;
use crate::interrupt::Interrupts;
use crate::ui::messages;

/// Create and use sandboxes: isolated places to run commands and keep files for a while.
///
/// Without settings, sandboxes are created on this machine. Exit codes: that of the command that
/// was run; 128 plus the signal that ended it; 124 if it timed out; 125 if this program failed; 23 if
/// cp copied only part of a directory.
#[derive(Parser)]
#[command(name = "sandbox", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    WithClient(Box<ClientCommand>),
    // These need no client, or report why there is none.
    Doctor(doctor::Args),
    Serve(Box<serve::Args>),
    Mcp(Box<mcp::Args>),
    Completions(completions::Args),
    #[command(hide = true)]
    Man(man::Args),
}

fn main() -> ExitCode {
    // This comes before any thread: the supervisor of a local sandbox is this program, started
    // again.
    sandbox::local::init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return messages::report_usage(&error),
    };
    match &cli.command {
        Command::Serve(args) if args.is_server() => {
            cli.global.start_server_log(args.log_format());
        }
        Command::WithClient(_)
        | Command::Doctor(_)
        | Command::Serve(_)
        | Command::Mcp(_)
        | Command::Completions(_)
        | Command::Man(_) => cli.global.start_log(),
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return messages::report(
                &anyhow::Error::new(error).context("cannot start the runtime"),
            );
        }
    };
    let outcome = runtime.block_on(run(cli));
    // A pending read of the terminal must not keep the program running.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => messages::report(&error),
    }
}

async fn run(cli: Cli) -> Outcome {
    let mut interrupts = Interrupts::new()?;
    match cli.command {
        Command::WithClient(command) => commands::run(*command, &cli.global, &mut interrupts).await,
        Command::Doctor(args) => {
            interrupts
                .run_until_signal(doctor::run(args, &cli.global))
                .await
        }
        Command::Serve(args) => serve::run(*args, &cli.global, &mut interrupts).await,
        Command::Mcp(args) => mcp::run(*args, &cli.global, &mut interrupts).await,
        Command::Completions(args) => completions::run(&args, &mut Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
    }
}
