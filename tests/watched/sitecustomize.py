"""Python imports this at its start where tests have put this folder on PYTHONPATH: has every sealing watched.

Nothing of yzdht is imported before the program does so itself. A fuzzer that takes modules from this finder can
instrument them still: they run as `get_code` gives them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType


WATCHED = "yzdht.crypto.primitives"


class _Watching(InspectLoader):
    """Loads the module as its own loader does, then has it watched."""

    def __init__(self, loader: InspectLoader, folder: str) -> None:
        self._loader = loader
        self._folder = folder

    def get_source(self, fullname: str) -> str | None:
        return self._loader.get_source(fullname)

    def get_code(self, fullname: str) -> CodeType | None:
        return self._loader.get_code(fullname)

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        sealings = import_module("sealings")
        sealings.Ledger(import_module("pathlib").Path(self._folder)).watch(module)


class _Finder(MetaPathFinder):
    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != WATCHED:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None:
            assert isinstance(spec.loader, InspectLoader)
            spec.loader = _Watching(spec.loader, self._folder)
        return spec


_folder = os.environ.get("WATCHED_SEALINGS")
if _folder:
    sys.meta_path.insert(0, _Finder(_folder))
