//! What is measured: who, in which turn, and how often.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::expect;
use super::options::Options;
use super::place::{Place, To};
use super::processes::Client;
use super::protocol::{Done, Op};
use super::row::Row;

/// Callers at once.
pub(super) const CALLERS: [(usize, &str); 4] = [(1, "1"), (4, "4"), (16, "16"), (64, "64")];

/// A part of the run, with or without the delay.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) delayed: bool,
    pub(super) rows: Vec<Row>,
}

/// Runs a part. The clients take turns, so that whatever else the machine does falls on all alike.
pub(super) fn run(
    place: &Place,
    options: &Options,
    name: &'static str,
    delayed: bool,
) -> Result<Part> {
    let rows = match name {
        "connect" => connect(place, delayed)?,
        "exec" => exec(place, delayed)?,
        "many" => many(place, delayed)?,
        "large" => large(place, options, delayed)?,
        _ => small(place, options, delayed)?,
    };
    Ok(Part {
        name,
        delayed,
        rows,
    })
}

fn commands() -> Vec<Row> {
    vec![
        Row::new("ours", "ours", To::Sshd),
        Row::new("ssh, ControlMaster", "ssh", To::Sshd),
        Row::new("paramiko", "paramiko", To::Sshd),
        Row::new("asyncssh", "asyncssh", To::Sshd),
        Row::new("ours", "ours", To::Own),
        Row::new("ssh, ControlMaster", "ssh", To::Own),
    ]
}

fn connect(place: &Place, delayed: bool) -> Result<Vec<Row>> {
    let mut rows = commands();
    let mut clients = start(place, &mut rows, delayed)?;
    for _ in 0..if delayed { 10 } else { 20 } {
        each(&mut rows, &mut clients, "handshake", &Op::Handshake);
    }
    Ok(rows)
}

fn exec(place: &Place, delayed: bool) -> Result<Vec<Row>> {
    let mut rows = commands();
    let mut clients = warm(place, &mut rows, delayed)?;
    // The first ones find nothing in any cache.
    each(
        &mut rows,
        &mut clients,
        "not counted",
        &Op::Exec { times: 5 },
    );
    for _ in 0..if delayed { 5 } else { 30 } {
        each(&mut rows, &mut clients, "exec", &Op::Exec { times: 10 });
    }
    Ok(rows)
}

