//! Judges why the first process of a container could not be started.

use sandbox_core::CreationReason;

use super::problem::Problem;
use crate::manifest::pod::OTHER_WAYS;

/// Messages of runc and crun about the process that becomes the container's first. All signs that are
/// compared with a runtime's message are in lower case, because runtimes differ in that.
const TOO_LITTLE_MEMORY: [&str; 4] = [
    "container init was oom-killed",
    ": cannot allocate memory",
    "unable to set memory limit to",
    "oom: the memory limit could be too low",
];

/// A program that does not exist, or may not be run. crun does not name one that may not.
const ABSENT: [&str; 4] = [
    "no such file or directory",
    "executable file not found",
    "permission denied",
    "not found in $path",
];

/// runc, crun and CRI-O about the first process of a container that waits for an upload.
const NO_SHELL: [&str; 3] = [
    r#"exec: "sh": executable file not found"#,
    "executable file `sh` not found",
    r#"executable file "sh" not found"#,
];

/// The last two are from containerd before 2.1 and CRI-O before 1.31, which take an image volume for a
/// path of the node; nothing else has an empty path.
const NO_IMAGE_VOLUME: [&str; 4] = [
    "failed to mount image volume",
    "imagevolumemountfailed",
    r#"failed to mkdir "": "#,
    "mount.hostpath is empty",
];

/// Judges the message of a Pod or container whose first process did not fit into its memory.
pub(super) fn judge_memory(message: &str) -> Option<Problem> {
    let lower = message.to_ascii_lowercase();
    TOO_LITTLE_MEMORY
        .iter()
        .any(|sign| lower.contains(sign))
        .then(|| {
            let hint = "the memory limit is too low to start a program: raise it";
            Problem::fatal(CreationReason::Crashed, format!("{message} ({hint})"))
        })
}

/// The message about a program for another processor, in lower case.
pub(super) const WRONG_PROCESSOR: &str = "exec format error";

/// Judges why a process could not be started; `None` for an unknown message.
pub(super) fn judge_start(message: &str) -> Option<Problem> {
    // A message from a log ends with a line feed.
    let message = message.trim();
    let lower = message.to_ascii_lowercase();
    let fatal = |text| Problem::fatal(CreationReason::Crashed, text);
    let contains_any = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    if let Some(problem) = judge_memory(message) {
        return Some(problem);
    }
    if contains_any(&[WRONG_PROCESSOR]) {
        return Some(fatal(format!(
            "{message} (a program for another processor architecture: is the image, or the server's image, built \
             for this node?)"
        )));
    }
    let server = contains_any(&["sandbox-sshd", "open executable"]);
    if contains_any(&NO_IMAGE_VOLUME) {
        let hint = "this node's container runtime cannot mount the SSH server's image as a volume";
        Some(Problem {
            server_missing: true,
            ..fatal(format!("{message} ({hint})"))
        })
    } else if server && contains_any(&ABSENT) {
        let hint = "the SSH server does not exist or cannot be run: the image that should hold it does not, or this \
                      cluster cannot run it from an image volume (SANDBOX_INJECTION=init-container works on every \
                      cluster)";
        Some(Problem {
            server_missing: true,
            ..fatal(format!("{message} ({hint})"))
        })
    } else if contains_any(&NO_SHELL) {
        Some(fatal(format!(
            "{message} (the image has no shell, which the upload of the SSH server needs: {OTHER_WAYS})"
        )))
    } else {
        contains_any(&ABSENT).then(|| fatal(message.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_cannot_be_run_calls_for_another_injection() {
        for (message, missing) in [
            (
                r#"failed to mount image volume: ImageVolumeMountFailed: mount source: "overlay""#,
                true,
            ),
            (
                r#"exec: "/.sandbox/sandbox-sshd": stat /.sandbox/sandbox-sshd: no such file or directory"#,
                true,
            ),
            (
                r#"failed to generate container "5dfb" spec: failed to generate spec: failed to mkdir "": mkdir : no such file or directory"#,
                true,
            ),
            (
                "executable file `/.sandbox/sandbox-sshd` not found in $PATH: No such file or directory",
                true,
            ),
            ("open executable: Permission denied", true),
            ("error: mount.HostPath is empty", true),
            (
                "executable file `python4` not found in $PATH: No such file or directory",
                false,
            ),
            (
                "exec container process `/.sandbox/sandbox-sshd`: Exec format error",
                false,
            ),
            (
                r#"failed to mkdir "/var/lib/x": mkdir /var/lib/x: no such file or directory"#,
                false,
            ),
            (r#"exec: "/bin/other": no such file or directory"#, false),
            ("exec /.sandbox/sandbox-sshd: exec format error", false),
        ] {
            assert_eq!(
                judge_start(message).unwrap().server_missing,
                missing,
                "{message}"
            );
        }
        assert_eq!(judge_start("context deadline exceeded"), None);
    }

    #[test]
    fn an_image_without_a_shell_is_named_as_the_cause() {
        for message in [
            r#"failed to create containerd task: OCI runtime create failed: exec: "sh": executable file not found in $PATH: unknown"#,
            "crun: executable file `sh` not found in $PATH: No such file or directory",
        ] {
            let found = judge_start(message).unwrap();
            assert!(
                found.message.contains("no shell") && found.message.contains("baked"),
                "{found:?}"
            );
            assert!(found.is_final() && !found.server_missing);
        }
        let other = judge_start("executable file `dash` not found in $PATH").unwrap();
        assert!(!other.message.contains("no shell"), "{other:?}");
    }
}
