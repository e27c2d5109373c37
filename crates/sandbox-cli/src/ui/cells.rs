//! Formats values for the cells of tables.

use std::time::{Duration, SystemTime};

use sandbox::{SandboxInfo, SandboxState};

/// The state of a sandbox, and the kind of its end.
pub(crate) fn format_state(info: &SandboxInfo) -> String {
    let state = match info.state {
        _ if info.is_paused(SystemTime::now()) => "paused",
        SandboxState::Pending => "pending",
        SandboxState::Running => "running",
        SandboxState::Ended => "ended",
        _ => "unknown",
    };
    match &info.end {
        Some(end) => format!("{state} ({})", end.cause),
        None => state.to_owned(),
    }
}

/// The labels of a sandbox: `a=1,b=2`.
pub(crate) fn format_labels(info: &SandboxInfo) -> String {
    let pairs: Vec<String> = info
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// A duration in its largest unit: `45s`, `12m`, `5h`, `3d`.
pub(crate) fn format_duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A size in its largest unit: `12 B`, `3.4 KiB`.
pub(crate) fn format_size(bytes: u64) -> String {
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
    fn sizes_have_their_largest_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(format_size(bytes), text);
        }
        assert_eq!(format_size(3 << 40), "3.0 TiB");
    }

    #[test]
    fn durations_have_their_largest_unit() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_200, "2h"),
            (200_000, "2d"),
        ] {
            assert_eq!(format_duration(Duration::from_secs(seconds)), text);
        }
    }
}
