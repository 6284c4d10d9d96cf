"""A node that is cut off from its peers says so, and that all is well again once they are back.

Killed peers are missed at once: their sessions are gone. Peers that stand still, or a cable that was pulled, are only
noticed by who asks for something and gets no answer, at the next check (READY_CHECK_EVERY_S). The long forms wait for that;
the short ones ask for the first time once the peers are silent, and all three run side by side.
"""

from __future__ import annotations

import asyncio
import html
import json
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.fleet import PATIENCE_S, Spec, kill_all, run_yz, start_all, steady_port, until
from tests.process.namespaces import FAR, NEAR, cable
from tests.process.vitals import fetch
from yzdht.limits import SESSION_SILENT_S_MAX


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from tests.process.conftest import Note
    from tests.process.fleet import Fleet, NodeProcess
    from tests.process.namespaces import Cable


pytestmark = pytest.mark.process

PEERS = 2
ROUNDS = 2
LONG_CUT_S = 2.5 * SESSION_SILENT_S_MAX
"""By then every session has ended, at both ends, and dials are paused."""
LONG_CUT_PATIENCE_S = 300.0
ASK_EVERY_S = 0.25
HTTP = ("--http", "--http-port", "0", "--allow-private")


@dataclass(frozen=True, slots=True)
class Cut:
    """A node, and one way to take its peers from it.

    Attributes:
        name: For the report.
        node: That is watched.
        peers: All that it has.
        cut: Takes them away.
        mend: Brings them back.
        is_told: Whether their sessions end with it.

    """

    name: str
    node: NodeProcess
    peers: Sequence[NodeProcess]
    cut: Callable[[], Awaitable[None]]
    mend: Callable[[], Awaitable[None]]
    is_told: bool = False


async def village(
    fleet: Fleet, name: str, near: str = "127.0.0.1", far: str = "127.0.0.1", before: Sequence[str] = ()
) -> tuple[NodeProcess, list[NodeProcess]]:
    """A node and its peers, all of which know each other."""
    specs = [
        Spec(f"{name}-{i}", ["--allow-private"], steady_port(), far, before=before) for i in range(PEERS)
    ]
    first = await fleet.start(specs[0])
    for spec in specs[1:]:
        spec.bootstrap = [first.url]
    others = await asyncio.gather(*(fleet.start(spec) for spec in specs[1:]))
    node = await fleet.start(Spec(name, HTTP, steady_port(), near, [first.url]))
    await until(lambda: knows(node, PEERS), f"{name} knows its peers")
    return node, [first, *others]


async def knows(node: NodeProcess, count: int) -> bool:
    """True once it has a session with so many nodes of its table; asking that checks nothing."""
    peers = json.loads((await fetch(node, "/peers.json")).body)["peers"]
    return [peer["isInTable"] for peer in peers] == [True] * count


async def killed(fleet: Fleet) -> Cut:
    """Its peers die, and are started again."""
    node, peers = await village(fleet, "bereft")
    return Cut("killed", node, peers, lambda: kill_all(peers), lambda: start_all(peers), is_told=True)


async def stopped(fleet: Fleet) -> Cut:
    """Its peers stand still, with every connection up, and go on."""
    node, peers = await village(fleet, "waiting")

    async def send(number: signal.Signals) -> None:
        for peer in peers:
            peer.send(number)

    return Cut("stopped", node, peers, lambda: send(signal.SIGSTOP), lambda: send(signal.SIGCONT))


async def unplugged(fleet: Fleet, wire: Cable) -> Cut:
    """The cable to its peers is pulled, and plugged again."""
    node, peers = await village(fleet, "unplugged", NEAR, FAR, wire.beyond)

    async def pull() -> None:
        wire.pull()

    async def plug() -> None:
        wire.plug()

    return Cut("unplugged", node, peers, pull, plug)


@pytest.fixture
def wire() -> Iterator[Cable]:
    """A cable from here to a network beyond; it is asked for before the fleet, and so ends after it."""
    with cable() as made:
        yield made


async def ready(node: NodeProcess) -> tuple[int, dict[str, Any]]:
    """What `/readyz` says."""
    reply = await fetch(node, "/readyz")
    return reply.status, reply.object


