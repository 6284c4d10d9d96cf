"""When it is, and what is drawn by lot."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Now(NamedTuple):
    """One instant, handed to every core that needs time.

    Attributes:
        mono: Monotonic seconds; deadlines and intervals.
        wall: Unix seconds; only where the protocol asks for wall time.

    """

    mono: float
    wall: float


class Rng(Protocol):
    """Randomness as an argument: the system's in the shell, a seeded one in the simulator."""

    def token(self, size: int) -> bytes:
        """Return `size` unpredictable bytes."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """Return a float in [low, high]; for jitter, never for secrets."""
        ...
