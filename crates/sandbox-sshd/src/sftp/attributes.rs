//! Attributes of files, for SFTP and in the format of `ls -l`.

use std::fs::{Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

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
    let mode = metadata.mode();
    let kind = match mode >> 12 & 0o17 {
        0o01 => 'p',
        0o02 => 'c',
        0o04 => 'd',
        0o06 => 'b',
        0o12 => 'l',
        0o14 => 's',
        _ => '-',
    };
    let bits: String = (0..9)
        .map(|bit| {
            if mode & 0o400 >> bit != 0 {
                ['r', 'w', 'x'][bit % 3]
            } else {
                '-'
            }
        })
        .collect();
    let links = metadata.nlink();
    let uid = metadata.uid();
    let gid = metadata.gid();
    let size = metadata.size();
    let time = format_date(metadata.mtime());
    let mut line =
        format!("{kind}{bits} {links:>4} {uid:<8} {gid:<8} {size:>8} {time} ").into_bytes();
    line.extend_from_slice(name);
    line
}

/// Formats a date as `Mon DD  YYYY`, by Howard Hinnant's civil calendar algorithm.
fn format_date(seconds: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = (shifted + 2).rem_euclid(12);
    let year = year_of_era + era * 400 + i64::from(month < 2);
    format!(
        "{} {day:>2}  {year}",
        MONTHS[usize::try_from(month).unwrap_or(0)]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_formatted() {
        assert_eq!(format_date(0), "Jan  1  1970");
        assert_eq!(format_date(951_782_400), "Feb 29  2000");
        assert_eq!(format_date(1_735_689_599), "Dec 31  2024");
        assert_eq!(format_date(-1), "Dec 31  1969");
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
