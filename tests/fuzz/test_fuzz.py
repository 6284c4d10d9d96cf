"""Every target for a short while, and that every decoder has one. The long form: YZ_SOAK=1, or `make soak`."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import IS_SOAK


if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parent.parent.parent
TARGETS = sorted(Path(__file__).parent.glob("fuzz_*.py"))
RUNS = 100_000 if IS_SOAK else 400
PATIENCE_S = 3_600 if IS_SOAK else 100

DECODES = re.compile(r"_?(?:decode|parse|split|unpad)(?:_|$)")
TYPED_BY_THE_OPERATOR = ("yzdht.cli.", "yzdht.config")  # whoever runs a node may break their own


@cache
def decoders_in_yzdht() -> frozenset[str]:
    """Dotted names of every function and method that decodes, parses or splits."""
    found = set()
    for path in (ROOT / "yzdht").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name in _functions(ast.parse(path.read_text())):
            if DECODES.match(name.rpartition(".")[2]):
                found.add(f"{module}.{name}")
    return frozenset(found)


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")


@cache
def covered() -> dict[str, str]:
    """Decoders to the target that names them; read, not imported: importing a target would instrument this process."""
    named = {}
    for path in TARGETS:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DECODERS":
                named.update(dict.fromkeys(ast.literal_eval(node.value), path.name))
    return named


def test_every_decoder_of_bytes_from_outside_has_a_target() -> None:
    wanted = {name for name in decoders_in_yzdht() if not name.startswith(TYPED_BY_THE_OPERATOR)}

    assert sorted(wanted - covered().keys()) == []


def test_what_a_target_names_exists() -> None:
    everything = set()
    for path in (ROOT / "yzdht").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        everything |= {f"{module}.{name}" for name in _functions(ast.parse(path.read_text()))}

    assert sorted(covered().keys() - everything) == []


def test_every_target_can_be_run_by_hand() -> None:
    assert TARGETS
    for path in TARGETS:
        text = path.read_text()
        assert text.endswith('if __name__ == "__main__":\n    run(one, seeds())\n'), path.name
        assert text.index("from tests.fuzz.engine import") < text.index("from yzdht"), path.name


@pytest.mark.process
@pytest.mark.timeout(PATIENCE_S + 20)
def test_nothing_but_documented_errors_leaves_a_decoder(tmp_path: Path) -> None:
    folders = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))  # the second has sealings watched
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "fuzz" / "every.py"), f"-runs={RUNS}", "-seed=1"],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(folders)},
        timeout=PATIENCE_S,
    )

    finds = [path.name for path in tmp_path.iterdir() if not path.is_dir()]
    assert done.returncode == 0, f"{finds}\n{done.stdout}\n{done.stderr[-8_000:]}"
    assert f"targets: {len(TARGETS)}, with a find: none" in done.stdout
