"""Every module has a test module of the same name, and every test module has its module or a folder of its own."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path


ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "yzdht"
TESTS = ROOT / "tests"

NOTHING_TO_RUN = {"__init__.py", "__main__.py"}
BOUNDS = "limits"  # numbers alone
PORTS = "ports"  # protocols and what they hand over
BY_TRANSCRIPT = {"cli"}  # the command line is tested as people see it, in tests/cli
NOT_MIRRORED = {"cli", "fuzz", "hostile", "nginx", "process", "sim", "vectors", "watched", "web"}
ABOUT_THE_PROJECT = {
    "test_bench.py",
    "test_conftest.py",
    "test_docs.py",
    "test_examples.py",
    "test_layout.py",
    "test_tidy.py",
}
ABOUT_A_FOLDER = {
    "test_conformance.py",
    "test_secrets.py",
    "test_topic_conformance.py",
    "test_vectors.py",
}  # one suite for all modules beside it


def modules() -> set[Path]:
    found = {p.relative_to(PACKAGE) for p in PACKAGE.rglob("*.py") if p.name not in NOTHING_TO_RUN}
    return {p for p in found if p.parts[0] not in {*BY_TRANSCRIPT, BOUNDS, PORTS} and p.stem != PORTS}


def is_about_a_module(test: Path) -> bool:
    """True for test_session.py, and for test_session_hostile.py beside it, if there is a session.py."""
    words = test.stem.removeprefix("test_").split("_")
    names = ("_".join(words[:count]) + ".py" for count in range(1, 1 + len(words)))
    return any(test.with_name(name) in modules() for name in names)


def test_every_module_has_its_test_module() -> None:
    missing = [m for m in modules() if not (TESTS / m.parent / f"test_{m.name}").exists()]

    assert sorted(map(str, missing)) == []


def test_every_test_module_has_its_module() -> None:
    tests = {p.relative_to(TESTS) for p in TESTS.rglob("test_*.py")}
    mirrored = {t for t in tests if t.parts[0] not in NOT_MIRRORED and t.name not in ABOUT_A_FOLDER}
    mirrored -= {Path(name) for name in ABOUT_THE_PROJECT}
    stray = [t for t in mirrored if not is_about_a_module(t)]

    assert sorted(map(str, stray)) == []


def test_every_package_says_what_it_is_for() -> None:
    silent = [p for p in PACKAGE.rglob("*.py") if not p.read_text().lstrip().startswith('"""')]

    assert silent == []


def test_no_bound_stands_twice() -> None:
    texts = [p.read_text() for p in (PACKAGE / BOUNDS).glob("*.py")]
    names = [name for text in texts for name in re.findall(r"^([A-Z]\w*) = ", text, re.MULTILINE)]

    assert len(names) > 400
    assert [name for name, times in Counter(names).items() if times > 1] == []


def test_every_part_of_the_package_stands_in_a_row_of_the_architecture() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [layers] = [c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    rows = {name for row in layers["layers"] for name in row.split(" | ")}
    parts = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}

    assert parts - {"__init__"} == rows
