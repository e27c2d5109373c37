//! The texts of single values.

use std::time::Duration;

use sandbox::{SandboxInfo, SandboxState};

pub(crate) fn state(info: &SandboxInfo) -> String {
    match info.state {
        SandboxState::Pending => "pending",
        SandboxState::Running => "running",
        SandboxState::Ended => "ended",
        _ => "unknown",
    }
    .to_owned()
}

pub(crate) fn labels(info: &SandboxInfo) -> String {
    let pairs: Vec<String> = info
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// A length of time in its largest unit: `45s`, `12m`, `5h`, `3d`.
pub(crate) fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A number of bytes, in a unit that keeps it short: `12 B`, `3.4 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut left = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if left < 1024.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{left:.1} {unit}")
            };
        }
        left /= 1024.0;
    }
    format!("{left:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(size(3 << 40), "3.0 TiB");
    }

    #[test]
    fn spans_are_short() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_200, "2h"),
            (200_000, "2d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), shown);
        }
    }
}
