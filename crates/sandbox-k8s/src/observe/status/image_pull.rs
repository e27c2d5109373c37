//! Judges failed image pulls by the messages of container runtimes and registries.

use sandbox_core::CreationReason;

use super::problem::Problem;

/// Signs that the node, the network or the registry is at fault, and may recover. None can be part
/// of an image's name, which has neither spaces nor parentheses.
const TRANSIENT: [&str; 20] = [
    "429 Too Many Requests",
    "toomanyrequests:",
    "pull QPS exceeded",
    "500 Internal Server Error",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway",
    "dial tcp",
    "i/o timeout",
    "TLS handshake timeout",
    "no such host",
    "server misbehaving",
    "connection refused",
    "connection reset",
    "unexpected EOF",
    ": EOF",
    "context deadline exceeded",
    "Client.Timeout exceeded",
    "no space left on device",
    "net/http: request canceled",
];

const UNREACHABLE: [&str; 3] = ["dial tcp", "no such host", "connection refused"];

const WRONG_PLATFORM: [&str; 5] = [
    "no match for platform",
    "no matching manifest for",
    "does not match the specified platform",
    "no image found in image index for architecture",
    "no image found in manifest list for architecture",
];

const REFUSED: [&str; 9] = [
    "pull access denied",
    "authorization failed",
    "authentication required",
    "unauthorized",
    "401 Unauthorized",
    "403 Forbidden",
    "requested access to the resource is denied",
    "no basic auth credentials",
    "invalid username/password",
];

const MISSING: [&str; 6] = [
    "not found",
    "code = NotFound",
    "manifest unknown",
    "name unknown",
    "repository does not exist",
    "no such image",
];

