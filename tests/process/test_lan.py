"""Nodes on one local network that were told no address: two machines and a cable, real multicast between them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.fleet import WITH_HTTP, Spec, run_yz, steady_port, until
from tests.process.namespaces import Cable, cable


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.process.fleet import Fleet, NodeProcess


pytestmark = pytest.mark.process

ANY = "0.0.0.0"
LAN = ("--lan", *WITH_HTTP)


@pytest.fixture
def between() -> Iterator[Cable]:
    """It is asked for before the fleet, and so ends after it."""
    with cable() as made:
        yield made


async def status_of(node: NodeProcess, before: Sequence[str] = ()) -> dict[str, Any]:
    code, out, err = await run_yz("--json", "status", "--http", node.ready["http"], before=before)
    assert code == 0, err
    view: dict[str, Any] = json.loads(out)
    return view


async def met(node: NodeProcess, count: int, before: Sequence[str] = ()) -> None:
    async def is_so() -> bool:
        lan = (await status_of(node, before))["lan"]
        return bool(lan["met"] == lan["found"] == count)

    await until(is_so, f"{node.spec.name} has met {count} on its local network")


async def test_two_nodes_without_an_address_find_each_other_and_nobody_of_another_network_nor_who_is_silent(
    between: Cable, fleet: Fleet
) -> None:
    near = await fleet.start(Spec("near", LAN, steady_port(), ANY))
    beyond = between.beyond
    others = ("--network", "others", *LAN)
    far, other, silent = await asyncio.gather(
        fleet.start(Spec("far", LAN, steady_port(), ANY, before=beyond)),
        fleet.start(Spec("other", others, steady_port(), ANY, before=beyond)),
        fleet.start(Spec("silent", WITH_HTTP, steady_port(), ANY, before=beyond)),
    )

    await met(near, 1)
    await met(far, 1, beyond)

    views = await asyncio.gather(status_of(near), *(status_of(node, beyond) for node in (far, other, silent)))
    assert [view["table"]["nodes"] for view in views] == [1, 1, 0, 0]
    assert [view["lan"] and view["lan"]["found"] for view in views] == [1, 1, 0, None]
    await far.stop()

    async def is_gone() -> bool:
        return bool((await status_of(near))["lan"]["found"] == 0)

    await until(is_gone, "the announcement is taken back")
