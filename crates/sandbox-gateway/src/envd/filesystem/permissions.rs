//! Permissions as Go writes them, which E2B's SDKs show.

use sandbox::EntryKind;

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// Formats a kind and a mode as Go's [`FileMode`](https://pkg.go.dev/io/fs#FileMode.String) does: letters for what is
/// special, or a dash, then nine permissions.
pub(super) fn format_permissions(kind: EntryKind, mode: u32) -> String {
    let mut text = String::with_capacity(12);
    match kind {
        EntryKind::Directory => text.push('d'),
        EntryKind::Symlink => text.push('L'),
        EntryKind::File => {}
        // A socket, a FIFO or a device; which one is not known.
        _special => text.push('?'),
    }
    for (bit, letter) in [(SET_USER_ID, 'u'), (SET_GROUP_ID, 'g'), (STICKY, 't')] {
        if mode & bit != 0 {
            text.push(letter);
        }
    }
    if text.is_empty() {
        text.push('-');
    }
    for (at, letter) in "rwxrwxrwx".chars().enumerate() {
        let is_allowed = mode & (0o400 >> at) != 0;
        text.push(if is_allowed { letter } else { '-' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_written_as_go_does() {
        let cases = [
            (EntryKind::File, 0o644, "-rw-r--r--"),
            (EntryKind::File, 0o4755, "urwxr-xr-x"),
            (EntryKind::Directory, 0o755, "drwxr-xr-x"),
            (EntryKind::Directory, 0o1777, "dtrwxrwxrwx"),
            (EntryKind::Directory, 0o2750, "dgrwxr-x---"),
            (EntryKind::Symlink, 0o777, "Lrwxrwxrwx"),
            (EntryKind::Special, 0o600, "?rw-------"),
            (EntryKind::File, 0, "----------"),
        ];
        for (kind, mode, expected) in cases {
            assert_eq!(format_permissions(kind, mode), expected);
        }
    }
}
