"""The system's randomness behind the Rng port; only the shell builds one."""

from __future__ import annotations

import secrets


_SYSTEM = secrets.SystemRandom()


class SystemRng:
    """Unpredictable bytes and numbers from the operating system."""

    def token(self, size: int) -> bytes:
        """Return `size` unpredictable bytes."""
        return secrets.token_bytes(size)

    def uniform(self, low: float, high: float) -> float:
        """Return a float in [low, high]; for jitter."""
        return _SYSTEM.uniform(low, high)
