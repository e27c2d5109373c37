//! The tables, in Markdown.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cases::CALLERS;
use super::delay::Measured;
use super::expectations;
use super::options::Options;
use super::row::{Part, Row};
use super::target::{Server, TestBed};

const BEGIN: &str = "<!-- cargo xtask bench ssh: begin -->";
const END: &str = "<!-- cargo xtask bench ssh: end -->";
const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

/// The circumstances of a run.
pub(super) struct About<'a> {
    pub(super) options: &'a Options,
    pub(super) bed: &'a TestBed,
    pub(super) proxy: Measured,
    /// The load average at the start.
    pub(super) load: String,
    pub(super) took: Duration,
}

pub(super) fn text(about: &About<'_>, parts: &[Part]) -> String {
    let mut text = format!(
        "{}\n\n### Expected and measured\n\n{}",
        describe_run(about),
        expectations::table(parts)
    );
    for part in parts {
        for server in [Server::OpenSsh, Server::SandboxSshd] {
            let rows: Vec<&Row> = part
                .rows
                .iter()
                .filter(|row| row.server == server)
                .collect();
            let title = match part.name {
                "connect" => "A new connection, until it has authenticated",
                "exec" => "`/bin/true` over an established connection",
                "many" => "Commands a second, by concurrent callers",
                "large" => "One large file",
                _ => "Many files of 1 KiB",
            };
            let server = if server == Server::OpenSsh {
                "OpenSSH's server"
            } else {
                "our server"
            };
            let delay = if part.delayed {
                format!(", {} ms of round trip added", about.options.rtt)
            } else {
                String::new()
            };
            text.push_str(&format!("\n### {title}, {server}{delay}\n\n"));
            text.push_str(&match part.name {
                "connect" => times(&rows, "handshake"),
                "exec" => times(&rows, "exec"),
                "many" => rates(&rows),
                "large" => large(&rows),
                _ => small(&rows),
            });
            text.push_str(&failures(&rows));
        }
    }
    text
}

fn describe_run(about: &About<'_>) -> String {
    let first_line = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text)
            .lines()
            .next()
            .map(str::to_owned)
    };
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let python = about
        .bed
        .python
        .installed
        .iter()
        .map(|(name, version)| format!("{name} {version}"));
    let with: Vec<String> = [
        first_line("ssh", &["-V"]),
        first_line("rsync", &["--version"]),
    ]
    .into_iter()
    .flatten()
    .map(|line| {
        line.split(", OpenSSL")
            .next()
            .unwrap_or(&line)
            .trim()
            .to_owned()
    })
    .chain(python)
    .collect();
    format!(
        "Linux {}, {cpus} processors ({}), load average {} before and {} after; {}. {:.0} minutes; large files {} times, small ones {}, once \
         where a delay was added. Through the \
         delaying proxy a bare TCP connection has a round trip of {:.1} ms and carries {:.0} MiB/s.\n\n![The same \
         as a picture](bench-ssh.svg)",
        first_line("uname", &["-r"]).unwrap_or_default(),
        processor().unwrap_or_default(),
        about.load,
        load_average(),
        with.join(", "),
        about.took.as_secs_f64() / 60.0,
        about.options.rounds,
        about.options.rounds.div_ceil(2),
        about.proxy.round_trip,
        about.proxy.bandwidth,
    )
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

