//! `sandbox run`: runs one command in a new sandbox.

use std::ffi::OsString;

use anyhow::{Result, bail};
use sandbox::{Client, SandboxBuilder, SandboxId};

use crate::args::exec::CommandOptions;
use crate::args::pool::PoolOptions;
use crate::args::sandbox::SandboxOptions;
use crate::commands::attached::run_attached;
use crate::commands::create::{create_sandbox, delete_sandbox};
use crate::egress_log::{Decision, EgressLog};
use crate::exit::{EXIT_FAILURE, Outcome};
use crate::interrupt::Interrupts;
use crate::ui::docker_hints;
use crate::ui::messages;

/// Run a command in a new sandbox, then delete the sandbox
///
/// Stdin is forwarded if it is not a terminal, or with -i or -t. The exit code is that of the
/// command.
///
/// Ctrl-C interrupts the command; press it again to kill it. After any other signal to this
/// program, the command has 3 seconds to end. The sandbox is deleted in each case.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    pool: PoolOptions,
    #[command(flatten)]
    command: CommandOptions,
    /// Accepted for users of docker; `run` always deletes its sandbox.
    #[arg(long, hide = true)]
    rm: bool,
    #[arg(long, hide = true)]
    name: Option<OsString>,
    #[arg(short, long, hide = true)]
    detach: bool,
}

const EXAMPLES: &str = "Examples:
  sandbox run -- python3 -c 'print(6*7)'
  sandbox run --image python:3.12-slim --memory 512Mi -e TOKEN -- python3 job.py
  sandbox run -it -- sh
  sandbox run --pool ci -- make -C src test
  tar c src | sandbox run --timeout 10m -- sh -c 'tar x && make -C src test'";

pub(crate) async fn run(
    args: Args,
    client: &Client,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Outcome {
    args.reject_unsupported()?;
    let id = SandboxId::generate()?;
    let builder = record_decisions(args.sandbox.describe(client)?, &id);
    let creation = create_sandbox(builder, &args.pool, client, &id, interrupts, quiet);
    let sandbox = match creation.await? {
        Ok(sandbox) => sandbox,
        Err(interrupt) => return Ok(interrupt.exit_code()),
    };
    // One from a pool has another id.
    let id = sandbox.id().clone();
    tracing::info!(%id, "created");
    let program = args.command.program();
    let outcome = run_attached(&args.command, &sandbox, interrupts, quiet).await;
    docker_hints::print_hint(
        &outcome,
        &program,
        !args.sandbox.has_image() && args.pool.name().is_none(),
    );
    match (outcome, delete_sandbox(client, &id, interrupts).await) {
        (outcome, Ok(())) => outcome,
        (Ok(code), Err(delete_error)) => {
            messages::print_error(&delete_error);
            Ok(if code == 0 { EXIT_FAILURE } else { code })
        }
        (Err(error), Err(delete_error)) => {
            messages::print_error(&delete_error);
            Err(error)
        }
    }
}

/// Adds what is decided about the sandbox's connections to its log.
fn record_decisions(builder: SandboxBuilder, id: &SandboxId) -> SandboxBuilder {
    let log = EgressLog::for_sandbox(id);
    builder.on_egress(move |event| log.append(&Decision::new(event)))
}

impl Args {
    /// Rejects options of docker that `run` cannot support.
    fn reject_unsupported(&self) -> Result<()> {
        if self.detach {
            bail!(
                "--detach is not supported, because `run` deletes its sandbox when the command ends; use `sandbox create`, then `sandbox exec --detach ID COMMAND`"
            );
        }
        if self.name.is_some() {
            bail!(
                "--name is not supported, because `run` deletes its sandbox when the command ends; use `sandbox create --id NAME`"
            );
        }
        if self.sandbox.is_asking() && self.command.takes_terminal() {
            bail!(
                "--egress-ask cannot be combined with -i or -t, because the terminal belongs to the command then; use \
                 `sandbox create`, and `sandbox egress --egress-ask ID` in another terminal"
            );
        }
        self.command.check()
    }
}
