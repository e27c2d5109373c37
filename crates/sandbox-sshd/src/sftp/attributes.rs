//! Attributes of files, for SFTP and in the format of `ls -l`.

use std::fs::{Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::AT_FDCWD;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, UtimensatFlags, fchmodat, futimens, utimensat};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::unistd::{Gid, Uid, fchown, fchownat};
use russh_sftp::protocol::FileAttributes;

use super::status::SftpError;

/// Permission bits with set-user-id, set-group-id and sticky.
pub(super) const MODE: u32 = 0o7777;

pub(super) fn from_metadata(metadata: &Metadata) -> FileAttributes {
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    FileAttributes {
        size: Some(metadata.size()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: Some(seconds(metadata.atime())),
        mtime: Some(seconds(metadata.mtime())),
        user: None,
        group: None,
    }
}

/// Sets the attributes that are present on an open file.
pub(super) fn set_on_file(
    file: &std::fs::File,
    attributes: &FileAttributes,
) -> Result<(), SftpError> {
    if let Some(size) = attributes.size {
        file.set_len(size)?;
    }
    if let Some((uid, gid)) = owner(attributes) {
        fchown(file, uid, gid)?;
    }
    if let Some(mode) = attributes.permissions {
        file.set_permissions(Permissions::from_mode(mode & MODE))?;
    }
    if let Some((accessed, modified)) = times(attributes) {
        futimens(file, &accessed, &modified)?;
    }
    Ok(())
}

/// Sets the attributes that are present on a path. If it is a link, `on_link` decides whether the
/// link or its target is changed.
pub(super) fn set_on_path(
    path: &Path,
    attributes: &FileAttributes,
    on_link: bool,
) -> Result<(), SftpError> {
    if let Some(size) = attributes.size {
        nix::unistd::truncate(path, i64::try_from(size).unwrap_or(i64::MAX))?;
    }
    if let Some((uid, gid)) = owner(attributes) {
        let flags = if on_link {
            AtFlags::AT_SYMLINK_NOFOLLOW
        } else {
            AtFlags::empty()
        };
        fchownat(AT_FDCWD, path, uid, gid, flags)?;
    }
    if let Some(mode) = attributes.permissions {
        let flags = if on_link {
            FchmodatFlags::NoFollowSymlink
        } else {
            FchmodatFlags::FollowSymlink
        };
        fchmodat(
            AT_FDCWD,
            path,
            nix::sys::stat::Mode::from_bits_truncate(mode & MODE),
            flags,
        )?;
    }
    if let Some((accessed, modified)) = times(attributes) {
        let flags = if on_link {
            UtimensatFlags::NoFollowSymlink
        } else {
            UtimensatFlags::FollowSymlink
        };
        utimensat(AT_FDCWD, path, &accessed, &modified, flags)?;
    }
    Ok(())
}

fn owner(attributes: &FileAttributes) -> Option<(Option<Uid>, Option<Gid>)> {
    let uid = attributes.uid.map(Uid::from_raw);
    let gid = attributes.gid.map(Gid::from_raw);
    (uid.is_some() || gid.is_some()).then_some((uid, gid))
}

fn times(attributes: &FileAttributes) -> Option<(TimeSpec, TimeSpec)> {
    let (accessed, modified) = attributes.atime.zip(attributes.mtime)?;
    Some((
        TimeSpec::seconds(accessed.into()),
        TimeSpec::seconds(modified.into()),
    ))
}

/// Returns a line in the format of `ls -l`, which sftp(1) prints unchanged. The time is in UTC.
pub(super) fn long_name(name: &[u8], metadata: &Metadata) -> Vec<u8> {
    let mode = format_mode(metadata.mode());
    let links = metadata.nlink();
    let uid = metadata.uid();
    let gid = metadata.gid();
    let size = metadata.size();
    let time = format_time(metadata.mtime(), seconds_since_1970());
    let mut line = format!("{mode} {links:>4} {uid:<8} {gid:<8} {size:>8} {time} ").into_bytes();
    line.extend_from_slice(name);
    line
}

/// Formats the kind and the permissions of a file as `ls -l` does, with `s` and `t` for the special
/// bits, in capitals where the file is not executable.
fn format_mode(mode: u32) -> String {
    let kind = match mode >> 12 & 0o17 {
        0o01 => 'p',
        0o02 => 'c',
        0o04 => 'd',
        0o06 => 'b',
        0o12 => 'l',
        0o14 => 's',
        _ => '-',
    };
    let mut text = String::from(kind);
    for (class, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> class;
        text.push(if bits & 0o4 != 0 { 'r' } else { '-' });
        text.push(if bits & 0o2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 0o1 != 0, mode & special != 0) {
            (true, true) => mark,
            (false, true) => mark.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn seconds_since_1970() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or(0)
}

/// Formats a time as `Mon DD HH:MM` if it is in the half year before `now`, as `Mon DD  YYYY` if it
/// is not, as ls(1) does. The date is from Howard Hinnant's civil calendar algorithm.
fn format_time(seconds: i64, now: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    const DAY: i64 = 86_400;
    // The mean half year of the Gregorian calendar, which ls(1) uses, too.
    const HALF_A_YEAR: i64 = 31_556_952 / 2;
    let days = seconds.div_euclid(DAY) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = (shifted + 2).rem_euclid(12);
    let date = format!("{} {day:>2}", MONTHS[usize::try_from(month).unwrap_or(0)]);
    // Saturating, because a file system can hold any time.
    let age = now.saturating_sub(seconds);
    if (0..HALF_A_YEAR).contains(&age) {
        let minutes = seconds.rem_euclid(DAY) / 60;
        format!("{date} {:02}:{:02}", minutes / 60, minutes % 60)
    } else {
        let year = year_of_era + era * 400 + i64::from(month < 2);
        format!("{date}  {year}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted() {
        const NOW: i64 = 1_735_689_600; // 2025-01-01
        for (seconds, text) in [
            (0, "Jan  1  1970"),
            (-1, "Dec 31  1969"),
            (951_782_400, "Feb 29  2000"),
            (NOW - 1, "Dec 31 23:59"),
            (NOW, "Jan  1 00:00"),
            (NOW + 1, "Jan  1  2025"),
            (NOW - 180 * 86_400, "Jul  5 00:00"),
            (NOW - 190 * 86_400, "Jun 25  2024"),
        ] {
            assert_eq!(format_time(seconds, NOW), text, "{seconds}");
        }
    }

    #[test]
    fn modes_are_formatted() {
        for (mode, text) in [
            (0o100_640, "-rw-r-----"),
            (0o104_755, "-rwsr-xr-x"),
            (0o102_644, "-rw-r-Sr--"),
            (0o041_777, "drwxrwxrwt"),
            (0o041_776, "drwxrwxrwT"),
            (0o120_777, "lrwxrwxrwx"),
            (0o100_000, "----------"),
        ] {
            assert_eq!(format_mode(mode), text, "{mode:o}");
        }
    }

    #[test]
    fn a_long_name_has_the_format_of_ls() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file()
            .set_permissions(Permissions::from_mode(0o640))
            .unwrap();
        let line = long_name(b"a \xe9", &file.as_file().metadata().unwrap());
        assert!(
            line.starts_with(b"-rw-r-----    1 ") && line.ends_with(b" a \xe9"),
            "{}",
            line.escape_ascii()
        );
    }
}
