//! `sandbox mcp install`: adds the server to the configuration of a client.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{FromArgMatches, ValueEnum};
use sandbox_mcp::{Change, ClientKind, Installation, Scope};

use super::Options;
use crate::args::global::Global;
use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::printable::Printable;

/// Add this server to the configuration of a client
///
/// Shows the difference first and asks. Everything else in the file stays as it is. Restart the client afterwards. It is
/// started without the variables of your shell: options and settings go after `--`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Client to configure
    client: Client,
    /// Install it for all of your projects
    #[arg(long, conflicts_with = "project")]
    user: bool,
    /// Install it for the project in the working directory (default of claude-code and vscode)
    #[arg(long)]
    project: bool,
    /// Change this file instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "project"])]
    file: Option<PathBuf>,
    /// Name of the server in the client
    #[arg(long, default_value = "sandbox", value_parser = parse_name)]
    name: String,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// Print the difference and write nothing
    #[arg(long, conflicts_with = "yes")]
    print: bool,
    /// Options of `sandbox mcp` that the client starts it with
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  sandbox mcp install claude
  sandbox mcp install vscode --print
  sandbox mcp install claude-code -- --backend k8s --image python:3.12-slim --max-sandboxes 2";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Client {
    /// Claude Desktop
    Claude,
    /// Claude Code
    ClaudeCode,
    /// Cursor
    Cursor,
    /// Visual Studio Code
    Vscode,
}

impl Client {
    fn kind(self) -> ClientKind {
        match self {
            Self::Claude => ClientKind::Claude,
            Self::ClaudeCode => ClientKind::ClaudeCode,
            Self::Cursor => ClientKind::Cursor,
            Self::Vscode => ClientKind::VsCode,
        }
    }
}

pub(crate) async fn run(args: Args, is_quiet: bool) -> Outcome {
    check_options(&args.options)?;
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let program = program.to_str().with_context(|| {
        format!(
            "the path of this program is not UTF-8: {}",
            program.display()
        )
    })?;
    let mut server_args = vec!["mcp".to_owned()];
    server_args.extend(args.options.iter().cloned());
    let mut installation = Installation::new(program, server_args);
    installation.name.clone_from(&args.name);
    let path = choose_file(&args)?;
    let change = installation.plan(args.client.kind(), &path)?;
    if change.is_empty() {
        if !is_quiet {
            messages::print_note(&format!("{} has this entry already", path.display()));
        }
        return Ok(0);
    }
    messages::print_stdout(&escape_lines(&change.diff()))?;
    if args.print {
        return Ok(0);
    }
    if !args.yes && !confirm(&change).await? {
        return Ok(1);
    }
    change.write()?;
    if !is_quiet {
        messages::print_note(&format!(
            "wrote {}; restart the client, or let it reload its servers",
            path.display()
        ));
    }
    Ok(0)
}

fn choose_file(args: &Args) -> Result<PathBuf> {
    if let Some(file) = &args.file {
        return Ok(file.clone());
    }
    let kind = args.client.kind();
    let scope = match (args.user, args.project) {
        (true, _) => Scope::User,
        (_, true) => Scope::Project,
        (false, false) => kind.default_scope(),
    };
    kind.file(scope).with_context(|| {
        "this client has no such file, or the home directory is not known; name a file with --file".to_owned()
    })
}

/// Checks the options now, and not when the client starts the server and shows nothing.
fn check_options(options: &[String]) -> Result<()> {
    let command = clap::Command::new("sandbox mcp").no_binary_name(true);
    let command = <Options as clap::Args>::augment_args(command);
    let command = <Global as clap::Args>::augment_args(command);
    let matches = command
        .try_get_matches_from(options)
        .map_err(|error| anyhow::anyhow!("after `--`: {}", first_line(&error.to_string())))?;
    let options = Options::from_arg_matches(&matches)?;
    let global = Global::from_arg_matches(&matches)?;
    if options.http.is_some() {
        bail!(
            "after `--`: the client talks to the server that it starts over stdin and stdout; leave --http out"
        );
    }
    options.refuse_unserved().context("after `--`")?;
    options.egress.rules(None).context("after `--`")?;
    let files = options.egress.find_files().context("after `--`")?;
    if let Some(file) = files.iter().find(|file| Path::new(file).is_relative()) {
        bail!(
            "after `--`: use an absolute path in place of {file}, because clients start the server in any directory"
        );
    }
    let paths = [
        ("--share", options.share.as_deref()),
        ("--audit", options.audit.as_deref()),
        ("--env-file", global.env_file()),
    ];
    for (name, path) in paths {
        if path.is_some_and(Path::is_relative) {
            bail!(
                "after `--`: use an absolute path with {name}, because clients start the server in any directory"
            );
        }
    }
    Ok(())
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

/// The difference has lines of a file that others write, too. Only line ends and tabs are printed as they are.
fn escape_lines(text: &str) -> Printable {
    text.split_inclusive(['\n', '\t'])
        .fold(Printable::trusted(""), |all, part| {
            let bare = part.strip_suffix(['\n', '\t']).unwrap_or(part);
            all.with(&Printable::line(bare.trim_end_matches('\r')))
                .with_trusted(&part[bare.len()..])
        })
}

/// Asks for confirmation on the terminal.
async fn confirm(change: &Change) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!(
            "nothing was written: the change needs a confirmation, but stdin is not a terminal; add --yes"
        );
    }
    let question = format!("Write this to {}? [y/N] ", change.path().display());
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = io::stderr();
        write!(stderr, "{question}").and_then(|()| stderr.flush())?;
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = answer
        .await
        .context("cannot ask for confirmation")?
        .context("cannot read the answer")?;
    Ok(matches!(
        line.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// Clients put the name before those of tools, and accept few characters.
fn parse_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=32).contains(&text.len()) && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 32 letters, digits, dashes and underscores".to_owned())
    }
}