/// Judges the message of a failed pull.
pub(super) fn judge_pull(message: &str) -> Problem {
    let contains_any = |signs: &[&str]| signs.iter().any(|sign| message.contains(sign));
    let fatal =
        |hint: &str| Problem::fatal(CreationReason::ImagePull, format!("{message} ({hint})"));
    if contains_any(&WRONG_PLATFORM) {
        fatal("the image is not built for this node's processor architecture")
    } else if contains_any(&UNREACHABLE) {
        let hint = "the node cannot reach that registry; check its name and the node's network";
        Problem::transient(CreationReason::ImagePull, format!("{message} ({hint})"))
    } else if contains_any(&TRANSIENT) {
        Problem::transient(CreationReason::ImagePull, message)
    } else if contains_any(&REFUSED) {
        fatal("it does not exist, or needs a pull secret: SANDBOX_IMAGE_PULL_SECRET")
    } else if contains_any(&MISSING) {
        fatal("check its name and tag")
    } else {
        Problem::transient(CreationReason::ImagePull, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of container runtimes from public reports.
    #[test]
    fn real_messages_are_judged() {
        let hub = "failed to copy: httpReadSeeker: failed open: unexpected status code \
                   https://registry-1.docker.io/v2/library/busybox/manifests/sha256:50aa4698fa6262977cff89181b2664b99d8a56dbca847bf62f2ef04854597cf8";
        let last = [
            r#"rpc error: code = NotFound desc = failed to pull and unpack image "ghcr.io/a/apiserver:v0.0.29": failed to resolve reference "ghcr.io/a/apiserver:v0.0.29": ghcr.io/a/apiserver:v0.0.29: not found"#,
            r#"rpc error: code = NotFound desc = failed to pull and unpack image "ghcr.io/c/c:1.20.1": failed to copy: httpReadSeeker: failed open: content at https://ghcr.io/v2/c/c/manifests/sha256:827429f73ca03211c631aba2c1b0c417a0e57b7b4dbf3c54689c8a9eee5558e9 not found: not found"#,
            r#"rpc error: code = Unknown desc = failed to pull and unpack image "docker.io/appscode/kubed:v0.13.2": failed to resolve reference "docker.io/appscode/kubed:v0.13.2": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed"#,
            "rpc error: code = Unknown desc = Error response from daemon: pull access denied for kubecloud, repository does not exist or may require 'docker login'",
            "rpc error: code = Unknown desc = Error response from daemon: manifest for a/kube-monkey:latest not found: manifest unknown",
            r#"Back-off pulling image "x:y": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/x:y": not found"#,
            r#"rpc error: code = NotFound desc = failed to pull and unpack image "ghcr.io/kubewarden/kubewarden-controller:latest": no match for platform in manifest: not found"#,
            // containerd 2, and what kubelets from 1.31 on repeat of it.
            r#"Back-off pulling image "gcr.io/c/p:2": ErrImagePull: rpc error: code = Unknown desc = failed to pull and unpack image "gcr.io/c/p:2": failed to resolve image: unexpected status from HEAD request to https://gcr.io/v2/c/p/manifests/2: 403 Forbidden"#,
            r#"failed to pull and unpack image "docker.io/a/b:1": failed to resolve reference "docker.io/a/b:1": pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"#,
            r#"rpc error: code = NotFound desc = failed to pull and unpack image "registry.k8s.io/none:1": failed to resolve image: registry.k8s.io/none:1: not found"#,
            // CRI-O.
            "initializing source docker://quay.io/none/none:1: reading manifest 1 in quay.io/none/none: unauthorized: access to the requested resource is not authorized",
            "rpc error: code = Unknown desc = initializing source docker://docker.io/library/none:1: reading manifest 1 in docker.io/library/none: errors:\ndenied: requested access to the resource is denied\nunauthorized: authentication required",
            "initializing source docker://docker.io/library/busybox:none: reading manifest none in docker.io/library/busybox: manifest unknown",
            "choosing an image from manifest list docker://docker.io/library/x:1: no image found in image index for architecture \"arm64\", variant \"v8\", OS \"linux\"",
            "rpc error: code = Unknown desc = no matching manifest for linux/arm64/v8 in the manifest list entries",
        ];
        for message in last {
            let found = judge_pull(message);
            assert!(
                found.is_final() && found.message.contains(message),
                "{message}"
            );
        }
        let passing = [
            format!("rpc error: code = Unknown desc = {hub}: 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit."),
            "rpc error: code = Unknown desc = reading manifest v3.6.0 in docker.io/openshift/hello-openshift: toomanyrequests: You have reached your unauthenticated pull rate limit.".into(),
            "rpc error: code = Unknown desc = Error response from daemon: Get https://registry-1.docker.io/v2/: net/http: TLS handshake timeout".into(),
            "Error response from daemon: Get https://registry-1.docker.io/v2/: dial tcp: lookup registry-1.docker.io on 10.0.2.3:53: read udp 10.0.2.15:54567->10.0.2.3:53: i/o timeout".into(),
            r#"rpc error: code = Unknown desc = failed to pull and unpack image "r.example/x:1": failed to resolve reference "r.example/x:1": failed to do request: Head "https://r.example/v2/x/manifests/1": dial tcp: lookup r.example: no such host"#.into(),
            format!("rpc error: code = Unknown desc = {hub}: 503 Service Unavailable"),
            "pull QPS exceeded".into(),
            "initializing source docker://r.example/x:1: pinging container registry r.example: Get \"https://r.example/v2/\": dial tcp 10.0.0.1:443: connect: connection refused".into(),
            r#"failed to pull and unpack image "x:1": failed to copy: httpReadSeeker: failed open: failed to do request: Get "https://r.example/v2/x/blobs/sha256:d0157c": context canceled"#.into(),
            r#"Back-off pulling image "x:y""#.into(),
            "a message of a later version".into(),
        ];
        for message in passing {
            assert!(!judge_pull(&message).is_final(), "{message}");
        }
        assert!(
            judge_pull(last[6])
                .message
                .contains("processor architecture")
        );
        assert!(
            judge_pull(last[2])
                .message
                .contains("SANDBOX_IMAGE_PULL_SECRET")
        );
    }

    #[test]
    fn an_image_name_is_not_taken_for_a_sign() {
        // Digests and names may hold any digits and letters.
        for image in [
            "r/429:503",
            "r/x@sha256:429500502503504",
            "eof/io-timeout:no-such-host",
        ] {
            assert!(
                judge_pull(&format!(
                    "failed to resolve reference \"{image}\": {image}: not found"
                ))
                .is_final()
            );
        }
    }
}
