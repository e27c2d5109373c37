//! One command as the single string that an SSH `exec` request carries.
//!
//! SSH has no argv: [RFC 4254 §6.5] sends one string, and a server passes it to the user's shell.
//! So arguments are quoted, here and nowhere else. The format is a fixed subset of the POSIX
//! shell's language,
//!
//! ```text
//! cd -- 'DIR' && exec 'PROGRAM' 'ARG' 'ARG'
//! exec 'PROGRAM' 'ARG'
//! ```
//!
//! which every `sh` runs. sandbox-sshd recognises it with [`CommandLine::parse`] and runs the
//! program without a shell, so that it works in images that have none. Neither expands a leading
//! `~/` of a directory: relative directories start at the home directory.
//!
//! ```
//! use sandbox_core::command_line::CommandLine;
//!
//! let command = CommandLine { directory: None, argv: vec![b"echo".to_vec(), b"it's".to_vec()] };
//! assert_eq!(command.encode().unwrap(), br"exec 'echo' 'it'\''s'");
//! ```
//!
//! [RFC 4254 §6.5]: https://www.rfc-editor.org/rfc/rfc4254#section-6.5

/// A program, its arguments and optionally the directory to run it in. All are bytes, because they
/// do not have to be UTF-8.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The working directory: absolute, or relative to the home directory.
    pub directory: Option<Vec<u8>>,
    /// The program and its arguments; never empty.
    pub argv: Vec<Vec<u8>>,
}

/// Why a command cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCommand {
    /// No program was named.
    #[error("the command is empty: name a program to run")]
    Empty,
    /// A NUL byte, which ends POSIX arguments, paths and environment variables.
    #[error("{part} contains a NUL byte, which no Unix program can receive")]
    Nul {
        /// The part of the command that contains it.
        part: &'static str,
    },
}

impl CommandLine {
    /// Returns the string to send.
    ///
    /// # Errors
    ///
    /// [`InvalidCommand`] if there is no program, or a NUL byte anywhere.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidCommand> {
        if self.argv.first().is_none_or(Vec::is_empty) {
            return Err(InvalidCommand::Empty);
        }
        let mut line = Vec::new();
        if let Some(directory) = &self.directory {
            reject_nul("the working directory", directory)?;
            line.extend_from_slice(b"cd -- ");
            quote_into(directory, &mut line);
            line.extend_from_slice(b" && ");
        }
        line.extend_from_slice(b"exec");
        for arg in &self.argv {
            reject_nul("an argument", arg)?;
            line.push(b' ');
            quote_into(arg, &mut line);
        }
        Ok(line)
    }

    /// Parses what [`encode`](Self::encode) wrote. Returns `None` for anything else; such a
    /// line needs a shell.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (directory, mut rest) = match line.strip_prefix(b"cd -- ") {
            Some(rest) => {
                let (directory, rest) = unquote(rest)?;
                (Some(directory), rest.strip_prefix(b" && ")?)
            }
            None => (None, line),
        };
        rest = rest.strip_prefix(b"exec")?;
        let mut argv = Vec::new();
        while !rest.is_empty() {
            let (arg, after) = unquote(rest.strip_prefix(b" ")?)?;
            argv.push(arg);
            rest = after;
        }
        (!argv.is_empty()).then_some(Self { directory, argv })
    }
}

/// Shows only the program's name: arguments may be secrets.
impl std::fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let program = self.argv.first().map(|arg| String::from_utf8_lossy(arg));
        f.debug_struct("CommandLine")
            .field("program", &program)
            .finish_non_exhaustive()
    }
}

/// Quotes one word for a POSIX shell, in single quotes. A single quote inside becomes `'\''`.
pub fn quote(word: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(word.len() + 2);
    quote_into(word, &mut quoted);
    quoted
}

fn reject_nul(part: &'static str, bytes: &[u8]) -> Result<(), InvalidCommand> {
    if bytes.contains(&0) {
        Err(InvalidCommand::Nul { part })
    } else {
        Ok(())
    }
}

fn quote_into(word: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    for &byte in word {
        match byte {
            b'\'' => out.extend_from_slice(br"'\''"),
            byte => out.push(byte),
        }
    }
    out.push(b'\'');
}

/// Splits off one word in the form of [`quote`], and returns it with the rest.
fn unquote(input: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = input.strip_prefix(b"'")?;
    let mut word = Vec::new();
    loop {
        let end = rest.iter().position(|&byte| byte == b'\'')?;
        word.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(br"\''") {
            Some(after) => {
                word.push(b'\'');
                rest = after;
            }
            None => return Some((word, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    fn line(directory: Option<&str>, argv: &[&str]) -> CommandLine {
        CommandLine {
            directory: directory.map(|d| d.as_bytes().to_vec()),
            argv: argv.iter().map(|a| a.as_bytes().to_vec()).collect(),
        }
    }

    #[test]
    fn the_format_is_as_documented() {
        let encoded = line(Some("my dir"), &["echo", "it's", ""])
            .encode()
            .unwrap();
        assert_eq!(encoded, br"cd -- 'my dir' && exec 'echo' 'it'\''s' ''");
    }

    #[test]
    fn other_shell_lines_are_not_parsed() {
        for other in [
            "",
            "exec",
            "exec ",
            "ls -l",
            "exec 'a'; id",
            "exec 'a' b",
            "exec 'a",
            "cd -- 'x' && ls",
            "exec  'a'",
        ] {
            assert_eq!(CommandLine::parse(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn invalid_input_is_named() {
        assert_eq!(line(None, &[]).encode(), Err(InvalidCommand::Empty));
        assert_eq!(line(None, &[""]).encode(), Err(InvalidCommand::Empty));
        assert_eq!(
            line(None, &["a", "b\0c"]).encode(),
            Err(InvalidCommand::Nul {
                part: "an argument"
            })
        );
        assert!(
            line(Some("\0"), &["a"])
                .encode()
                .unwrap_err()
                .to_string()
                .contains("working directory")
        );
    }

    fn word() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(1..=255_u8, 0..20),
            prop::collection::vec(prop::sample::select(b"'\\ \n\"$`-~!*;&|".to_vec()), 0..8),
        ]
    }

    proptest! {
        #[test]
        fn parse_is_the_inverse_of_encode(directory in prop::option::of(word()), program in word(), args in prop::collection::vec(word(), 0..5)) {
            prop_assume!(!program.is_empty());
            let command = CommandLine { directory, argv: std::iter::once(program).chain(args).collect() };
            prop_assert_eq!(CommandLine::parse(&command.encode().unwrap()), Some(command));
        }

        #[test]
        fn parse_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _parsed = CommandLine::parse(&bytes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn a_real_shell_agrees(args in prop::collection::vec(word(), 1..5)) {
            let mut argv = vec![b"printf".to_vec(), br"%s\0".to_vec()];
            argv.extend(args.iter().cloned());
            let encoded = CommandLine { directory: Some(b"/".to_vec()), argv }.encode().unwrap();
            let output = Command::new("sh").arg("-c").arg(std::ffi::OsString::from_vec(encoded)).output().unwrap();
            let expected: Vec<u8> = args.iter().flat_map(|arg| arg.iter().copied().chain([0])).collect();
            prop_assert_eq!(output.stdout, expected);
        }
    }
}
