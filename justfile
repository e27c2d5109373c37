# The commands of this repository. Each recipe can be typed by hand; CI and the workflows call the same ones.

set positional-arguments

# A missing peer is a failure in CI, never a skip.
peers := "openssh,openssh-server,dropbear,rsync,git,busybox,disk,static,curl,pip,npm,cargo"

# List the recipes
default:
    @just --list --unsorted

# Format the code
fmt:
    cargo fmt --all

# Everything CI checks before it runs a test
lint: fmt-check clippy layers api spell deny advisories

# Check the formatting
fmt-check:
    cargo fmt --all --check

# Run clippy; warnings are errors
clippy:
    cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

# Check which crate may depend on which
layers:
    cargo xtask layers

# Compare the public API of each crate with its api.txt (`cargo xtask api` writes it)
api:
    cargo xtask api --check

# Find typing errors (https://github.com/crate-ci/typos)
spell:
    typos

# Check licences, banned crates and sources of the dependencies (https://github.com/EmbarkStudios/cargo-deny)
deny:
    cargo deny --locked check licenses bans sources

# Compare the locked dependencies with the recorded security advisories, offline
advisories:
    cargo xtask advisories

# Check the dependencies against the RustSec advisory database, which is downloaded
audit:
    cargo deny --locked check advisories

# Run the tests that need no cluster
test *ARGS:
    # Background jobs of a script ignore SIGINT, and so would the commands under test.
    env --default-signal=INT,QUIT,HUP,TERM cargo test --workspace --locked "$@"

# Run the same tests and fail where a peer (OpenSSH, dropbear, rsync …) is missing
test-all *ARGS:
    SANDBOX_TEST_REQUIRE={{ peers }} just test "$@"

# Build the documentation; warnings are errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

# Run each example and check what it prints
examples:
    .ci/examples

# Try the built command as a person would
try-command:
    .ci/try-command

# Run E2B's own SDKs, newest and oldest supported, against `sandbox serve`
gateway *ARGS:
    .ci/gateway "$@"

# Build the Python package and run its tests, type checks and example
python *ARGS:
    .ci/python "$@"

# Run the adapters of the Python package against the frameworks; needs the wheel that `just python` has built
adapters *ARGS:
    .ci/adapters "$@"

# Run the official Python client of the Model Context Protocol, newest and oldest supported, against `sandbox mcp`
mcp:
    .ci/mcp

# Check each feature of the facade alone: features only add. `just clippy` checks all at once
features:
    for features in "" local k8s metrics mock; do \
        echo "features: ${features:-none}"; \
        cargo check --package sandbox --locked --no-default-features --features "$features" || exit 1; \
    done

# Build with the oldest supported Rust (rust-version in Cargo.toml)
msrv:
    cargo "+$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)" check --workspace --locked

# Build the SSH server's image as an OCI archive, without Docker
image *ARGS:
    cargo xtask image "$@"

# Run the end-to-end tests on a new kind cluster (or, with --kubeconfig or --context, on one of yours)
e2e *ARGS:
    cargo xtask e2e "$@"

# The same on the cluster that CI uses: kind's, or that of SANDBOX_CI_CLUSTER
cluster:
    .ci/cluster

# Build the wheel of the Python package in target/wheels
wheel *ARGS:
    cargo xtask wheel "$@"

# Fuzz client and server, guided by coverage
fuzz *ARGS:
    cargo xtask fuzz "$@"

# Run a benchmark: local, ssh, python, k8s …
bench *ARGS:
    cargo xtask bench "$@"

# Write the release's files for this machine's architecture to target/dist
dist:
    .ci/dist

# What the workflow ci.yml runs
ci: lint test-all doc examples try-command
