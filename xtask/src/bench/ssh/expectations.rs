//! Compares the results with what was expected.

use super::row::{Part, Row};
use super::target::Server;

/// States how many times as fast as a peer our client is.
struct Expectation {
    what: &'static str,
    part: &'static str,
    delayed: bool,
    measure: &'static str,
    ours: &'static str,
    peer: &'static str,
    server: Server,
    times: f64,
}

const ONE: &str = "ours, one connection";
const FOUR: &str = "ours, up to four";
const MASTER: &str = "ssh, ControlMaster";

const fn loopback(
    what: &'static str,
    [part, measure]: [&'static str; 2],
    [ours, peer]: [&'static str; 2],
    times: f64,
) -> Expectation {
    Expectation {
        what,
        part,
        delayed: false,
        measure,
        ours,
        peer,
        server: Server::OpenSsh,
        times,
    }
}

const fn delayed(expectation: Expectation) -> Expectation {
    Expectation {
        delayed: true,
        ..expectation
    }
}

const fn on_our_server(expectation: Expectation) -> Expectation {
    Expectation {
        server: Server::SandboxSshd,
        ..expectation
    }
}

const EXPECTED: [Expectation; 12] = [
    loopback(
        "a warm command, by ssh with ControlMaster",
        ["exec", "exec"],
        ["ours", MASTER],
        3.0,
    ),
    loopback(
        "a warm command, by paramiko",
        ["exec", "exec"],
        ["ours", "paramiko"],
        20.0,
    ),
    loopback(
        "a large file up, one connection, by sftp",
        ["large", "up"],
        [ONE, "sftp"],
        1.2,
    ),
    loopback(
        "a large file down, one connection, by sftp",
        ["large", "down"],
        [ONE, "sftp"],
        1.2,
    ),
    delayed(loopback(
        "a large file up, delayed, up to four connections, by sftp",
        ["large", "up"],
        [FOUR, "sftp"],
        3.0,
    )),
    delayed(loopback(
        "a large file down, delayed, up to four connections, by sftp",
        ["large", "down"],
        [FOUR, "sftp"],
        3.0,
    )),
    loopback(
        "small files up, by scp -r",
        ["small", "up"],
        ["ours", "scp -r"],
        5.0,
    ),
    loopback(
        "small files down, by scp -r",
        ["small", "down"],
        ["ours", "scp -r"],
        5.0,
    ),
    on_our_server(loopback(
        "small files up, our server, by rsync -a",
        ["small", "up"],
        ["ours", "rsync -a"],
        1.0,
    )),
    on_our_server(loopback(
        "small files down, our server, by rsync -a",
        ["small", "down"],
        ["ours", "rsync -a"],
        1.0,
    )),
    delayed(on_our_server(loopback(
        "small files up, delayed, our server, by rsync -a",
        ["small", "up"],
        ["ours", "rsync -a"],
        1.0,
    ))),
    delayed(on_our_server(loopback(
        "small files down, delayed, our server, by rsync -a",
        ["small", "down"],
        ["ours", "rsync -a"],
        1.0,
    ))),
];

/// The rows of a part that are compared with each other, and so must transfer the same amount.
pub(super) fn compared(part: &str, delayed: bool) -> Vec<&'static str> {
    let of_part = |expected: &&Expectation| expected.part == part && expected.delayed == delayed;
    EXPECTED
        .iter()
        .filter(of_part)
        .flat_map(|expected| [expected.ours, expected.peer])
        .collect()
}

/// A table of the expectations, against OpenSSH's server unless they name ours.
pub(super) fn table(parts: &[Part]) -> String {
    let mut text = String::from(
        "| how many times as long does it take | expected | measured | |\n|---|---:|---:|---|\n",
    );
    for expected in EXPECTED {
        let Some(part) = parts
            .iter()
            .find(|part| part.name == expected.part && part.delayed == expected.delayed)
        else {
            continue;
        };
        let seconds = |name: &str| {
            let row = part
                .rows
                .iter()
                .find(|row| row.name == name && row.server == expected.server)?;
            seconds_per_unit(row, expected.measure)
        };
        let (measured, verdict) = match (seconds(expected.ours), seconds(expected.peer)) {
            (Some(ours), Some(peer)) => {
                let times = peer / ours;
                (
                    format!("{times:.1}"),
                    if times >= expected.times {
                        "met"
                    } else {
                        "**not met**"
                    },
                )
            }
            _ => ("-".to_owned(), "not measured"),
        };
        text.push_str(&format!(
            "| {} | {:.1} | {measured} | {verdict} |\n",
            expected.what, expected.times
        ));
    }
    text
}

/// Seconds for one command, byte or file.
fn seconds_per_unit(row: &Row, measure: &str) -> Option<f64> {
    let median = row.median(measure)?;
    Some(if row.amount == 0 {
        median
    } else {
        median / row.amount as f64
    })
}
