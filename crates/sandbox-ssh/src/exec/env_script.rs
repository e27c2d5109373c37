//! The environment of a command on a server that refuses some of its variables.
//!
//! OpenSSH accepts the variables that its AcceptEnv lists, by default only LANG and LC_*; dropbear
//! accepts none. Every process of the sandbox could read them in arguments. So the command becomes a
//! fixed shell script that reads a number of lines of its input, each byte by byte as `read` must
//! (POSIX, *read*: it takes no more than its line), exports what they contain, and becomes the
//! command; the rest of the input is the command's. The script needs no program but the shell. If
//! the input ends too early, the connection was lost, and the command is not run.
//!
//! A terminal would echo its input, cut long lines and interpret some bytes as keys. So there the
//! script first lets it pass bytes unchanged, which needs `stty`, and then prints a mark; the lines
//! are sent only after that. It prints a second mark when the terminal is restored, and only then is
//! the command's own input sent. See [`TtySync`](super::tty_sync::TtySync).

use bytes::Bytes;
use sandbox_core::command_line::quote;
use zeroize::Zeroizing;

/// `$1` is the number of lines, `$2` the command, `$3` the lines that were read, `$4` a newline and a
/// dot, because the shell strips trailing newlines. No variable holds any of them, because a variable
/// might be exported already.
const SCRIPT: &[u8] = br#"set -- "$1" "$2" "" "$(echo; echo .)"; while [ "$1" -gt 0 ]; do IFS= read -r SANDBOX_LINE || exit 126; set -- "$(($1 - 1))" "$2" "$3$SANDBOX_LINE${4%.}" "$4"; done; unset SANDBOX_LINE; eval "$3"; eval "$2""#;

/// The same in a terminal. `$5` are the terminal's settings before; the lines with `\x06` are marks.
const SCRIPT_IN_TERMINAL: &[u8] = b"set -- \"$1\" \"$2\" \"\" \"$(echo; echo .)\" \"$(stty -g)\"; [ -n \"$5\" ] && stty -echo -icanon -isig -icrnl -ixon -iexten min 1 time 0 || { echo 'sandbox: variables for a command in a terminal need stty in the image'; exit 126; }; echo \x06; while [ \"$1\" -gt 0 ]; do IFS= read -r SANDBOX_LINE || exit 126; set -- \"$(($1 - 1))\" \"$2\" \"$3$SANDBOX_LINE${4%.}\" \"$4\" \"$5\"; done; unset SANDBOX_LINE; stty \"$5\"; echo \x06; eval \"$3\"; eval \"$2\"";

/// Variables that some shells do not allow to be set.
const READ_ONLY: [&str; 5] = ["BASHOPTS", "EUID", "PPID", "SHELLOPTS", "UID"];

/// A script that sets variables, and the assignments that it reads from its input.
pub(super) struct EnvScript {
    text: Zeroizing<Vec<u8>>,
    lines: usize,
    in_terminal: bool,
}

/// Whether a shell can export a variable of that name (POSIX, *Name*).
pub(super) fn is_exportable(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter)
        && name
            .bytes()
            .all(|byte| letter(byte) || byte.is_ascii_digit())
        && !READ_ONLY.contains(&name)
}

impl EnvScript {
    /// For variables whose names are [exportable](is_exportable).
    pub(super) fn new(variables: &[(&str, &str)], in_terminal: bool) -> Self {
        // Must not be reallocated while it grows, because the old memory would not be wiped.
        let longest = variables
            .iter()
            .map(|(name, value)| name.len() + 4 * value.len() + 16)
            .sum();
        let mut text = Zeroizing::new(Vec::with_capacity(longest));
        for (name, value) in variables {
            text.extend_from_slice(b"export ");
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            text.extend_from_slice(&Zeroizing::new(quote(value.as_bytes())));
            text.push(b'\n');
        }
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        Self {
            text,
            lines,
            in_terminal,
        }
    }

    /// The command line with the script before it.
    pub(super) fn wrap(&self, line: &[u8]) -> Vec<u8> {
        let mut whole = b"exec /bin/sh -c ".to_vec();
        whole.extend(quote(if self.in_terminal {
            SCRIPT_IN_TERMINAL
        } else {
            SCRIPT
        }));
        whole.extend(format!(" sh {} ", self.lines).bytes());
        whole.extend(quote(line));
        whole
    }

