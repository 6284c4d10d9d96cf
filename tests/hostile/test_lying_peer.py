"""Nodes with a hostile node among their peers: quorums outvote it, and what it names or floods costs little."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.hostile.liar import (
    Liar,
    forged,
    hang_up,
    raw_answer,
    refuse,
    reply,
    say,
    sealed,
    silence,
    target_of,
)
from tests.sessions.kit import NODE, Time, turns, until
from tests.vectors.golden import OFF_CURVE
from yzdht import Identity, Node
from yzdht.ids import RecordHash, Target, distance
from yzdht.limits import READ_TIMEOUT_S
from yzdht.wire.address import Contact
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import (
    Empty,
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Method,
    Put,
    Row,
    Status,
    Store,
    WhoAmI,
    WireContact,
    encode_body,
)


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.hostile.liar import Script
    from yzdht.sessions.connection import Connection
    from yzdht.wire.rpc import Body

    Lie = Callable[[Identity, Time], Script]

pytestmark = pytest.mark.net

FAR_AHEAD = 2**63


@pytest.fixture
def anna() -> Identity:
    return Identity.generate()


@pytest.fixture
async def nodes(clock: Time, anna: Identity) -> AsyncIterator[list[Node]]:
    """Three honest nodes of one person, who know each other."""
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for _ in range(3):
            bootstrap = [f"ws://127.0.0.1:{n.port}" for n in nodes[:1]]
            node = Node(0, host="127.0.0.1", bootstrap=bootstrap, identity=anna, clock=clock)
            nodes.append(await stack.enter_async_context(node))
        await until(lambda: all(len(node.engine.table) == 2 for node in nodes))
        yield nodes
        assert [node.counters.get("task_failures") for node in nodes] == [0, 0, 0]


def row(seq: int) -> Row:
    return Row(bytes(33), seq, RecordHash(bytes(32)))


def with_records(*records: bytes | Row) -> Script:
    return reply(Status.OK, FoundValue(records))


# What the liar answers when it is asked for a value.
LIES: dict[str, Lie] = {
    "nothing": lambda *_: with_records(),
    "a forged record": lambda anna, clock: with_records(
        forged(sealed(anna, "note", b"lie", FAR_AHEAD, clock))
    ),
    "a record of another slot": lambda anna, clock: with_records(
        sealed(anna, "diary", b"lie", FAR_AHEAD, clock)
    ),
    "an older record": lambda anna, clock: with_records(sealed(anna, "note", b"old", 5, clock)),
    "a record of a stranger": lambda _, clock: with_records(
        sealed(Identity.generate(), "note", b"lie", FAR_AHEAD, clock)
    ),
    "garbage": lambda *_: with_records(b"\xf9garbage"),
    "rows without records": lambda *_: with_records(*(row(FAR_AHEAD + n) for n in range(32))),
    "a row of the true publisher": lambda anna, _: with_records(
        Row(anna.public_key, FAR_AHEAD, RecordHash(bytes(32)))
    ),
    "the answer of another method": lambda *_: reply(Status.OK, WhoAmI("127.0.0.1", 1, "ws")),
    "an empty answer": lambda *_: reply(Status.OK, Empty()),
    "bytes that are no MessagePack": lambda *_: raw_answer(0, b"\xc1"),
    "too much": lambda *_: raw_answer(0, bytes(1 << 21)),
    "a refusal": lambda *_: refuse(Status.BUSY),
    "a status of a write": lambda *_: refuse(Status.SEQ_TOO_LOW, 2**64 - 1, bytes(32)),
    "the half of an answer": lambda *_: hang_up,
    "silence": lambda *_: silence,
}


async def join(liar: Liar, nodes: list[Node]) -> None:
    for node in nodes:
        await liar.sessions.dial(f"ws://127.0.0.1:{node.port}")
    await until(lambda: all(len(node.engine.table) == 3 for node in nodes))


def by_method(liar: Liar, scripts: dict[Method, Script]) -> None:
    """Have the liar answer some methods by script, the others with nothing."""

    def lie(connection: Connection, number: int, method: Method, body: Body) -> None:
        scripts.get(method, reply(Status.OK, Empty()))(connection, number, method, body)

    liar.on_asked = lie


async def patiently(clock: Time, work: asyncio.Future[object]) -> None:
    """Let time go on while something waits for who keeps silent."""
    for _ in range(200):
        await turns(10)
        if work.done():
            return
        await clock.advance(READ_TIMEOUT_S / 20)
    raise AssertionError("it never ended")


@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_peer_changes_nothing_that_is_read(
    nodes: list[Node], anna: Identity, clock: Time, lie: str
) -> None:
    await nodes[0].store("note", b"honest")
    script = LIES[lie](anna, clock)
    target = target_of(anna, "note")
    liar = Liar(clock, identity=nearest_to(target, nodes))
    await liar.listen()

    def only_there(connection: Connection, number: int, method: Method, body: Body) -> None:
        is_about_it = isinstance(body, FindValue) and body.target == target
        (script if is_about_it else reply(Status.OK, Empty()))(connection, number, method, body)

    by_method(liar, {Method.FIND_VALUE: only_there})
    await join(liar, nodes)

    for node in nodes:
        reading = asyncio.ensure_future(node.get("note"))
        await patiently(clock, reading)  # type: ignore[arg-type] # whatever it brings
        assert (await reading).data == b"honest"
    assert any(isinstance(body, FindValue) and body.target == target for *_, body in liar.requests)
    await liar.sessions.close()


def nearest_to(target: Target, nodes: list[Node]) -> Identity:
    """An identity that is asked first: nearer to the target than every honest node."""
    least = min(distance(node.node_id, target) for node in nodes)
    while distance((identity := Identity.generate()).node_id, target) >= least:
        pass
    return identity


@pytest.mark.parametrize(
    "refusal",
    [
        refuse(Status.SEQ_TOO_LOW, 2**64 - 1, bytes(32)),
        refuse(Status.EQUIVOCATION, FAR_AHEAD, bytes(32)),
        refuse(Status.CAS_MISMATCH, 3, bytes(32)),
        refuse(Status.BAD_LIFETIME, 0),
        refuse(Status.OVER_QUOTA),
        raw_answer(0, b"\xc1"),
        raw_answer(999, b"\x90"),
        hang_up,
        reply(Status.OK, Empty()),
        silence,
    ],
    ids=[
        "302 from the future",
        "409 from the future",
        "301",
        "207",
        "104",
        "garbage",
        "an unknown status",
        "half an answer",
        "an acknowledgement for nothing",
        "silence",
    ],
)
async def test_a_lying_peer_keeps_nobody_from_writing(
    liar: Liar, nodes: list[Node], clock: Time, refusal: Script
) -> None:
    by_method(liar, {Method.STORE: refusal})
    await join(liar, nodes)

    writing = asyncio.ensure_future(nodes[0].store("note", b"1"))
    await patiently(clock, writing)  # type: ignore[arg-type] # whatever it brings
    receipt = await writing

    assert receipt.accepted >= receipt.needed == 3
    assert abs(receipt.seq / 1000 - clock.now().wall) < 60, "no number of a liar's was taken over"
    for node in nodes:
        reading = asyncio.ensure_future(node.get("note"))
        await patiently(clock, reading)  # type: ignore[arg-type] # whatever it brings
        assert (await reading).data == b"1"
    by_method(liar, {})  # or nodes that leave wait for it


async def test_forged_records_sent_to_a_node_are_refused_and_not_kept(
    liar: Liar, nodes: list[Node], anna: Identity, clock: Time
) -> None:
    await join(liar, nodes)
    node = nodes[0]
    contact = Contact(node.node_id, node.identity.public_key, (f"ws://127.0.0.1:{node.port}",), NODE)
    true = sealed(anna, "note", b"lie", FAR_AHEAD, clock)
    target = target_of(anna, "note")
    for record in (forged(true), sealed(anna, "diary", b"moved", 5, clock), b"", b"\xf9" * 200, true[:-1]):
        for method, body in (
            (Method.STORE, Store(target, record)),
            (Method.PUT, Put(target, record)),
        ):
            outcome = await liar.answer_to(liar.ask(contact, method, body))
            status = getattr(outcome, "status", None)
            is_put_refused = getattr(getattr(outcome, "body", None), "refusal", 0) != 0
            assert status is not Status.OK or is_put_refused

    assert node.store_of_records.get(target, clock.now().wall) == []


async def test_made_up_contacts_are_not_believed(liar: Liar, nodes: list[Node], clock: Time) -> None:
    """Twenty keys at addresses of this machine, of others and of nobody: none gets into a table."""
    crowd = [Identity.generate() for _ in range(19)]
    urls = [
        nodes[0].addresses[0].url,
        liar.url,
        "ws://10.0.0.1:1",
        "ws://169.254.169.254:80",
        "ws://0.0.0.0:1",
        "ws://localhost:1",
        "http://127.0.0.1",
        "nonsense",
    ]
    contacts = tuple(
        WireContact(person.public_key, (urls[number % len(urls)],), int(NODE))
        for number, person in enumerate(crowd)
    )
    no_key = WireContact(OFF_CURVE, (liar.url,), int(NODE))
    found = reply(Status.OK, FoundNodes((*contacts, no_key)))
    value = reply(Status.OK, FoundValue((), (*contacts, no_key)))
    by_method(liar, {Method.FIND_NODE: found, Method.FIND_VALUE: value})
    await join(liar, nodes)

    for node in nodes:
        finding = asyncio.ensure_future(node.find(target_of(crowd[0], "note")))
        await patiently(clock, finding)  # type: ignore[arg-type] # whatever it brings
        await node.store("note", b"1")
        await node.get("note")
    await turns(50)

    members = {n.node_id for n in nodes} | {liar.node_id}
    for node in nodes:
        assert {entry.node_id for entry in node.engine.table.known()} <= members
        assert node.counters.get("bad_contacts") >= 1


async def test_bodies_no_engine_expects_are_answered_and_harm_nobody(liar: Liar, nodes: list[Node]) -> None:
    await join(liar, nodes)
    connection = await liar.sessions.dial(f"ws://127.0.0.1:{nodes[0].port}")
    await turns(20)
    bodies = [b"", b"\x90", b"\xc1", b"\x80", b"\x91\xc4\x20" + bytes(32), b"\x91" * 40, bytes(200)]
    number = 1_000
    for method in [*Method, 0x00, 0x7F, 0xFF]:
        for body in bodies:
            number += 1
            say(connection, RecordType.REQUEST, number.to_bytes(4) + bytes((method,)) + body)
    say(
        connection,
        RecordType.REQUEST,
        (1).to_bytes(4) + b"\x02" + encode_body(FindNode(Target(bytes(32)), 2**32 - 1)),
    )

    assert connection.session is not None
    session = connection.session
    await until(lambda: session.late_answers >= number - 1_000)
    assert len(nodes[0].sessions) >= 3
    assert (await nodes[0].store("note", b"1")).accepted >= 3
