//! Draws the results as bars, in plain SVG that is readable on light and dark backgrounds.

use super::row::{Part, Row};
use super::target::Server;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 250.0;
const BAR: f64 = 15.0;
const STEP: f64 = 20.0;

/// Reads the number that a panel shows from a row.
type Value = fn(&Row) -> Option<f64>;

/// Part, measure, title, unit, whether less is better.
const PANELS: [(&str, &str, &str, Value); 5] = [
    (
        "exec",
        "a command over an established connection",
        "ms, median; less is better",
        |row| row.median("exec").map(|seconds| seconds * 1e3),
    ),
    (
        "large",
        "one large file up",
        "MiB/s; more is better",
        |row| row.speed("up").map(|speed| speed / 1_048_576.0),
    ),
    (
        "large",
        "one large file down",
        "MiB/s; more is better",
        |row| row.speed("down").map(|speed| speed / 1_048_576.0),
    ),
    (
        "small",
        "files of 1 KiB up",
        "files/s; more is better",
        |row| row.speed("up"),
    ),
    (
        "small",
        "files of 1 KiB down",
        "files/s; more is better",
        |row| row.speed("down"),
    ),
];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600}.ours{fill:#1f883d}\
.peer{fill:#8c959f}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.ours{fill:#3fb950}.peer{fill:#6e7681}}";

pub(super) fn svg(parts: &[Part], rtt: u64) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    for (name, title, unit, value) in PANELS {
        for part in parts.iter().filter(|part| part.name == name) {
            let delay = if part.delayed {
                format!(", {rtt} ms of round trip added")
            } else {
                String::new()
            };
            y = panel(
                &mut body,
                y,
                &format!("{title}{delay} ({unit})"),
                part,
                value,
            );
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" \
         role=\"img\"><title>cargo xtask bench ssh</title><style>{STYLE}</style>\n{body}</svg>\n"
    )
}

/// Draws a panel at `y`; returns the `y` below it.
fn panel(body: &mut String, mut y: f64, title: &str, part: &Part, value: Value) -> f64 {
    let measured: Vec<(&Row, f64)> = part
        .rows
        .iter()
        .filter_map(|row| Some((row, value(row).filter(|value| value.is_finite())?)))
        .collect();
    let most = measured
        .iter()
        .map(|(_, value)| *value)
        .fold(f64::MIN_POSITIVE, f64::max);
    y += 14.0;
    body.push_str(&format!(
        "<text class=\"t\" x=\"10\" y=\"{y}\">{title}</text>\n"
    ));
    y += 8.0;
    for (row, value) in measured {
        let (class, server) = (
            if row.kind == "ours" { "ours" } else { "peer" },
            if row.server == Server::OpenSsh {
                ""
            } else {
                " (our server)"
            },
        );
        let length = (value / most * (WIDTH - LEFT - 80.0)).max(1.0);
        let (baseline, end) = (y + 12.0, LEFT + length + 6.0);
        let digits = if most < 100.0 { 1 } else { 0 };
        body.push_str(&format!(
            "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{}{server}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\"/>\
             <text x=\"{end:.1}\" y=\"{baseline}\">{value:.digits$}</text>\n",
            LEFT - 8.0,
            row.name,
        ));
        y += STEP;
    }
    y + 12.0
}
