//! Uploads to devices and FIFOs.
//!
//! SFTP writes at offsets, which FIFOs and terminals do not have, and a server that waits for the
//! other end of a FIFO serves nothing else meanwhile. So a command writes there.

use sandbox_core::{Direction, ExecRequest, FilePath, Output, Result, TransferReason};

use crate::sftp::transfer_error;
use crate::text::escape;

/// More bytes than a shell needs to say why it cannot open a file.
pub(crate) const SPECIAL_OUTPUT_CAP: usize = 4096;
const SCRIPT: &str = r#"exec cat > "$1""#;

/// The command that writes its input to a device or FIFO.
pub(crate) fn special_command(path: &FilePath) -> ExecRequest {
    let mut request =
        ExecRequest::from_argv([&b"sh"[..], b"-c", SCRIPT.as_bytes(), b"sh", path.as_bytes()]);
    request.stdin = true;
    request
}

/// Checks how that command ended.
pub(crate) fn check_special_written(path: &FilePath, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let text = output.stderr_lossy();
    let text = text.trim();
    let reason = if text.contains("ermission denied") {
        TransferReason::PermissionDenied
    } else if text.contains("No space left") {
        TransferReason::NoSpace
    } else {
        TransferReason::Other
    };
    let status = &output.status;
    let message = if text.is_empty() {
        format!("`cat` in the sandbox, which writes to it, ended early ({status})")
    } else {
        format!("`cat` in the sandbox cannot write to it: {}", escape(text))
    };
    Err(transfer_error(Direction::Upload, path, reason, message))
}

#[cfg(test)]
mod tests {
    use sandbox_core::{Error, ExitStatus};

    use super::*;

    #[test]
    fn a_failure_has_its_reason() {
        let check = |stderr: &str, code| {
            let output = Output::new(ExitStatus::Code(code), String::new(), stderr.to_owned());
            match check_special_written(&"/dev/x".into(), &output) {
                Ok(()) => None,
                Err(Error::Transfer(error)) => Some((error.reason, error.message)),
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(check("a warning", 0), None);
        let denied = check("sh: 1: cannot create /dev/x: Permission denied\n", 2).unwrap();
        assert_eq!(denied.0, TransferReason::PermissionDenied);
        let full = check("cat: write error: No space left on device", 1).unwrap();
        assert_eq!(full.0, TransferReason::NoSpace);
        let (reason, message) = check("", 141).unwrap();
        assert_eq!(reason, TransferReason::Other);
        assert!(message.contains("141"), "{message}");
        assert!(!check("\x1b[2J", 1).unwrap().1.contains('\x1b'));
    }
}
