//! Parses and formats durations such as `90s`, `30m` and `1h30m`.

use std::time::Duration;

/// Describes what [`parse_duration`] accepts, for messages.
pub const DURATION_FORM: &str =
    "a length of time with its unit, such as 500ms, 90s, 30m, 2h or 1h30m";

/// The units, largest first. `ms` precedes `m`, which is a prefix of it.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("ms", 1),
    ("m", 60_000),
    ("s", 1_000),
];

/// Parses whole numbers, each with one of the units `d`, `h`, `m`, `s` and `ms`, from the largest
/// to the smallest and without blanks. Returns `None` for anything else, also for a number without
/// a unit, which readers would interpret differently.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let (unit, millis) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        if *millis >= last {
            return None;
        }
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        (rest, last) = (&after[unit.len()..], *millis);
    }
    (last != u64::MAX).then(|| Duration::from_millis(total))
}

/// Formats a duration in the shortest form that [`parse_duration`] accepts, in whole milliseconds.
pub fn format_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in [UNITS[0], UNITS[1], UNITS[3], UNITS[4], UNITS[2]] {
        if left >= millis {
            text.push_str(&format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn usual_forms_are_parsed() {
        for (text, millis) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("30m", 1_800_000),
            ("2h", 7_200_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1m5ms", 60_005),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "90",
            "s",
            "1.5h",
            "-1s",
            "+1s",
            "1 s",
            "1s ",
            "30m1h",
            "1s1s",
            "1H",
            "none",
            "1w",
            "٣s",
            "99999999999999999999s",
            "18446744073709551615d",
            "1h18446744073709551615ms",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_formatted_duration_is_parsed_to_the_same(millis in any::<u64>()) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,12}") {
            let _parsed = parse_duration(&text);
        }
    }
}
