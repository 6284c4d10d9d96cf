"""Which yzdht this is: a constant, so that it is known without the metadata of an installed package."""

from __future__ import annotations

from typing import Final


VERSION: Final = "0.1.0"
"""As in pyproject.toml."""
