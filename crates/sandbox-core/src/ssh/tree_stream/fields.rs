//! The fields of frames.

use std::time::{Duration, SystemTime};

use super::frame::MalformedFrame;

/// The fields of a frame that are not parsed yet.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take_u8(&mut self) -> Result<u8, MalformedFrame> {
        let [byte] = self.take_array()?;
        Ok(byte)
    }

    pub(super) fn take_u32(&mut self) -> Result<u32, MalformedFrame> {
        self.take_array().map(u32::from_be_bytes)
    }

    pub(super) fn take_u64(&mut self) -> Result<u64, MalformedFrame> {
        self.take_array().map(u64::from_be_bytes)
    }

    pub(super) fn take_flag(&mut self) -> Result<bool, MalformedFrame> {
        match self.take_u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(MalformedFrame("a flag is neither 0 nor 1")),
        }
    }

    /// Takes bytes whose length precedes them.
    pub(super) fn take_bytes(&mut self) -> Result<&'a [u8], MalformedFrame> {
        let length = usize::from(self.take_array().map(u16::from_be_bytes)?);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Takes the name of an entry: one that names something in its directory and nowhere else.
    pub(super) fn take_name(&mut self) -> Result<&'a [u8], MalformedFrame> {
        let name = self.take_bytes()?;
        match name {
            b"" | b"." | b".." => Err(MalformedFrame(
                "an entry has no name, or that of a directory itself or its parent",
            )),
            name if name.iter().any(|byte| matches!(byte, b'/' | 0)) => Err(MalformedFrame(
                "the name of an entry contains a slash or a NUL byte",
            )),
            name => Ok(name),
        }
    }

    /// Takes a name, or none.
    pub(super) fn take_optional_name(&mut self) -> Result<&'a [u8], MalformedFrame> {
        if self.0.starts_with(&[0, 0]) {
            return self.take_bytes();
        }
        self.take_name()
    }

    /// Takes a path, which may lead anywhere.
    pub(super) fn take_path(&mut self) -> Result<&'a [u8], MalformedFrame> {
        match self.take_bytes()? {
            b"" => Err(MalformedFrame("a path is empty")),
            path if path.contains(&0) => Err(MalformedFrame("a path contains a NUL byte")),
            path => Ok(path),
        }
    }

    /// Takes a time; `None` also for one that this system cannot represent.
    pub(super) fn take_time(&mut self) -> Result<Option<SystemTime>, MalformedFrame> {
        if !self.take_flag()? {
            return Ok(None);
        }
        let seconds = self.take_array().map(i64::from_be_bytes)?;
        let nanoseconds = self.take_u32()?;
        if nanoseconds >= NANOSECONDS {
            return Err(MalformedFrame("a time has too many nanoseconds"));
        }
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let whole = if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        };
        Ok(whole.and_then(|time| time.checked_add(Duration::from_nanos(nanoseconds.into()))))
    }

    /// Takes all that is left.
    pub(super) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], MalformedFrame> {
        let (array, rest) = self.0.split_first_chunk().ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(*array)
    }
}

const TOO_SHORT: MalformedFrame = MalformedFrame("a frame is too short for its fields");
const NANOSECONDS: u32 = 1_000_000_000;

/// Appends bytes with their length. No name or path of a file system is as long as the longest; a
/// longer one is refused by whoever receives it, because it is cut.
pub(super) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    to.extend(length.to_be_bytes());
    to.extend(&bytes[..usize::from(length)]);
}

pub(super) fn put_time(to: &mut Vec<u8>, time: Option<SystemTime>) {
    let Some((seconds, nanoseconds)) = time.and_then(since_epoch) else {
        return to.push(0);
    };
    to.push(1);
    to.extend(seconds.to_be_bytes());
    to.extend(nanoseconds.to_be_bytes());
}

/// Seconds, rounded down, and the nanoseconds after them.
fn since_epoch(time: SystemTime) -> Option<(i64, u32)> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Some((i64::try_from(since.as_secs()).ok()?, since.subsec_nanos())),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).ok()?;
            Some(match before.subsec_nanos() {
                0 => (-seconds, 0),
                nanoseconds => (-seconds - 1, NANOSECONDS - nanoseconds),
            })
        }
    }
}
