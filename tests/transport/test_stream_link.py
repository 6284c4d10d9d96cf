"""What links over a byte stream do alike, whatever their framing; more of it is in test_conformance.py."""

from __future__ import annotations

import inspect

import pytest

from yzdht.ports import Link
from yzdht.transport.stream_link import StreamLink
from yzdht.transport.tcp_link import TcpLink
from yzdht.transport.websocket_link import WebSocketLink


@pytest.mark.parametrize("kind", [TcpLink, WebSocketLink])
def test_a_framing_changes_nothing_of_how_a_link_waits_and_ends(kind: type[StreamLink]) -> None:
    promised = {name for name, _ in inspect.getmembers(Link) if not name.startswith("_")} - {"send"}

    assert promised <= set(dir(StreamLink))
    assert promised & set(vars(kind)) == set()


@pytest.mark.parametrize("kind", [TcpLink, WebSocketLink])
def test_a_link_has_no_dictionary_of_its_own(kind: type[StreamLink]) -> None:
    assert not hasattr(kind.__new__(kind), "__dict__")