pub(super) fn load_average() -> String {
    // Only Linux has this file.
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

fn times(rows: &[&Row], what: &str) -> String {
    let mut text = String::from(
        "| | runs | median ms | 99th ms | median / ours |\n|---|---:|---:|---:|---:|\n",
    );
    let ours = rows
        .iter()
        .find(|row| row.kind == "ours")
        .and_then(|row| row.median(what));
    for row in rows {
        let ms = |seconds: Option<f64>| number(seconds.map(|seconds| seconds * 1e3), 2);
        text.push_str(&if !row.is_installed {
            format!("| {} | not installed | | | |\n", row.name)
        } else {
            format!(
                "| {} | {} | {} | {} | {} |\n",
                row.name,
                row.runs(what),
                ms(row.median(what)),
                ms(row.quantile(what, 0.99)),
                ratio(row.median(what), ours),
            )
        });
    }
    text
}

fn rates(rows: &[&Row]) -> String {
    let mut text = String::from("|");
    for (callers, _) in CALLERS {
        text.push_str(&format!(" | {callers}"));
    }
    text.push_str(" | ours / this one, at 16 |\n|---|---:|---:|---:|---:|---:|\n");
    let ours = rows
        .iter()
        .find(|row| row.kind == "ours")
        .and_then(|row| row.rate("16"));
    for row in rows {
        let cells: Vec<String> = if row.is_installed {
            let rates = CALLERS.iter().map(|(_, what)| row.rate(what));
            rates.map(|rate| number(rate, 0)).collect()
        } else {
            let mut cells = vec![String::new(); CALLERS.len()];
            cells[0] = "not installed".into();
            cells
        };
        text.push_str(&format!(
            "| {} | {} | {} |\n",
            row.name,
            cells.join(" | "),
            ratio(ours, row.rate("16"))
        ));
    }
    text
}

fn large(rows: &[&Row]) -> String {
    let mut text = String::from(
        "| | MiB | MiB/s up | MiB/s down | ours / this one, up | down | CPU s/GiB up | down | peak MiB |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        text.push_str(&transfer(
            rows,
            row,
            |row| format!("{:.0}", row.amount as f64 / MIB),
            MIB,
            GIB,
            2,
        ));
    }
    text
}

fn small(rows: &[&Row]) -> String {
    let mut text = String::from(
        "| | files | files/s up | files/s down | ours / this one, up | down | CPU s/10,000 up | down | peak MiB |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        text.push_str(&transfer(
            rows,
            row,
            |row| row.amount.to_string(),
            1.0,
            1e4,
            2,
        ));
    }
    text
}

fn transfer(
    rows: &[&Row],
    row: &Row,
    amount: impl Fn(&Row) -> String,
    speed_unit: f64,
    cpu_unit: f64,
    digits: usize,
) -> String {
    if !row.is_installed {
        return format!("| {} | not installed | | | | | | | |\n", row.name);
    }
    let ours = rows.iter().find(|row| row.kind == "ours");
    let against = |what: &str| ratio(ours.and_then(|ours| ours.speed(what)), row.speed(what));
    let speed = |what: &str| number(row.speed(what).map(|speed| speed / speed_unit), 0);
    let cpu = |what: &str| number(row.cpu(what).map(|cpu| cpu * cpu_unit), digits);
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        row.name,
        amount(row),
        speed("up"),
        speed("down"),
        against("up"),
        against("down"),
        cpu("up"),
        cpu("down"),
        number(row.peak().map(|kib| kib as f64 / 1024.0), 0),
    )
}

fn failures(rows: &[&Row]) -> String {
    let mut text = String::new();
    for row in rows {
        for (what, message) in row.failures() {
            let message = message.replace(['\n', '|', '<'], " ");
            text.push_str(&format!("\n{} failed ({what}): {message}\n", row.name));
        }
    }
    text
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "failed".to_owned(), |value| format!("{value:.digits$}"))
}

fn ratio(numerator: Option<f64>, denominator: Option<f64>) -> String {
    match (numerator, denominator) {
        (Some(numerator), Some(denominator)) => format!("{:.2}", numerator / denominator),
        _ => "-".to_owned(),
    }
}

/// Replaces the text between the two marker comments.
pub(super) fn insert(document: &str, tables: &str) -> Result<()> {
    let text =
        std::fs::read_to_string(document).with_context(|| format!("cannot read {document}"))?;
    let missing = || format!("{document} lacks {BEGIN} and {END}");
    let (before, rest) = text.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    std::fs::write(
        document,
        format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim()),
    )?;
    Ok(())
}
