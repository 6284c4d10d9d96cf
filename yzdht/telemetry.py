"""What a node counts."""

from __future__ import annotations

from collections import Counter


class Counters:
    """Counters by name and label; names are fixed words, labels are few."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, name: str, label: str = "", amount: int = 1) -> None:
        """Count something."""
        self._counts[name, label] += amount

    def get(self, name: str, label: str | None = None) -> int:
        """One counter, or the sum over its labels when `label` is None."""
        if label is not None:
            return self._counts[name, label]
        return sum(count for (n, _), count in self._counts.items() if n == name)

    def as_dict(self) -> dict[str, int]:
        """All counters, `name` or `name:label`, sorted."""
        return {f"{n}:{label}" if label else n: c for (n, label), c in sorted(self._counts.items())}
