"""Every target, one after the other, each in a process forked from one import: instrumenting it takes longest.

python tests/fuzz/every.py -runs=1000
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

from tests.fuzz import engine


NAMES = sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py"))


def _run(name: str, words: list[str]) -> int:
    module = import_module(f"tests.fuzz.{name}")  # imported before the fork: this only looks it up
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        engine.run(module.one, module.seeds(), [*words, f"-artifact_prefix={name}-"])
        sys.exit(0)  # the usual way out: libFuzzer writes what it found on it
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(words: list[str]) -> int:
    """Run all of them; 1 if one found something."""
    for name in NAMES:
        import_module(f"tests.fuzz.{name}")
    found = [name for name in NAMES if _run(name, words)]
    print(f"targets: {len(NAMES)}, with a find: {' '.join(found) or 'none'}")  # noqa: T201 - its answer
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
