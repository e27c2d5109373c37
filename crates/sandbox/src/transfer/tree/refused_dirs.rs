//! The directories of a tree that could not be created at the target.

use std::collections::HashSet;

use sandbox_core::FilePath;

/// The directories of a tree that could not be created at the target. Nothing below them is copied:
/// something else may have their name, such as a link to another directory. The first one of a
/// branch is reported, and stands for what is in it.
#[derive(Default)]
pub(super) struct RefusedDirs(HashSet<FilePath>);

impl RefusedDirs {
    pub(super) fn insert(&mut self, directory: FilePath) {
        self.0.insert(directory);
    }

    /// Whether this is one of the directories, or in one of them.
    pub(super) fn contains(&self, name: &FilePath) -> bool {
        let mut path = name.as_bytes();
        while !self.0.is_empty() && !path.is_empty() {
            if self.0.contains(path) {
                return true;
            }
            let end = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            path = &path[..end];
        }
        false
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_refused_directory_is_refused() {
        let mut refused = RefusedDirs::default();
        assert!(!refused.contains(&"a".into()));
        refused.insert("a/b".into());
        for (name, expected) in [
            ("a/b", true),
            ("a/b/c", true),
            ("a/b/c/d", true),
            ("a", false),
            ("a/bc", false),
            ("b", false),
            ("c/a/b", false),
        ] {
            assert_eq!(refused.contains(&name.into()), expected, "{name}");
        }
    }
}
