"""How people write a number of bytes: `1048576`, `512MiB`, `10GB`."""

from __future__ import annotations

import re

from yzdht.errors import UsageError


SIZE_MAX = 2**62
"""Below what SQLite and a C long hold; nobody has a disk of this size."""

_SIZE = re.compile(r"(?P<count>[0-9]{1,19})(?: ?(?P<unit>[kmgt]i?b|b))?", re.IGNORECASE)
_BINARY = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DECIMAL = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS = {name.lower(): size for name, size in (_BINARY | _DECIMAL).items()} | {"": 1, "b": 1}
_HINT = "write bytes, or a number with KiB, MiB, GiB, TiB, kB, MB, GB or TB: 512MiB, 10GB"


def parse_size(text: str) -> int:
    """Bytes, 1 to 2**62.

    Raises:
        UsageError: It is written in another way, or out of that range.

    """
    match = _SIZE.fullmatch(text)
    if match is None or not text.isascii():
        raise UsageError(f"{text[:40]!r} is no size", hint=_HINT)
    size = int(match["count"]) * _UNITS[(match["unit"] or "").lower()]
    if not 1 <= size <= SIZE_MAX:
        raise UsageError(f"the size {text[:40]} is not between 1 byte and 4194304 TiB", hint=_HINT)
    return size


def show_size(size: int) -> str:
    """Exactly this many bytes, in the largest binary unit that leaves no fraction: `16GiB`, `1000`.

    Args:
        size: 0 or more.

    """
    fitting = [name for name, unit in _BINARY.items() if size and size % unit == 0]
    return f"{size // _BINARY[fitting[-1]]}{fitting[-1]}" if fitting else str(size)
