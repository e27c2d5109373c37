//! The processes that benchmarks start of this program.

use std::io::Read;

/// Ends this process when the benchmark, which holds its standard input, has ended.
pub(crate) fn end_with_stdin() {
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        // An error ends the process as well.
        std::io::stdin().read_to_end(&mut rest).ok();
        std::process::exit(0);
    });
}
