//! What the SDK relies on survives the Pod options.

use sandbox_k8s::options::{Injection, PodOptions, PodVolume, VolumeSource};

use crate::{build, options};

#[test]
fn options_cannot_break_what_the_sdk_relies_on() {
    let volume = |path: &str, source| PodOptions::new().volume(PodVolume::new("v", path, source));
    let empty = || VolumeSource::EmptyDir(None);
    let keys = |name: &str| VolumeSource::Secret(name.into());
    for (own, expected) in [
        (
            volume("/x", keys("sbx-a-keys-k3v9q2xw7dk3v9q2xw7d")),
            "keys of a sandbox",
        ),
        (
            volume("/x", keys("web-keys-k3v9q2xw7dk3v9q2xw7d")),
            "keys of a sandbox",
        ),
        (
            PodOptions::new().image_pull_secret("sbx-a-keys-k3v9q2xw7dk3v9q2xw7d"),
            "keys of a sandbox",
        ),
        (volume("/.sandbox", empty()), "SSH server"),
        (volume("/./.sandbox/x", empty()), "SSH server"),
        (
            PodOptions::new().annotation("sandbox.dev/nonce", "x"),
            "SDK's own",
        ),
        (PodOptions::new().request("nvidia.com/gpu", "1"), "extended"),
        (
            PodOptions::new().extended_resource("cpu", "1"),
            "nvidia.com/gpu",
        ),
        (PodOptions::new().run_as_user(0), "user 0"),
    ] {
        let error = build(&own, &options()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    // Secrets of the user are free, whatever they hold.
    build(&volume("/x", keys("registry-keys")), &options()).unwrap();
    let mut baked = options();
    baked.injection = Injection::baked();
    let error = build(&volume("/usr/local", empty()), &baked)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/usr/local") && error.contains("SSH server"),
        "{error}"
    );
    build(&volume("/usr/share", empty()), &baked).unwrap();
}
