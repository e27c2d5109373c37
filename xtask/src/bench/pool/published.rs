//! What others have published about other systems. Nothing here was measured by this benchmark, so no
//! ratio is printed.

/// The system, what was timed, milliseconds as published, and by whom.
const FIGURES: [[&str; 4]; 4] = [
    [
        "agent-sandbox",
        "a claim from a warm pool, one by one: median, 95th",
        "64, 80",
        "its users, cocoonstack/sandbox-operator#33",
    ],
    [
        "agent-sandbox",
        "the same, 20 in parallel: median, 95th",
        "124 to 137, 164 to 171",
        "its users, cocoonstack/sandbox-operator#33",
    ],
    [
        "E2B, hosted",
        "from create to the end of a first command: median, 95th",
        "440, 850",
        "computesdk.com/benchmarks, 1 April 2026",
    ],
    [
        "Daytona, hosted",
        "from create to the end of a first command: median, 95th",
        "110, 280",
        "computesdk.com/benchmarks, 1 April 2026",
    ],
];

pub(super) fn print() {
    println!("\n### Published figures of other systems, on other machines\n");
    println!("| | | ms | published by |\n|---|---|---:|---|");
    for [system, what, milliseconds, publisher] in FIGURES {
        println!("| {system} | {what} | {milliseconds} | {publisher} |");
    }
}
