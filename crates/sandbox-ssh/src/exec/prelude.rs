//! The environment of a command on a server that does not take it with `env` requests.
//!
//! OpenSSH takes what its AcceptEnv lists, by default only LANG and LC_*; dropbear takes none.
//! Arguments would be seen by every process of the sandbox. So the command becomes a fixed shell
//! script that reads so many lines of its input, each byte by byte as `read` must (POSIX, *read*:
//! it takes no more than its line), exports what they say, and becomes the command; the rest of
//! the input is the command's. The script needs no program but the shell. When the input ends
//! too early, the connection was lost, and the command is not run.
//!
//! A terminal would show what it is sent, cut long lines and take some bytes for keys. So there the
//! script first makes it take bytes as they are, which needs `stty`, and says when that is done; the
//! lines are sent only then. It says it once more when the terminal is as it was, and only then is
//! the command's own input sent. See [`Handshake`](super::handshake::Handshake).

use bytes::Bytes;
use sandbox_core::command_line::quote;
use zeroize::Zeroizing;

/// `$1` is the number of lines, `$2` the command, `$3` what was read, `$4` a newline and a dot,
/// for the shell cuts off trailing newlines. Nothing is kept in a variable, which might be
/// exported already.
const SCRIPT: &[u8] = br#"set -- "$1" "$2" "" "$(echo; echo .)"; while [ "$1" -gt 0 ]; do IFS= read -r SANDBOX_LINE || exit 126; set -- "$(($1 - 1))" "$2" "$3$SANDBOX_LINE${4%.}" "$4"; done; unset SANDBOX_LINE; eval "$3"; eval "$2""#;

/// The same in a terminal. `$5` is how the terminal was; the two lines with `\x06` are for us.
const SCRIPT_IN_TERMINAL: &[u8] = b"set -- \"$1\" \"$2\" \"\" \"$(echo; echo .)\" \"$(stty -g)\"; [ -n \"$5\" ] && stty -echo -icanon -isig -icrnl -ixon -iexten min 1 time 0 || { echo 'sandbox: variables for a command in a terminal need stty in the image'; exit 126; }; echo \x06; while [ \"$1\" -gt 0 ]; do IFS= read -r SANDBOX_LINE || exit 126; set -- \"$(($1 - 1))\" \"$2\" \"$3$SANDBOX_LINE${4%.}\" \"$4\" \"$5\"; done; unset SANDBOX_LINE; stty \"$5\"; echo \x06; eval \"$3\"; eval \"$2\"";

/// Variables that shells do not let be set.
const READ_ONLY: [&str; 5] = ["BASHOPTS", "EUID", "PPID", "SHELLOPTS", "UID"];

/// Assignments that go before a command's input.
pub(super) struct Prelude {
    text: Zeroizing<Vec<u8>>,
    lines: usize,
    in_terminal: bool,
}

/// Whether a shell can export a variable of that name (POSIX, *Name*).
pub(super) fn can_be_exported(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.bytes().next().is_some_and(letter)
        && name
            .bytes()
            .all(|byte| letter(byte) || byte.is_ascii_digit())
        && !READ_ONLY.contains(&name)
}

impl Prelude {
    /// For variables whose names can be exported.
    pub(super) fn new(variables: &[(&str, &str)], in_terminal: bool) -> Self {
        // Never moved to another place while it grows: what stays behind is not wiped.
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

    /// The command line that reads this first.
    pub(super) fn before(&self, line: &[u8]) -> Vec<u8> {
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

    /// Whether it must not be sent before the script says so.
    pub(super) fn is_in_terminal(&self) -> bool {
        self.in_terminal
    }

    /// What goes before the input. It is wiped when it was sent.
    pub(super) fn into_bytes(self) -> Bytes {
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

    /// Runs a line with these variables in that shell, and gives it the input.
    fn run(
        shell: &[&str],
        line: &str,
        variables: &[(&str, &str)],
        input: &[u8],
    ) -> (Option<i32>, Vec<u8>) {
        let prelude = Prelude::new(variables, false);
        let whole = prelude.before(line.as_bytes());
        // As the line has it, but for the shell.
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
        stdin.write_all(&prelude.into_bytes()).unwrap();
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
        let here: Vec<_> = all
            .into_iter()
            .filter(|shell| sandbox_testkit::peers::find(shell[0]).is_some())
            .collect();
        if here.is_empty() {
            vec![vec!["sh"]]
        } else {
            here
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
    fn without_the_whole_of_it_nothing_is_run() {
        for shell in shells() {
            let prelude = Prelude::new(&[("ONE", "1\n2\n3")], false);
            let arguments = prelude
                .before(b"echo ran")
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
    fn names_that_a_shell_cannot_export_are_known() {
        for name in ["A", "_", "a_1Z"] {
            assert!(can_be_exported(name), "{name}");
        }
        for name in [
            "", "1A", "A-B", "A.B", "A B", "A;id", "\u{c4}", "UID", "A\n",
        ] {
            assert!(!can_be_exported(name), "{name:?}");
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
