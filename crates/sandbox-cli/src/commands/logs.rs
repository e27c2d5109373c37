//! `sandbox logs`: what a job wrote, or a sandbox's own server.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use sandbox::{Client, ExecEvent, LogOptions, Process, Sandbox};

use crate::args::id;
use crate::args::job::find_job;
use crate::exit::Outcome;
use crate::ui::escape::Escaped;
use crate::ui::streams::{Output, Piece};

/// Show what a job has written
///
/// With -f, also what it still writes; the exit code is the job's own then, 128 plus the signal when one
/// ended it, and 125 when its end cannot be known. Without, it is 0. Interrupting it leaves the job alone.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Go on until the job has ended
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines
    #[arg(short = 'n', long, visible_alias = "tail", value_name = "COUNT")]
    lines: Option<usize>,
    /// The log of the sandbox's own server, in place of a job's
    #[arg(long, conflicts_with = "job")]
    system: bool,
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
    /// The job, or the beginning of its id; without, the one that was started last
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

const EXAMPLES: &str = "Examples:
  sandbox logs ID
  sandbox logs -f -n 20 ID job-4tq8xw
  sandbox logs --system ID";

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    if args.system {
        return system(args, client).await;
    }
    let sandbox = id::connect(client, &args.id).await?;
    of_job(args, &sandbox).await
}

async fn of_job(args: Args, sandbox: &Sandbox) -> Outcome {
    let job = find_job(sandbox, args.job.as_deref()).await?;
    let (mut seen, mut output) = (0, Some(Output::start()));
    if !args.follow || args.lines.is_some() {
        let log = Bytes::from(job.logs().await?);
        seen = log.len() as u64;
        put(&mut output, log.slice(tail(&log, args.lines)..)).await;
    }
    let mut code = 0;
    if args.follow {
        code = follow(job.follow_from(seen).await?, &mut output).await?;
    }
    finish(output, code).await
}

/// Passes on what comes, and gives the exit code.
async fn follow(mut process: Process, output: &mut Option<Output>) -> Outcome {
    while let Some(event) = process.next().await {
        match event? {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => {
                put(output, bytes).await;
                if output.is_none() {
                    return Ok(0);
                }
            }
            ExecEvent::Exited(status) => return Ok(status.shell_code()),
        }
    }
    anyhow::bail!("the job's end is unknown: its connection ended without a word")
}

/// Gives it to the writer, while there is one.
async fn put(output: &mut Option<Output>, bytes: Bytes) {
    let room = match output {
        Some(writer) => writer
            .room()
            .await
            .map(|room| room.send(Piece::Stdout(bytes))),
        None => return,
    };
    if room.is_none() {
        *output = None;
    }
}

async fn finish(output: Option<Output>, code: u8) -> Outcome {
    // A reader that went away has seen enough.
    let Some(output) = output else {
        return Ok(code);
    };
    match output.finish().await {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(code),
    }
}

/// The server's own log, which is no program's output: a terminal gets it escaped.
async fn system(args: Args, client: &Client) -> Outcome {
    let id = id::resolve(client, &args.id).await?;
    let mut options = LogOptions::default();
    (options.tail_lines, options.follow) = (args.lines, args.follow);
    let mut log = client.logs(&id, options).await?;
    let mut stdout = std::io::stdout();
    let escape = stdout.is_terminal();
    let mut line = Vec::new();
    while let Some(piece) = log.next().await {
        let piece = piece?;
        let written = if escape {
            line.extend_from_slice(&piece);
            let whole = line
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            let whole: Vec<u8> = line.drain(..whole).collect();
            stdout.write_all(shown(&whole).as_bytes())
        } else {
            stdout.write_all(&piece)
        };
        match written.and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(0),
            written => written.context("cannot write to standard output")?,
        }
    }
    if !line.is_empty() {
        stdout
            .write_all(shown(&line).as_bytes())
            .context("cannot write to standard output")?;
    }
    Ok(0)
}

fn shown(lines: &[u8]) -> String {
    String::from_utf8_lossy(lines)
        .lines()
        .map(|line| format!("{}\n", Escaped(line)))
        .collect()
}

/// Where the last so many lines begin.
fn tail(log: &[u8], lines: Option<usize>) -> usize {
    let Some(lines) = lines else { return 0 };
    // The newline that ends the last line begins no other.
    let body = log.strip_suffix(b"\n").unwrap_or(log);
    if lines == 0 {
        return log.len();
    }
    let mut starts = body
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1);
    starts.nth(lines - 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole_ones() {
        let log = b"a\nbb\nccc";
        for (lines, from) in [
            (None, 0),
            (Some(0), 8),
            (Some(1), 5),
            (Some(2), 2),
            (Some(3), 0),
            (Some(9), 0),
        ] {
            assert_eq!(tail(log, lines), from, "{lines:?}");
        }
        assert_eq!(tail(b"a\nb\n", Some(1)), 2);
        assert_eq!(tail(b"", Some(1)), 0);
    }
}
