//! The cases: which clients run what, in which order, and how often.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::expectations;
use super::options::Options;
use super::processes::Client;
use super::protocol::{Done, Op};
use super::row::{Part, Row};
use super::target::{Server, TestBed};

/// Numbers of concurrent callers.
pub(super) const CALLERS: [(usize, &str); 4] = [(1, "1"), (4, "4"), (16, "16"), (64, "64")];

/// Runs a part. The clients take turns, so that other load on the machine affects all alike.
pub(super) fn run(
    bed: &TestBed,
    options: &Options,
    name: &'static str,
    delayed: bool,
) -> Result<Part> {
    let rows = match name {
        "connect" => connect(bed, delayed)?,
        "exec" => exec(bed, delayed)?,
        "many" => many(bed, delayed)?,
        "large" => large(bed, options, delayed)?,
        _ => small(bed, options, delayed)?,
    };
    Ok(Part {
        name,
        delayed,
        rows,
    })
}

fn commands() -> Vec<Row> {
    vec![
        Row::new("ours", "ours", Server::OpenSsh),
        Row::new("ssh, ControlMaster", "ssh", Server::OpenSsh),
        Row::new("paramiko", "paramiko", Server::OpenSsh),
        Row::new("asyncssh", "asyncssh", Server::OpenSsh),
        Row::new("ours", "ours", Server::SandboxSshd),
        Row::new("ssh, ControlMaster", "ssh", Server::SandboxSshd),
    ]
}

fn connect(bed: &TestBed, delayed: bool) -> Result<Vec<Row>> {
    let mut rows = commands();
    let mut clients = start_clients(bed, &mut rows, delayed)?;
    for _ in 0..if delayed { 10 } else { 20 } {
        run_each(&mut rows, &mut clients, "handshake", &Op::Handshake);
    }
    Ok(rows)
}

fn exec(bed: &TestBed, delayed: bool) -> Result<Vec<Row>> {
    let mut rows = commands();
    let mut clients = start_connected(bed, &mut rows, delayed)?;
    // The first commands find cold caches.
    run_each(
        &mut rows,
        &mut clients,
        "not counted",
        &Op::Exec { times: 5 },
    );
    for _ in 0..if delayed { 5 } else { 30 } {
        run_each(&mut rows, &mut clients, "exec", &Op::Exec { times: 10 });
    }
    Ok(rows)
}

fn many(bed: &TestBed, delayed: bool) -> Result<Vec<Row>> {
    let mut rows = commands();
    let mut clients = start_connected(bed, &mut rows, delayed)?;
    for (callers, name) in CALLERS {
        run_each(
            &mut rows,
            &mut clients,
            name,
            &Op::Many {
                callers,
                seconds: 1.2,
            },
        );
    }
    Ok(rows)
}

fn large(bed: &TestBed, options: &Options, delayed: bool) -> Result<Vec<Row>> {
    let mut rows = vec![
        Row::new("ours, one connection", "ours", Server::OpenSsh),
        Row::new("ours, up to four", "ours", Server::OpenSsh).striped(4),
        Row::new("sftp", "sftp", Server::OpenSsh),
        Row::new(
            "sftp, its own choice of algorithms",
            "sftp-default",
            Server::OpenSsh,
        ),
        Row::new("scp", "scp", Server::OpenSsh),
        Row::new("rsync", "rsync", Server::OpenSsh),
        Row::new("paramiko", "paramiko", Server::OpenSsh),
        Row::new("asyncssh", "asyncssh", Server::OpenSsh),
        Row::new("ours, one connection", "ours", Server::SandboxSshd),
        Row::new("ours, up to four", "ours", Server::SandboxSshd).striped(4),
        Row::new("sftp", "sftp", Server::SandboxSshd),
        Row::new("rsync", "rsync", Server::SandboxSshd),
    ];
    if delayed {
        // With a delay the round trip decides, not the algorithms.
        rows.retain(|row| row.kind != "sftp-default");
    }
    let full = if delayed {
        options.size / 2
    } else {
        options.size
    };
    let amounts = [full, full / 4, full / 16].map(|bytes| bytes.max(1 << 20));
    let rounds = if delayed { 1 } else { options.rounds };
    transfers(
        bed,
        &mut rows,
        rounds,
        ("large", delayed),
        amounts,
        |bed, amount, row, is_up| {
            let (here, there) = (bed.create_large_file(amount)?, bed.path("there/large"));
            let (from, to) = (text(&here), text(&there));
            let op = if is_up {
                Op::Put {
                    local: from,
                    remote: to,
                }
            } else {
                Op::Get {
                    remote: from,
                    local: to,
                }
            };
            let done = run_with_new_client(bed, row, delayed, &op);
            let size = std::fs::metadata(&there).map(|there| there.len());
            std::fs::remove_file(&there).ok();
            let done = done?;
            ensure!(size? == amount, "the copy has another size");
            Ok(done)
        },
    )?;
    Ok(rows)
}

