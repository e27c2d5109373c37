//! Times the SSH client next to OpenSSH's programs, rsync, paramiko and asyncssh, on the same
//! machine and against the same server, in turns.

mod cases;
pub(crate) mod client;
pub(crate) mod delay;
mod expectations;
mod options;
mod plot;
mod processes;
mod protocol;
mod python;
mod report;
mod row;
pub(crate) mod server;
mod target;

use std::time::Instant;

use anyhow::Result;

use options::{HELP, Options, PARTS};
use target::TestBed;

const DOCUMENT: &str = "docs/BENCHMARKS.md";
const PLOT: &str = "docs/bench-ssh.svg";

pub(crate) fn run(args: &[&str]) -> Result<()> {
    if let ["help" | "--help" | "-h"] = args {
        println!("{HELP}");
        return Ok(());
    }
    let options = Options::parse(args)?;
    let (start, load) = (Instant::now(), report::load_average());
    let bed = TestBed::new(&options)?;
    let proxy = delay::check(options.rtt)?;
    let mut parts = Vec::new();
    for name in PARTS.into_iter().filter(|part| options.wants(part)) {
        let both: &[bool] = if options.rtt > 0 {
            &[false, true]
        } else {
            &[false]
        };
        for &delayed in both {
            eprintln!(
                "{:4.0} s  {name}{}",
                start.elapsed().as_secs_f64(),
                if delayed { ", delayed" } else { "" }
            );
            parts.push(cases::run(&bed, &options, name, delayed)?);
        }
    }
    let about = report::About {
        options: &options,
        bed: &bed,
        proxy,
        load,
        took: start.elapsed(),
    };
    let text = report::text(&about, &parts);
    println!("{text}");
    if options.write {
        report::insert(DOCUMENT, &text)?;
        std::fs::write(PLOT, plot::svg(&parts, options.rtt))?;
    }
    Ok(())
}
