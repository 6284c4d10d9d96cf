"""What a node tells others of itself, as it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.kit import Time, until
from tests.transport.authority import Authority
from yzdht import Node
from yzdht.config import Tls
from yzdht.ids import Target


if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.net

HOST = "127.0.0.1"


async def test_new_names_of_a_certificate_reach_the_identity_record_and_other_nodes_at_once(
    tmp_path: Path,
) -> None:
    clock, authority = Time(), Authority(tmp_path)
    certificate, key = authority.sign("node", ("one.example",))
    async with (
        Node(0, host=HOST, clock=clock) as other,
        Node(
            0, host=HOST, clock=clock, tls=Tls(certificate, key), bootstrap=[f"ws://{HOST}:{other.port}"]
        ) as node,
    ):
        assert [a.url for a in node.addresses if a.protocol == "wss"] == [f"wss://one.example:{node.port}"]
        before = node.json_view()["seq"]

        authority.sign("node", ("one.example", "two.example"))
        until_when = node.reload_certificate()

        assert until_when is not None
        assert [a.url for a in node.addresses if a.protocol == "wss"] == [
            f"wss://{name}.example:{node.port}" for name in ("one", "two")
        ]
        seq = node.json_view()["seq"]
        assert isinstance(seq, int)
        assert isinstance(before, int)
        assert seq > before
        target, wall = Target(node.node_id), clock.now().wall
        await until(lambda: [r.head.seq for r in other.store_of_records.get(target, wall)] == [seq])


async def test_a_node_without_a_certificate_has_none_to_read_again() -> None:
    async with Node(0, host=HOST, clock=Time()) as node:
        assert node.reload_certificate() is None
    assert Node(0, host=HOST).reload_certificate() is None
