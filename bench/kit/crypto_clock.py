"""How long a process spends in cryptography: encrypting and decrypting apart from signing and verifying.

Names are blinded under a key so that nobody reads them: that counts as encrypting.

Functions of yzdht.crypto are wrapped where they are, and wherever another module has imported them by name. Time inside one
that calls another, as a signature within the sealing of a record, counts for the inner one. What the clock itself costs is
measured first and taken off. Handshakes are not counted: sessions are open long before.
"""

from __future__ import annotations

import functools
import sys
from time import thread_time
from typing import TYPE_CHECKING, Any

from yzdht.crypto import naming, primitives, sealing, session


if TYPE_CHECKING:
    from collections.abc import Callable


ENCRYPTION, SIGNATURES = "encryption", "signatures"
_CALIBRATION_CALLS = 20_000

CLOCK = "clock"
"""What the clock itself cost: not to be counted as anybody's."""
_TIMED: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    (ENCRYPTION, session.RecordLayer, ("seal", "open")),
    (ENCRYPTION, sealing, ("seal_record", "seal_immutable", "open_record")),
    (ENCRYPTION, naming, ("own_tag", "group_tag")),
    (SIGNATURES, primitives.PrivateKey, ("sign",)),
    (SIGNATURES, primitives, ("verify",)),
)


class CryptoClock:
    """Runs from its making on, in one thread; there is one for each process."""

    def __init__(self) -> None:
        self._spent_s = {ENCRYPTION: 0.0, SIGNATURES: 0.0}
        self._calls = {ENCRYPTION: 0, SIGNATURES: 0}
        self._open: list[str] = []
        self._last = 0.0
        self._inner_s, self._whole_s = self._calibrated()
        for kind, owner, names in _TIMED:
            for name in names:
                old = getattr(owner, name)
                setattr(owner, name, self._timed(kind, old))
                _replace_everywhere(old, getattr(owner, name))

    def seconds(self) -> dict[str, float]:
        """CPU so far, by kind, and what the clock cost."""
        spent_s = {kind: s - self._calls[kind] * self._inner_s for kind, s in self._spent_s.items()}
        return spent_s | {CLOCK: sum(self._calls.values()) * self._whole_s}

    def _timed(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        spent_s, calls, is_open = self._spent_s, self._calls, self._open

        @functools.wraps(function)
        def timed(*args: Any, **more: Any) -> Any:  # noqa: ANN401 - whatever the function takes and returns
            now = thread_time()
            if is_open:
                spent_s[is_open[-1]] += now - self._last
            is_open.append(kind)
            calls[kind] += 1
            self._last = thread_time()
            try:
                return function(*args, **more)
            finally:
                now = thread_time()
                is_open.pop()
                spent_s[kind] += now - self._last
                self._last = thread_time()

        return timed

    def _calibrated(self) -> tuple[float, float]:
        """Seconds that the clock adds to what it shows of a call, and that a call costs more with it."""
        nothing = self._timed(ENCRYPTION, lambda: None)
        began = thread_time()
        for _ in range(_CALIBRATION_CALLS):
            nothing()
        whole_s, inner_s = thread_time() - began, self._spent_s[ENCRYPTION]
        self._spent_s[ENCRYPTION], self._calls[ENCRYPTION] = 0.0, 0
        return inner_s / _CALIBRATION_CALLS, whole_s / _CALIBRATION_CALLS


def _replace_everywhere(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Also where it was imported by name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("yzdht"):
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)
