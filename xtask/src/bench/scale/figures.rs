//! The figures of one client, and the table of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one client with a number of sandboxes has cost.
#[derive(Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) sandboxes: usize,
    pub(super) create: Cost,
    /// Resident memory that the sandboxes added.
    pub(super) held_bytes: u64,
    /// Processor time of holding them for a minute.
    pub(super) hold_cpu_seconds_a_minute: f64,
    /// One change of each, received by the watch.
    pub(super) churn: Cost,
    /// One list of all.
    pub(super) list: Cost,
    /// One change of each, received by the new list after the watch has expired.
    pub(super) relist: Cost,
    pub(super) delete: Cost,
    /// Objects that are left on the API server.
    pub(super) left: usize,
    /// The requests from the first create to the last delete.
    pub(super) requests: BTreeMap<String, usize>,
}

/// The cost of one operation on all sandboxes.
#[derive(Serialize, Deserialize, Clone, Copy)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
}

/// What is compared for one sandbox: its name, and the cost.
type Column = (&'static str, fn(&Figures) -> f64);

/// Microseconds of processor time, and KiB, for each sandbox.
const COLUMNS: [Column; 7] = [
    ("create, CPU µs", |figures| each(figures, figures.create)),
    ("held, KiB", |figures| {
        figures.held_bytes as f64 / 1024.0 / figures.sandboxes as f64
    }),
    ("hold a minute, CPU µs", |figures| {
        figures.hold_cpu_seconds_a_minute * 1e6 / figures.sandboxes as f64
    }),
    ("a change, CPU µs", |figures| each(figures, figures.churn)),
    ("list, CPU µs", |figures| each(figures, figures.list)),
    ("relist, CPU µs", |figures| each(figures, figures.relist)),
    ("delete, CPU µs", |figures| each(figures, figures.delete)),
];

fn each(figures: &Figures, cost: Cost) -> f64 {
    cost.cpu_seconds * 1e6 / figures.sandboxes as f64
}

/// Prints what one sandbox costs, by their number, and the requests.
pub(super) fn print(rows: &[Figures], max_growth: f64) {
    println!("\n### What one sandbox costs its client, by their number\n");
    print!("| sandboxes |");
    for (name, _) in COLUMNS {
        print!(" {name} |");
    }
    println!("\n|---:|{}", "---:|".repeat(COLUMNS.len()));
    for figures in rows {
        print!("| {} |", figures.sandboxes);
        for (_, cost) in COLUMNS {
            print!(" {:.1} |", cost(figures));
        }
        println!();
    }
    if let [first, .., last] = rows {
        print!("| last / first |");
        for (_, cost) in COLUMNS {
            let growth = cost(last) / cost(first);
            let sign = if growth > max_growth { "**" } else { "" };
            print!(" {sign}{growth:.2}{sign} |");
        }
        println!();
    }
    println!("\n### All of them\n");
    println!(
        "| sandboxes | create s | a change of each s | list ms | relist s | delete s | objects left | requests |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---|");
    for figures in rows {
        let requests: Vec<_> = figures
            .requests
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
            figures.sandboxes,
            figures.create.seconds,
            figures.churn.seconds,
            figures.list.seconds * 1000.0,
            figures.relist.seconds,
            figures.delete.seconds,
            figures.left,
            requests.join(", "),
        );
    }
}
