"""What nobody wants to find in the repository, and what a reviewer should not have to look for."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parent.parent
MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 80
SLEEP_S_MAX = 0.1

# Each pattern is written so that it does not match itself.
MARKERS = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b")
MACHINE_PATHS = re.compile(r"(?<![\w.~$}-])/(?:wor[k]|hom[e]|roo[t]|User[s]|far[m])/\w")
REGISTRY_HOSTS = re.compile(
    r"pypi\.or[g]|pythonhosted\.or[g]|npmjs\.(?:or[g]|co[m])|deb\.debian\.or[g]|docker\.i[o]/"
)
NOQA_WITHOUT_CODE = re.compile(r"#\s*noq[a](?!: [A-Z]+[0-9]+)", re.IGNORECASE)
IGNORE_WITHOUT_CODE = re.compile(r"#\s*type:\s*ignor[e](?!\[[a-z-]+)")
SKIPS = re.compile(r"pytest\.(?:mark\.)?(?:ski[p]|xfai[l])|importorski[p]|unittest\.ski[p]")


@cache
def tracked() -> tuple[tuple[str, str], ...]:
    """Name and text of every file under version control; binary files are left out."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        try:
            found.append((name, path.read_text()))
        except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
            continue
    return tuple(found)


def hits(pattern: re.Pattern[str], folder: str = "", suffix: str = "") -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in tracked()
        if name.startswith(folder) and name.endswith(suffix)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def nodes(folder: str) -> Iterator[tuple[str, ast.AST]]:
    for name, text in tracked():
        if name.startswith(folder) and name.endswith(".py"):
            for node in ast.walk(ast.parse(text)):
                yield name, node


def test_no_marker_stands_for_work_that_was_not_done() -> None:
    assert hits(MARKERS) == []


def test_no_file_names_a_path_of_a_machine() -> None:
    assert hits(MACHINE_PATHS) == []


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert hits(REGISTRY_HOSTS) == []


def test_every_silenced_rule_is_named() -> None:
    assert hits(NOQA_WITHOUT_CODE, suffix=".py") == []
    assert hits(IGNORE_WITHOUT_CODE, suffix=".py") == []


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    assert hits(SKIPS, folder="tests/", suffix=".py") == []


def test_everything_is_caught_in_one_place_at_most() -> None:
    broad = [
        f"{name}:{node.lineno}"
        for name, node in nodes("yzdht/")
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    ]

    assert len(broad) <= 1, broad


def test_what_catches_everything_raises_it_again() -> None:
    swallowed = [
        f"{name}:{node.lineno}"
        for name, node in nodes("yzdht/")
        if isinstance(node, ast.ExceptHandler)
        and isinstance(node.type, ast.Name)
        and node.type.id == "BaseException"
        and not any(isinstance(inner, ast.Raise) for inner in node.body)
    ]

    assert swallowed == []


def test_modules_stay_short_enough_to_read() -> None:
    long = [
        f"{name} ({len(text.splitlines())} lines)"
        for name, text in tracked()
        if name.startswith("yzdht/") and len(text.splitlines()) > MODULE_LINES_MAX
    ]

    assert long == []


def test_functions_stay_short_enough_to_read() -> None:
    long = [
        f"{name}:{node.lineno} {node.name}"
        for name, node in nodes("yzdht/")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES_MAX
    ]

    assert long == []


def test_tests_wait_for_events_and_not_for_time() -> None:
    slept = [
        f"{name}:{node.lineno}"
        for name, node in nodes("tests/")
        if isinstance(node, ast.Call)
        and (getattr(node.func, "attr", "") or getattr(node.func, "id", "")) == "sleep"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, int | float)
        and node.args[0].value > SLEEP_S_MAX
    ]

    assert slept == []


def test_lock_files_hold_hashes_and_no_addresses() -> None:
    locks = {
        name: text for name, text in tracked() if name.startswith("requirements/") and name.endswith(".txt")
    }

    assert sorted(locks) == ["requirements/dev.txt", "requirements/run.txt"]
    for name, text in locks.items():
        assert "://" not in text, name
        for requirement in re.split(r"\n(?=\S)", text.strip()):
            assert "==" in requirement, requirement
            assert "--hash=sha256:" in requirement, requirement
