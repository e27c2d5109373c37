//! When a sandbox ends.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::Value;

/// When a sandbox ends, by its description.
pub(crate) fn end_of(info: &Value) -> SystemTime {
    info["endAt"]
        .as_str()
        .unwrap()
        .parse::<Timestamp>()
        .unwrap()
        .into()
}

/// Checks that a sandbox ends in so many seconds.
#[track_caller]
pub(crate) fn assert_ends_in(info: &Value, seconds: u64) {
    let left = end_of(info).duration_since(SystemTime::now()).unwrap();
    let expected = Duration::from_secs(seconds);
    assert!(
        left <= expected && left + Duration::from_secs(10) > expected,
        "{left:?} of {seconds} s"
    );
}
