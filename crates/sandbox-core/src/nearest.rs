//! Suggestions for misspelt names.

/// Returns the candidate that is most similar to `name`, if it is similar enough to be a typing
/// mistake. For errors about names that do not exist.
///
/// ```
/// let names = ["production", "staging"];
/// assert_eq!(sandbox_core::nearest("prodution", names.into_iter()), Some("production"));
/// ```
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len() / 4)
        .map(|(_, candidate)| candidate)
}

/// Counts the letters to insert, remove or replace (Levenshtein distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_recognised() {
        let names = ["SANDBOX_MEMORY", "SANDBOX_TTL", "SANDBOX_IMAGE"];
        let near = |name| nearest(name, names.into_iter());
        assert_eq!(near("SANDBOX_MEMROY"), Some("SANDBOX_MEMORY"));
        assert_eq!(near("SANDBOX_IMAGES"), Some("SANDBOX_IMAGE"));
        assert_eq!(near("SANDBOX_SOMETHING_ELSE"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