fn small(bed: &TestBed, options: &Options, delayed: bool) -> Result<Vec<Row>> {
    let mut rows = vec![
        Row::new("ours", "ours", Server::OpenSsh),
        Row::new("scp -r", "scp", Server::OpenSsh),
        Row::new("sftp -r", "sftp", Server::OpenSsh),
        Row::new("rsync -a", "rsync", Server::OpenSsh),
        Row::new("paramiko", "paramiko", Server::OpenSsh),
        Row::new("asyncssh", "asyncssh", Server::OpenSsh),
        Row::new("ours", "ours", Server::SandboxSshd),
        Row::new("scp -r", "scp", Server::SandboxSshd),
        Row::new("rsync -a", "rsync", Server::SandboxSshd),
    ];
    let full = options.files as u64;
    let amounts = [full, full / 10, full / 50];
    let rounds = if delayed {
        1
    } else {
        options.rounds.div_ceil(2)
    };
    transfers(
        bed,
        &mut rows,
        rounds,
        ("small", delayed),
        amounts,
        |bed, amount, row, is_up| {
            let amount = usize::try_from(amount)?;
            let (here, there) = (bed.create_small_files(amount)?, bed.path("there/small"));
            let (from, to) = (text(&here), text(&there));
            let op = if is_up {
                Op::Puttree {
                    local: from,
                    remote: to,
                }
            } else {
                Op::Gettree {
                    remote: from,
                    local: to,
                }
            };
            let done = run_with_new_client(bed, row, delayed, &op);
            let count = count_files(&there);
            std::fs::remove_dir_all(&there).ok();
            let done = done?;
            ensure!(count == amount, "{count} of {amount} files arrived");
            Ok(done)
        },
    )?;
    Ok(rows)
}

/// Seconds that a transfer may take. Shorter transfers predict it; a longer one is shortened.
const MAX_SECONDS: f64 = 8.0;

/// The largest of the amounts that a client transfers in that time. A short transfer is mostly
/// connecting, so the prediction for the full amount comes from the middle one, unless that takes
/// too long.
fn affordable([full, some, least]: [u64; 3], seconds: impl Fn(u64) -> f64) -> u64 {
    let fits = |amount: u64, took: f64, of: u64| took * (of as f64) / (amount as f64) < MAX_SECONDS;
    let first = seconds(least);
    if fits(least, first, full) {
        return full;
    }
    if first >= MAX_SECONDS / 4.0 && !fits(least, first, some) {
        return least;
    }
    let second = seconds(some);
    if fits(some, second, full) {
        full
    } else if second < MAX_SECONDS {
        some
    } else {
        least
    }
}

/// Gives rows that are compared the same amount, the largest that any of them affords, because a
/// shorter transfer spends a larger share on connecting.
fn equalise_amounts(rows: &mut [Row], names: &[&str]) {
    for server in [Server::OpenSsh, Server::SandboxSshd] {
        let is_one =
            |row: &&mut Row| row.is_installed && row.server == server && names.contains(&row.name);
        let most = rows.iter_mut().filter(is_one).map(|row| row.amount).max();
        rows.iter_mut()
            .filter(is_one)
            .for_each(|row| row.amount = most.unwrap_or(row.amount));
    }
}

fn transfers(
    bed: &TestBed,
    rows: &mut [Row],
    rounds: usize,
    (part, delayed): (&str, bool),
    amounts: [u64; 3],
    transfer: impl Fn(&TestBed, u64, &Row, bool) -> Result<Done>,
) -> Result<()> {
    for row in rows.iter_mut() {
        row.is_installed = bed
            .client(row.kind, row.server, delayed, row.stripes)?
            .is_some();
        if row.is_installed {
            let seconds = |amount| match transfer(bed, amount, row, true) {
                Ok(done) => done.seconds,
                Err(_) => f64::INFINITY,
            };
            row.amount = affordable(amounts, seconds);
        }
    }
    equalise_amounts(rows, &expectations::compared(part, delayed));
    for _ in 0..rounds {
        for row in rows.iter_mut().filter(|row| row.is_installed) {
            for (what, is_up) in [("up", true), ("down", false)] {
                if !row.has_failed(what) {
                    let result = transfer(bed, row.amount, row, is_up);
                    row.add(what, result);
                }
            }
        }
    }
    Ok(())
}

/// Runs an operation with a new client, so that memory and processor time belong to it alone.
fn run_with_new_client(bed: &TestBed, row: &Row, delayed: bool, op: &Op) -> Result<Done> {
    bed.client(row.kind, row.server, delayed, row.stripes)?
        .context("the client is not installed")?
        .perform(op)
}

/// Starts the clients that are installed, in the order of the rows.
fn start_clients(bed: &TestBed, rows: &mut [Row], delayed: bool) -> Result<Vec<Option<Client>>> {
    let mut clients = Vec::new();
    for row in rows {
        let client = bed.client(row.kind, row.server, delayed, row.stripes)?;
        row.is_installed = client.is_some();
        clients.push(client);
    }
    Ok(clients)
}

/// Starts the clients and connects each.
fn start_connected(bed: &TestBed, rows: &mut [Row], delayed: bool) -> Result<Vec<Option<Client>>> {
    let mut clients = start_clients(bed, rows, delayed)?;
    run_each(rows, &mut clients, "warm", &Op::Warm);
    Ok(clients)
}

/// Runs an operation with each client.
fn run_each(rows: &mut [Row], clients: &mut [Option<Client>], what: &'static str, op: &Op) {
    for (row, client) in rows.iter_mut().zip(clients) {
        if let Some(running) = client.as_mut() {
            let result = running.perform(op);
            // A client that has failed is not used again.
            if result.is_err() && !matches!(op, Op::Many { .. }) {
                *client = None;
            }
            row.add(what, result);
        }
    }
}

fn count_files(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| {
            if entry.path().is_dir() {
                count_files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
