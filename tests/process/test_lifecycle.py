"""How a node starts, waits for a bootstrap node that is not there, and ends."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import Fleet, NodeProcess, Spec, ask, steady_port
from yzdht import Client
from yzdht.ids import Target
from yzdht.wire.address import decode_identity_payload
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import FindValue, FoundValue, Method


if TYPE_CHECKING:
    from tests.process.conftest import Note


pytestmark = pytest.mark.process


async def test_a_node_whose_bootstrap_node_is_down_says_so_and_joins_once_it_is_up(
    fleet: Fleet, note: Note
) -> None:
    port = steady_port()
    url = f"ws://127.0.0.1:{port}"
    early = await fleet.start(Spec("early", bootstrap=[url]))
    assert early.ready["bootstrap"] == {"tried": 1, "joined": 0}
    first = await early.event("bootstrap")
    assert (first["tried"], first["joined"]) == (1, 0)
    again = await early.event("bootstrap", lambda event: event["retryInS"] > first["retryInS"])
    assert url in early.stderr()
    assert "refused" in early.stderr()
    late = await fleet.start(Spec("late", port=port))
    started = time.monotonic()
    joined = await early.event("bootstrap", lambda event: event["joined"] == 1)
    assert joined["tried"] == 1
    await early.event("joined")
    note(
        f"joined {time.monotonic() - started:.1f} s after the bootstrap node was up, trying every {again['retryInS']} s"
    )
    await fleet.settle([early, late])


async def test_a_bootstrap_node_with_another_id_is_refused(fleet: Fleet) -> None:
    real = await fleet.start(Spec("real"))
    other = await fleet.start(Spec("other"))
    wrong = f"{real.url}#{other.ready['nodeId']}"
    misled = await fleet.start(Spec("misled", bootstrap=[wrong]))
    assert misled.ready["bootstrap"] == {"tried": 1, "joined": 0}
    await misled.event("bootstrap", lambda event: event["retryInS"] > 1.5)  # it has tried twice
    assert await fleet.table_of(misled) == await fleet.table_of(real) == set()
    right = await fleet.start(Spec("right", bootstrap=[f"{real.url}#{real.ready['nodeId']}"]))
    assert right.ready["bootstrap"] == {"tried": 1, "joined": 1}
    await fleet.settle([real, right])
    counters = (await misled.stop())["counters"]
    assert counters["sessions_faulted:handshake"] >= 2


async def stop_and_measure(node: NodeProcess, number: signal.Signals) -> float:
    started = time.monotonic()
    last = await node.stop(number)
    assert isinstance(last["counters"], dict)
    return time.monotonic() - started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_node_cleanly(fleet: Fleet, note: Note, number: signal.Signals) -> None:
    nodes = await fleet.grow(3)
    async with Client.connect(*(node.url for node in nodes)) as dht:
        await dht.store("name", b"value")
        taken_s = [await stop_and_measure(node, number) for node in nodes]  # with a client connected
    note(f"{number.name}: ended after {', '.join(f'{s * 1e3:.0f} ms' for s in taken_s)}")
    for node in nodes:
        assert [path.name for path in node.data.glob("records.sqlite*")] == ["records.sqlite"]


async def test_a_signal_while_its_bootstrap_node_is_down_ends_a_node_cleanly(fleet: Fleet) -> None:
    waiting = await fleet.start(Spec("waiting", bootstrap=[f"ws://127.0.0.1:{steady_port()}"]))
    await waiting.event("bootstrap")
    await waiting.stop()


async def test_a_second_node_is_refused_the_data_folder_of_the_first(fleet: Fleet) -> None:
    first = await fleet.start(Spec("first"))
    second = fleet.add(Spec("second", ["--data", str(first.data)]))
    await second.spawn()
    assert await second.ended() == 1
    assert f"process {first.pid} holds the data folder" in second.stderr()
    assert "give this one its own folder" in second.stderr()
    assert second.events == [] or second.events[0]["event"] != "ready"
    await first.kill()
    await second.start()  # a lock dies with its process
    assert second.node_id == first.node_id


async def test_the_wildcard_is_never_advertised(fleet: Fleet) -> None:
    node = await fleet.start(Spec("node", ["--allow-private"], host="0.0.0.0"))
    assert node.urls
    assert all("0.0.0.0" not in url and f":{node.port}" in url for url in node.urls)
    assert any("127.0.0.1" in url for url in node.urls)
    peer = await fleet.start(Spec("peer", bootstrap=[f"ws://127.0.0.1:{node.port}"]))
    for asked in (node, peer):
        async with Client.connect(f"ws://127.0.0.1:{asked.port}") as dht:
            answer = await ask(dht, asked, Method.FIND_VALUE, FindValue(Target(node.node_id)))
        assert isinstance(answer.body, FoundValue)
        for raw in answer.body.records:
            assert isinstance(raw, bytes)
            assert b"0.0.0.0" not in raw
            assert [a.url for a in decode_identity_payload(decode_record(raw).payload).addresses] == node.urls


async def test_without_allow_private_the_wildcard_hides_loopback(fleet: Fleet) -> None:
    node = await fleet.start(Spec("node", host="0.0.0.0"))
    assert all("0.0.0.0" not in url and "127.0.0.1" not in url for url in node.urls)


async def test_a_node_keeps_its_id_over_restarts_and_may_change_its_port(fleet: Fleet) -> None:
    first = await fleet.start(Spec("first", port=steady_port()))
    mover = await fleet.start(Spec("mover", bootstrap=[first.url]))
    await fleet.settle([first, mover])
    node_id, url = mover.node_id, mover.url
    await mover.kill()
    await mover.start()  # at whatever port is free
    assert mover.node_id == node_id
    assert mover.url != url
    third = await fleet.start(Spec("third", bootstrap=[first.url]))
    await fleet.settle([first, mover, third])
