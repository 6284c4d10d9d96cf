"""The version that the program tells."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yzdht
from yzdht.version import VERSION


def test_the_version_is_that_of_the_project_file() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

    assert VERSION == project["version"] == yzdht.__version__
