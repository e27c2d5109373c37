//! libFuzzer, with the target that the environment variable `SANDBOX_FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let target = std::env::var("SANDBOX_FUZZ_TARGET").expect("`cargo xtask fuzz` sets SANDBOX_FUZZ_TARGET");
    let found = sandbox_fuzz::TARGETS.iter().find(|(name, _)| *name == target);
    found.expect("SANDBOX_FUZZ_TARGET names no target").1
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
