"""The configuration that is shipped for nginx: well-formed, and what it says of itself is so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.nginx.front import MAIN, TEMPLATE, Nginx
from tests.transport.authority import Authority


if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def nginx(tmp_path: Path) -> Nginx:
    return Nginx(tmp_path / "nginx", Authority(tmp_path), {1: "127.0.0.1:8083", 60: "node60:8083"})


def test_nginx_takes_it_without_a_warning(nginx: Nginx) -> None:
    assert "warn" not in nginx.check()


def test_the_list_of_nodes_that_is_shipped_can_be_read(nginx: Nginx) -> None:
    (nginx.folder / "nodes.map").write_text((MAIN.parent / "nodes.map").read_text())

    nginx.check()


def test_every_variable_is_explained_and_used() -> None:
    template = TEMPLATE.read_text()
    comment = "\n".join(line for line in template.splitlines() if line.startswith("#"))
    rules = "\n".join(line for line in template.splitlines() if not line.startswith("#"))
    explained = set(re.findall(r"^#   (YZ_[A-Z_]+)  ", comment, re.MULTILINE))

    assert explained == set(re.findall(r"\$\{(YZ_[A-Z_]+)\}", rules))
    assert set(re.findall(r"\$(YZ_[A-Z_]+)", comment)) == explained  # the call of envsubst
    assert not re.search(r"\$YZ_", rules)
