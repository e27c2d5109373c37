"""The interpreter of `run_code`, which the gateway brings into a sandbox. It needs only python3 (3.8 or later)."""
