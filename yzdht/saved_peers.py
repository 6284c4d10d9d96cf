"""Whom a node knew before a restart, and whether it was a client: read at the start, written as it changes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from yzdht.errors import StoreError
from yzdht.state import decode_state, encode_state, entry_of, was_client


if TYPE_CHECKING:
    from collections.abc import Callable

    from yzdht.ids import NodeId
    from yzdht.kad.engine import KadEngine
    from yzdht.ports import Now
    from yzdht.store.folder import DataFolder


log = logging.getLogger(__name__)


class SavedPeers:
    """The saved state of one node.

    Args:
        folder: Where it lies; None for a node that keeps nothing.
        engine: Knows the peers.
        own_id: The node's.
        on_trouble: Told what cannot be saved, and what to do about it.

    Attributes:
        has_known_others: True if somebody was known, in this run or in one before.

    """

    def __init__(
        self,
        folder: DataFolder | None,
        engine: KadEngine,
        own_id: NodeId,
        on_trouble: Callable[[str, str], None],
    ) -> None:
        self._folder = folder
        self._own_id = own_id
        self._engine = engine
        self._on_trouble = on_trouble
        self._saved, self._unsaved_because = b"", ""
        self._is_recalled = False
        self.has_known_others = False

    def recall(self, now: Now) -> bool:
        """Have those dialled who were known before a restart; False if there are none.

        Raises:
            StoreError: The state cannot be read.

        """
        state = self._read()
        saved = decode_state(state) if state is not None else []
        self._is_recalled = True
        self.has_known_others = bool(saved)
        for peer in saved:
            self._engine.remember(entry_of(peer, now), now)
        return bool(saved)

    def was_client(self) -> bool:
        """Whether the node was a client when it stopped last.

        Raises:
            StoreError: The state cannot be read.

        """
        state = self._read()
        return state is not None and was_client(state)

    def _read(self) -> bytes | None:
        return None if self._folder is None else self._folder.read_state()

    def save(self, now: Now) -> None:
        """Write who is known now; never over what was not read yet, nor when everybody was lost."""
        if self._folder is None or not self._is_recalled:
            return
        known = self._engine.known()
        if not known and self.has_known_others:
            return  # who lost everybody looks for them after a restart
        self.has_known_others = bool(known)
        state = encode_state(known, self._own_id, now, is_client=not self._engine.is_storing)
        if state == self._saved:
            return
        try:
            self._folder.write_state(state)
            self._saved, self._unsaved_because = state, ""
        except StoreError as error:
            if str(error) != self._unsaved_because:
                log.warning("state not saved reason=%s", error)  # only a convenience of the next start
            self._unsaved_because = str(error)
            self._on_trouble("the list of known nodes cannot be saved", error.hint)
