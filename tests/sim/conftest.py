"""What the simulator runs is not counted as covered: counting takes it more than twice the time, and says little of a test.

A line that only a network of a thousand nodes comes by is not tested by it. Each module has a test module of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import pytest


HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pause the count for each test of this folder."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker("no_cover")