fn many(place: &Place, delayed: bool) -> Result<Vec<Row>> {
    let mut rows = commands();
    let mut clients = warm(place, &mut rows, delayed)?;
    for (callers, name) in CALLERS {
        each(
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

fn large(place: &Place, options: &Options, delayed: bool) -> Result<Vec<Row>> {
    let mut rows = vec![
        Row::new("ours, one connection", "ours", To::Sshd),
        Row::new("ours, up to four", "ours", To::Sshd).striped(4),
        Row::new("sftp", "sftp", To::Sshd),
        Row::new(
            "sftp, its own choice of algorithms",
            "sftp-default",
            To::Sshd,
        ),
        Row::new("scp", "scp", To::Sshd),
        Row::new("rsync", "rsync", To::Sshd),
        Row::new("paramiko", "paramiko", To::Sshd),
        Row::new("asyncssh", "asyncssh", To::Sshd),
        Row::new("ours, one connection", "ours", To::Own),
        Row::new("ours, up to four", "ours", To::Own).striped(4),
        Row::new("sftp", "sftp", To::Own),
        Row::new("rsync", "rsync", To::Own),
    ];
    if delayed {
        // They are bound by the round trip like the others of OpenSSH.
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
        place,
        &mut rows,
        rounds,
        ("large", delayed),
        amounts,
        |place, amount, row, is_up| {
            let (here, there) = (place.large(amount)?, place.path("there/large"));
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
            let done = once(place, row, delayed, &op);
            let size = std::fs::metadata(&there).map(|there| there.len());
            std::fs::remove_file(&there).ok();
            let done = done?;
            ensure!(size? == amount, "it has another size");
            Ok(done)
        },
    )?;
    Ok(rows)
}

fn small(place: &Place, options: &Options, delayed: bool) -> Result<Vec<Row>> {
    let mut rows = vec![
        Row::new("ours", "ours", To::Sshd),
        Row::new("scp -r", "scp", To::Sshd),
        Row::new("sftp -r", "sftp", To::Sshd),
        Row::new("rsync -a", "rsync", To::Sshd),
        Row::new("paramiko", "paramiko", To::Sshd),
        Row::new("asyncssh", "asyncssh", To::Sshd),
        Row::new("ours", "ours", To::Own),
        Row::new("scp -r", "scp", To::Own),
        Row::new("rsync -a", "rsync", To::Own),
    ];
    let full = options.files as u64;
    let amounts = [full, full / 10, full / 50];
    let rounds = if delayed {
        1
    } else {
        options.rounds.div_ceil(2)
    };
    transfers(
        place,
        &mut rows,
        rounds,
        ("small", delayed),
        amounts,
        |place, amount, row, is_up| {
            let amount = usize::try_from(amount)?;
            let (here, there) = (place.small(amount)?, place.path("there/small"));
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
            let done = once(place, row, delayed, &op);
            let count = files(&there);
            std::fs::remove_dir_all(&there).ok();
            let done = done?;
            ensure!(count == amount, "{count} of {amount} files arrived");
            Ok(done)
        },
    )?;
    Ok(rows)
}

/// Seconds that a transfer may take, as shorter ones tell beforehand; else less is transferred.
const PATIENCE: f64 = 8.0;

/// The most of these that a client moves in that time. A short transfer is mostly connecting, so
/// what is said of the whole is said by one that is not so short, if that can be waited for.
fn affordable([full, some, least]: [u64; 3], seconds: impl Fn(u64) -> f64) -> u64 {
    let fits = |amount: u64, took: f64, of: u64| took * (of as f64) / (amount as f64) < PATIENCE;
    let first = seconds(least);
    if fits(least, first, full) {
        return full;
    }
    if first >= PATIENCE / 4.0 && !fits(least, first, some) {
        return least;
    }
    let second = seconds(some);
    if fits(some, second, full) {
        full
    } else if second < PATIENCE {
        some
    } else {
        least
    }
}

/// Rows of these names move the same amount to the same server, the most that any of them can: in
/// a shorter transfer there is more connecting.
fn alike(rows: &mut [Row], names: &[&str]) {
    for to in [To::Sshd, To::Own] {
        let is_one = |row: &&mut Row| row.is_installed && row.to == to && names.contains(&row.name);
        let most = rows.iter_mut().filter(is_one).map(|row| row.amount).max();
        rows.iter_mut()
            .filter(is_one)
            .for_each(|row| row.amount = most.unwrap_or(row.amount));
    }
}

fn transfers(
    place: &Place,
    rows: &mut [Row],
    rounds: usize,
    (part, delayed): (&str, bool),
    amounts: [u64; 3],
    transfer: impl Fn(&Place, u64, &Row, bool) -> Result<Done>,
) -> Result<()> {
    for row in rows.iter_mut() {
        row.is_installed = place
            .client(row.kind, row.to, delayed, row.stripes)?
            .is_some();
        if row.is_installed {
            let seconds = |amount| match transfer(place, amount, row, true) {
                Ok(done) => done.seconds,
                Err(_) => f64::INFINITY,
            };
            row.amount = affordable(amounts, seconds);
        }
    }
    alike(rows, &expect::compared(part, delayed));
    for _ in 0..rounds {
        for row in rows.iter_mut().filter(|row| row.is_installed) {
            for (what, is_up) in [("up", true), ("down", false)] {
                if !row.has_failed(what) {
                    let result = transfer(place, row.amount, row, is_up);
                    row.add(what, result);
                }
            }
        }
    }
    Ok(())
}

/// With a new client, whose memory and processor time are of this alone.
fn once(place: &Place, row: &Row, delayed: bool, op: &Op) -> Result<Done> {
    place
        .client(row.kind, row.to, delayed, row.stripes)?
        .context("it is not installed")?
        .ask(op)
}

/// Those that are installed, in the order of the rows.
fn start(place: &Place, rows: &mut [Row], delayed: bool) -> Result<Vec<Option<Client>>> {
    let mut clients = Vec::new();
    for row in rows {
        let client = place.client(row.kind, row.to, delayed, row.stripes)?;
        row.is_installed = client.is_some();
        clients.push(client);
    }
    Ok(clients)
}

fn warm(place: &Place, rows: &mut [Row], delayed: bool) -> Result<Vec<Option<Client>>> {
    let mut clients = start(place, rows, delayed)?;
    each(rows, &mut clients, "warm", &Op::Warm);
    Ok(clients)
}

fn each(rows: &mut [Row], clients: &mut [Option<Client>], what: &'static str, op: &Op) {
    for (row, client) in rows.iter_mut().zip(clients) {
        if let Some(running) = client.as_mut() {
            let result = running.ask(op);
            // It is not asked again what has failed once.
            if result.is_err() && !matches!(op, Op::Many { .. }) {
                *client = None;
            }
            row.add(what, result);
        }
    }
}

fn files(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| {
            if entry.path().is_dir() {
                files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