async def becomes(node: NodeProcess, status: int, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """Ask `/readyz` until it answers that; what it says then."""
    said: list[dict[str, Any]] = []

    async def is_there() -> bool:
        shown, view = await ready(node)
        said[:] = [view]
        return shown == status

    await until(is_there, f"/readyz of {node.spec.name} says {status}", patience_s, ASK_EVERY_S)
    return said[0]


async def told_everywhere(node: NodeProcess, view: dict[str, Any]) -> None:
    """The page for people and `yz status` say what `/readyz` says, with what to do."""
    page = (await fetch(node, "/")).text
    code, out, err = await run_yz("status", "--http", node.ready["http"])
    assert (code, err) == (0, "")
    lines = out.decode().splitlines()
    for text in (view["reason"], view["hint"]):
        assert text in html.unescape(page)
        assert text in " ".join(lines[:2])
    verdict = "Ready" if view["ready"] else "Not ready"
    assert f"<strong>{verdict}</strong>" in page
    assert ("What to do:" in page.partition("</section>")[0]) is bool(view["hint"])
    assert lines[0].split(None, 1)[1].startswith(f"{verdict.lower()}: "), lines


async def prove(cut: Cut, note: Note, *, is_asked_before: bool) -> None:
    """200, 503 while it is cut off, 200 again."""
    if is_asked_before:
        await told_everywhere(cut.node, await becomes(cut.node, 200))
    began = time.monotonic()
    await cut.cut()
    view = await becomes(cut.node, 503)
    cut_s = time.monotonic() - began
    assert (view["ready"], view["alone"], view["throughPeers"]) == (False, False, 0)
    assert view["reason"].startswith(
        ("no other node answers: ", "everybody it knew is gone", "other nodes did not answer")
    )
    assert "check the network of this machine" in view["hint"]
    await told_everywhere(cut.node, view)
    began = time.monotonic()
    await cut.mend()
    again = await becomes(cut.node, 200)
    assert (again["ready"], again["alone"], again["hint"]) == (True, False, "")
    assert again["throughPeers"] >= 1
    note(
        f"{cut.name}: 503 after {cut_s:.1f} s{'' if is_asked_before else ' (first asked then)'}, {view['reason']!r};"
        f" 200 again {time.monotonic() - began:.1f} s after they were back"
    )
    await told_everywhere(cut.node, again)


async def test_a_node_that_is_cut_off_says_so_and_what_to_do_and_is_ready_again_afterwards(
    wire: Cable, fleet: Fleet, note: Note
) -> None:
    cuts = await asyncio.gather(killed(fleet), stopped(fleet), unplugged(fleet, wire))
    await asyncio.gather(*(prove(cut, note, is_asked_before=cut.is_told) for cut in cuts))


@pytest.mark.soak
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("way", ["killed", "stopped", "unplugged"])
async def test_a_node_that_is_cut_off_again_and_again_says_so_every_time(
    wire: Cable, fleet: Fleet, note: Note, way: str
) -> None:
    cut = await (
        unplugged(fleet, wire) if way == "unplugged" else {"killed": killed, "stopped": stopped}[way](fleet)
    )
    for _ in range(ROUNDS):
        await prove(cut, note, is_asked_before=True)


@pytest.mark.soak
@pytest.mark.timeout(1_200)
async def test_a_node_is_ready_again_after_a_cut_that_outlasted_every_session(
    wire: Cable, fleet: Fleet, note: Note
) -> None:
    cut = await unplugged(fleet, wire)
    await becomes(cut.node, 200)
    await cut.cut()
    await becomes(cut.node, 503)
    await asyncio.sleep(LONG_CUT_S)
    status, view = await ready(cut.node)
    assert status == 503
    await told_everywhere(cut.node, view)
    peers = json.loads((await fetch(cut.node, "/peers.json")).body)["peers"]
    assert peers == []
    began = time.monotonic()
    await cut.mend()
    again = await becomes(cut.node, 200, LONG_CUT_PATIENCE_S)
    note(
        f"cut off for {LONG_CUT_S:.0f} s, {view['reason']!r}; 200 again {time.monotonic() - began:.1f} s after the cable"
        " was plugged"
    )
    await told_everywhere(cut.node, again)
