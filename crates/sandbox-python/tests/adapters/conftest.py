"""The programs of docs/ADAPTERS.md."""

import pathlib
import re

import pytest


@pytest.fixture
def program():
    """Returns the Python program of a section, to run with a model."""
    page = (pathlib.Path(__file__).parents[4] / "docs/ADAPTERS.md").read_text()

    def find(section):
        (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
        (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        return compile(code, f"docs/ADAPTERS.md: {section}", "exec")

    return find
