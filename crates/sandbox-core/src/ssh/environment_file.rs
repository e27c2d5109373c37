//! The file with the environment of a sandbox, which the client writes and sandbox-sshd reads for
//! each command.
//!
//! It has one `NAME=value` per line, as OpenSSH's `~/.ssh/environment`. If a value has a line feed
//! in it, each variable ends with a NUL byte instead, as in `/proc/PID/environ`, because no variable
//! can contain one. Commands of the sandbox may write the file, too: what follows the last NUL byte
//! is read as lines, so that a line can be appended in both cases.

use zeroize::Zeroizing;

use crate::{Env, Error, Result};

/// The path of the file, relative to the home directory.
pub const PATH: &str = ".sandbox/environment";

/// The most bytes of the file that are used. A process can have more (execve(2)), but its arguments
/// share that space.
pub const MAX_BYTES: usize = 256 << 10;

/// The most bytes of one variable with its name, `=` and the NUL byte at its end: `MAX_ARG_STRLEN`
/// of Linux (execve(2)).
pub const MAX_VARIABLE: usize = 128 << 10;

/// Writes variables in the form of the file. The memory is wiped when dropped.
///
/// # Errors
///
/// [`Error::Invalid`] if they are longer than [`MAX_BYTES`], or one than [`MAX_VARIABLE`].
///
/// ```
/// use sandbox_core::{Env, environment_file};
///
/// # fn main() -> sandbox_core::Result<()> {
/// let mut env = Env::default();
/// env.set("KEY", "two\nlines")?;
/// let text = environment_file::encode(&env)?;
/// let parsed: Vec<_> = environment_file::parse(&text).collect();
/// assert_eq!(parsed, [(&b"KEY"[..], &b"two\nlines"[..])]);
/// # Ok(())
/// # }
/// ```
pub fn encode(env: &Env) -> Result<Zeroizing<Vec<u8>>> {
    let has_line_feed = |(name, value): (&str, &str)| name.contains('\n') || value.contains('\n');
    let end = if env.iter().any(has_line_feed) {
        b'\0'
    } else {
        b'\n'
    };
    let length = env
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    if length > MAX_BYTES {
        return Err(Error::invalid(
            "environment of the sandbox",
            format!("({length} bytes)"),
            format!("it must not be longer than {MAX_BYTES} bytes; store large values in files"),
        ));
    }
    let is_too_long = |(name, value): &(&str, &str)| name.len() + value.len() + 2 > MAX_VARIABLE;
    if let Some((name, value)) = env.iter().find(is_too_long) {
        return Err(Error::invalid(
            "environment variable",
            name.chars().take(100).collect::<String>(),
            format!(
                "it has {} bytes, and Linux passes at most {MAX_VARIABLE} to a process with its name; \
                 store large values in files",
                value.len()
            ),
        ));
    }
    // The buffer must not be reallocated while it grows, because the old memory would not be wiped.
    let mut text = Zeroizing::new(Vec::with_capacity(length));
    for (name, value) in env.iter() {
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        text.push(end);
    }
    Ok(text)
}

/// Returns the names and values in the file, in their order. What is no variable is skipped, because
/// a process that can write the file can run commands anyway.
pub fn parse(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines_start = text
        .iter()
        .rposition(|byte| *byte == 0)
        .map_or(0, |at| at + 1);
    let (terminated, lines) = text.split_at(lines_start);
    terminated
        .split(|byte| *byte == 0)
        .chain(lines.split(|byte| *byte == b'\n'))
        .filter_map(split_variable)
}

fn split_variable(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = entry
        .iter()
        .position(|byte| *byte == b'=')
        .filter(|at| *at > 0)?;
    Some((&entry[..equals], &entry[equals + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse_text(text: &str) -> Vec<(String, String)> {
        let to_text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        parse(text.as_bytes())
            .map(|(name, value)| (to_text(name), to_text(value)))
            .collect()
    }

    #[test]
    fn lines_and_terminated_variables_are_read() {
        for (text, expected) in [
            ("", vec![]),
            (
                "A=b c\n=x\nnothing\nEMPTY=\nE=a=b",
                vec![("A", "b c"), ("EMPTY", ""), ("E", "a=b")],
            ),
            ("A=1\n2\0B=\0=x\0nothing\0", vec![("A", "1\n2"), ("B", "")]),
            (
                "A=1\n2\0B=3\nC=4\n",
                vec![("A", "1\n2"), ("B", "3"), ("C", "4")],
            ),
        ] {
            let expected: Vec<(String, String)> = expected
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(parse_text(text), expected, "{text:?}");
        }
    }

    #[test]
    fn values_without_line_feeds_are_lines() {
        let mut env = Env::default();
        env.set("B", "2").unwrap();
        env.set("A", "a b").unwrap();
        assert_eq!(encode(&env).unwrap().as_slice(), b"A=a b\nB=2\n");
    }

    #[test]
    fn too_much_is_refused() {
        let mut env = Env::default();
        for name in ["A", "B", "C"] {
            env.set(name, "x".repeat(100_000)).unwrap();
        }
        let error = encode(&env).unwrap_err();
        assert!(error.to_string().contains("262144"), "{error}");
        for (length, is_accepted) in [(MAX_VARIABLE - 3, true), (MAX_VARIABLE - 2, false)] {
            let mut env = Env::default();
            env.set("A", "x".repeat(length)).unwrap();
            assert_eq!(encode(&env).is_ok(), is_accepted, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_variables_arrive(variables in prop::collection::btree_map("[^=\0]{1,8}", "[^\0]{0,20}", 0..5)) {
            let mut env = Env::default();
            for (name, value) in &variables {
                env.set(name, value).unwrap();
            }
            let text = encode(&env).unwrap();
            let parsed: Vec<_> = parse(&text).collect();
            let expected: Vec<_> = variables.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            prop_assert_eq!(parsed, expected);
        }
    }
}
