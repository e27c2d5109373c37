"""An adapter whose framework is missing names the extra to install."""

import pytest


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        ("agents", "openai-agents"),
        ("deepagents", "deepagents"),
        ("deepagents_code", "deepagents-code"),
        ("harbor", "harbor"),
        ("inspect_ai", "inspect-ai"),
        ("smolagents", "smolagents"),
    ],
)
def test_a_missing_extra_is_named(child, package, extra):
    adapter = extra.replace("-", "_")
    done = child(f"import sys\nsys.modules[{package!r}] = None\nimport sandbox_sdk.adapters.{adapter}")
    said = done.stderr.splitlines()[-1]
    assert said.startswith("ImportError: ") and f"pip install 'sandbox-sdk[{extra}]'" in said
