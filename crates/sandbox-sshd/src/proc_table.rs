//! Who descends from whom, as `/proc` has it.

use std::collections::HashMap;

use nix::unistd::{Pid, getpid};

/// The children of this process, their children, and so on; zombies are left out. Empty where
/// there is no `/proc`.
pub(crate) fn descendants() -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process may end between the listing and the look.
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else {
            continue;
        };
        if let Some(parent) = living_parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![getpid().as_raw()];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found.into_iter().skip(1).map(Pid::from_raw).collect()
}

/// The parent in a `stat` line, unless the process is a zombie. The name in parentheses may
/// contain anything, so the fields are counted from the last one.
fn living_parent(stat: &[u8]) -> Option<i32> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..])
        .ok()?
        .split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.next()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lie() {
        assert_eq!(living_parent(b"12 (sh) S 7 12 12 0"), Some(7));
        assert_eq!(living_parent(b"12 (a) S 1 (b) ) R 7 12"), Some(7));
        assert_eq!(living_parent(b"12 (sh) Z 7 12"), None);
        for bad in ["", "12 (sh", "12 (sh)", "12 (sh) S", "12 (sh) S x"] {
            assert_eq!(living_parent(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_child_is_found_until_it_is_dead() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        assert!(descendants().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants().contains(&pid));
    }
}
