//! The header `Range` ([RFC 9110, section 14](https://www.rfc-editor.org/rfc/rfc9110#section-14)), with one range of bytes.

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteRange {
    /// From this byte up to and including that one.
    Between(u64, u64),
    /// From this byte to the end.
    From(u64),
    /// The last bytes, so many.
    Last(u64),
}

impl ByteRange {
    /// Parses a header; `None` for what is to be ignored: other units, several ranges, nonsense.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (unit, range) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        match (parse_number(first), parse_number(last)) {
            (Some(first), Some(last)) => (first <= last).then_some(Self::Between(first, last)),
            (Some(first), None) => last.is_empty().then_some(Self::From(first)),
            (None, Some(last)) => first.is_empty().then_some(Self::Last(last)),
            (None, None) => None,
        }
    }

    /// Returns the first byte, and the number of bytes, of a file of this size; `None` if the file has none of them.
    pub(super) fn of_size(self, size: u64) -> Option<(u64, u64)> {
        let (first, end) = match self {
            Self::Between(first, last) => (first, last.saturating_add(1).min(size)),
            Self::From(first) => (first, size),
            Self::Last(length) => (size.saturating_sub(length), size),
        };
        (first < end).then(|| (first, end - first))
    }
}

fn parse_number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // One that is too large is as good as the largest.
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood() {
        let cases = [
            ("bytes=0-4", Some((0, 5))),
            ("bytes=2-", Some((2, 8))),
            ("Bytes=-3", Some((7, 3))),
            ("bytes=-99", Some((0, 10))),
            ("bytes=5-99999999999999999999999", Some((5, 5))),
            ("bytes=10-", None),
            ("bytes=-0", None),
        ];
        for (header, expected) in cases {
            let range = ByteRange::parse(header).unwrap();
            assert_eq!(range.of_size(10), expected, "{header}");
        }
        assert_eq!(ByteRange::From(0).of_size(0), None);
        for ignored in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "lines=1-2",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "bytes=a-2",
            "bytes=1-b",
        ] {
            assert_eq!(ByteRange::parse(ignored), None, "{ignored}");
        }
    }
}
