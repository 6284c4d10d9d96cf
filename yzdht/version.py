"""Which yzdht this is.

A constant, since asking the installed package loads two megabytes of the standard library into every node.
"""

from __future__ import annotations

from typing import Final


VERSION: Final = "0.1.0"
"""As in pyproject.toml."""