    /// Whether the assignments must wait for the script's marks.
    pub(super) fn is_in_terminal(&self) -> bool {
        self.in_terminal
    }

    /// The assignments, to be sent before the command's input. They are wiped once sent.
    pub(super) fn into_input(self) -> Bytes {
        Bytes::from_owner(self.text)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::os::unix::ffi::OsStringExt;
    use std::process::{Command, Stdio};

    /// Runs a line with these variables and this input in a shell.
    fn run(
        shell: &[&str],
        line: &str,
        variables: &[(&str, &str)],
        input: &[u8],
    ) -> (Option<i32>, Vec<u8>) {
        let script = EnvScript::new(variables, false);
        let whole = script.wrap(line.as_bytes());
        // The same line with another shell.
        let arguments = whole.strip_prefix(b"exec /bin/sh").unwrap();
        let line = [b"exec ", shell.join(" ").as_bytes(), arguments].concat();
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(std::ffi::OsString::from_vec(line))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&script.into_input()).unwrap();
        stdin.write_all(input).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        (output.status.code(), output.stdout)
    }

    pub(in super::super) fn shells() -> Vec<Vec<&'static str>> {
        let all = [
            vec!["dash"],
            vec!["bash", "--posix"],
            vec!["busybox", "sh"],
            vec!["mksh"],
            vec!["zsh"],
        ];
        let installed: Vec<_> = all
            .into_iter()
            .filter(|shell| sandbox_testkit::peers::find_program(shell[0]).is_some())
            .collect();
        if installed.is_empty() {
            vec![vec!["sh"]]
        } else {
            installed
        }
    }

    #[test]
    fn every_shell_reads_exactly_its_lines() {
        let odd = "it's \\ \"q\" $x `id` $(id)\n\n two\t \u{6587}\u{c1}\u{c8} \u{1} ! \r\n";
        let variables = [("ONE", odd), ("EMPTY", ""), ("_2", "\n")];
        for shell in shells() {
            let line = r#"exec sh -c 'printf "%s|%s|%s|" "$ONE" "$EMPTY" "$_2"; cat; env | grep -c ^SANDBOX_LINE; exit 7'"#;
            let (code, output) = run(&shell, line, &variables, b"the \\rest\nof it");
            let expected = format!("{odd}||\n|the \\rest\nof it0\n");
            assert_eq!(String::from_utf8_lossy(&output), expected, "{shell:?}");
            assert_eq!(code, Some(7), "{shell:?}");
        }
    }

    #[test]
    fn nothing_runs_without_the_whole_input() {
        for shell in shells() {
            let script = EnvScript::new(&[("ONE", "1\n2\n3")], false);
            let arguments = script
                .wrap(b"echo ran")
                .strip_prefix(b"exec /bin/sh")
                .unwrap()
                .to_vec();
            let line = [
                b"printf 'export ONE=' | ",
                shell.join(" ").as_bytes(),
                &arguments,
            ]
            .concat();
            let output = Command::new("sh")
                .arg("-c")
                .arg(std::ffi::OsString::from_vec(line))
                .output()
                .unwrap();
            assert_eq!(
                (output.status.code(), output.stdout),
                (Some(126), vec![]),
                "{shell:?}"
            );
        }
    }

    #[test]
    fn names_that_a_shell_cannot_export_are_recognised() {
        for name in ["A", "_", "a_1Z"] {
            assert!(is_exportable(name), "{name}");
        }
        for name in [
            "", "1A", "A-B", "A.B", "A B", "A;id", "\u{c4}", "UID", "A\n",
        ] {
            assert!(!is_exportable(name), "{name:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_value_arrives(value in "[^\0]{0,40}", input in prop::collection::vec(any::<u8>(), 0..40)) {
            let (_, output) = run(&["sh"], r#"exec sh -c 'printf "%s" "$V"; cat'"#, &[("V", &value)], &input);
            prop_assert_eq!(output, [value.as_bytes(), &input].concat());
        }
    }
}
