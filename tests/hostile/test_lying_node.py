"""A client between a hostile node and an honest one: it returns nothing false, and the honest newest where there is one."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.hostile.liar import (
    Liar,
    acknowledge,
    forged,
    hang_up,
    raw_answer,
    refuse,
    refuse_put,
    reply,
    say,
    sealed,
    show,
    silence,
    target_of,
)
from tests.sessions.kit import Time, turns, until
from yzdht import (
    Client,
    Conflict,
    Identity,
    InvalidSignature,
    NoNode,
    NotFound,
    ReadQuorumFailed,
    StaleRecord,
    UsageError,
    WireError,
    WriteQuorumFailed,
    YzError,
)
from yzdht.errors import CasMismatch, ExitCode, WrongTarget
from yzdht.ids import RecordHash
from yzdht.limits import CLIENT_PATIENCE_S, DELEGATED_TIMEOUT_S, PUT_PATIENCE_S
from yzdht.wire.frame import RecordType
from yzdht.wire.record import decode_record
from yzdht.wire.rpc import Empty, FoundNodes, Got, Method, PutDone, Row, Status, WhoAmI, encode_body


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.hostile.liar import Script
    from yzdht import Value
    from yzdht.sessions.connection import Connection
    from yzdht.wire.rpc import Body

    Lie = Callable[[Identity, Time], Script]

pytestmark = pytest.mark.net

OLD, NEW, NEWER = 5, 6, 7
HUGE = 1 << 20


def client_of(*urls: str, identity: Identity, clock: Time, home: Path | None = None) -> Client:
    return Client(urls, identity=identity, clock=clock, home=home)


@pytest.fixture
def anna() -> Identity:
    return Identity.generate()


async def store_honestly(url: str, anna: Identity, clock: Time, value: bytes = b"honest") -> int:
    async with client_of(url, identity=anna, clock=clock) as dht:
        return (await dht.store("note", value)).seq


async def refusal_of(work: Awaitable[object], kind: type[YzError]) -> YzError:
    with pytest.raises(kind) as caught:
        await work
    return caught.value


def row_of(anna: Identity, clock: Time) -> Row:
    record = decode_record(sealed(anna, "note", b"withheld", NEWER, clock))
    return Row(record.publisher, record.seq, record.hash)


# What a liar may answer to a GET: how, what a client that has nobody else says, and what it counts.
LIES: dict[str, tuple[Lie, type[YzError], ExitCode, str]] = {
    "a forged signature": (
        lambda anna, clock: show(forged(sealed(anna, "note", b"lie", NEWER, clock))),
        InvalidSignature,
        ExitCode.BAD_SIGNATURE,
        "rejected_records",
    ),
    "a record of another slot": (
        lambda anna, clock: show(sealed(anna, "diary", b"lie", NEWER, clock)),
        WrongTarget,
        ExitCode.BAD_SIGNATURE,
        "rejected_records",
    ),
    "a record of another publisher": (
        lambda _anna, clock: show(sealed(Identity.generate(), "note", b"lie", NEWER, clock)),
        WrongTarget,
        ExitCode.BAD_SIGNATURE,
        "rejected_records",
    ),
    "a true record and a forged one": (
        lambda anna, clock: show(
            sealed(anna, "note", b"true", OLD, clock), forged(sealed(anna, "note", b"lie", NEWER, clock))
        ),
        InvalidSignature,
        ExitCode.BAD_SIGNATURE,
        "rejected_records",
    ),
    "garbage for a record": (
        lambda _anna, _clock: show(b"\xf9" + b"garbage" * 50),
        WireError,
        ExitCode.FAILURE,
        "rejected_records",
    ),
    "an empty record": (lambda *_: show(b""), WireError, ExitCode.FAILURE, "rejected_records"),
    "more than one record's bytes": (
        lambda *_: raw_answer(0, encode_body(Got((b"\xf9" * 65_536,) * 8, 1, 1))),
        WireError,
        ExitCode.FAILURE,
        "rejected_records",
    ),
    "not found though too few answered": (
        lambda *_: show(answered=1, needed=4),
        ReadQuorumFailed,
        ExitCode.QUORUM,
        "",
    ),
    "not found by nobody": (lambda *_: show(answered=0, needed=0), ReadQuorumFailed, ExitCode.QUORUM, ""),
    "not found": (lambda *_: show(answered=2**32 - 1, needed=1), NotFound, ExitCode.NOT_FOUND, ""),
    "a row and no record": (
        lambda anna, clock: reply(Status.OK, Got((row_of(anna, clock),), 1, 1)),
        NoNode,
        ExitCode.NO_NODE,
        "calls_failed",
    ),
    "rows of nonsense": (
        lambda *_: reply(Status.OK, Got((Row(b"", 2**64 - 1, RecordHash(bytes(32))),) * 32, 1, 1)),
        NoNode,
        ExitCode.NO_NODE,
        "calls_failed",
    ),
    "the answer of another method": (
        lambda *_: reply(Status.OK, WhoAmI("127.0.0.1", 1, "ws")),
        NoNode,
        ExitCode.NO_NODE,
        "calls_failed",
    ),
    "an empty answer": (lambda *_: reply(Status.OK, Empty()), ReadQuorumFailed, ExitCode.QUORUM, ""),
    "contacts": (lambda *_: reply(Status.OK, FoundNodes()), ReadQuorumFailed, ExitCode.QUORUM, ""),
    "bytes that are no MessagePack": (
        lambda *_: raw_answer(0, b"\xc1"),
        NoNode,
        ExitCode.NO_NODE,
        "calls_failed",
    ),
    "a map": (lambda *_: raw_answer(0, b"\x80"), NoNode, ExitCode.NO_NODE, "calls_failed"),
    "more records than fit": (
        lambda *_: raw_answer(0, encode_body(Got((b"x",) * 33, 1, 1))),
        NoNode,
        ExitCode.NO_NODE,
        "calls_failed",
    ),
    "an answer over the limit": (
        lambda *_: raw_answer(0, b"\x93\x91\xc6" + bytes(HUGE)),
        NoNode,
        ExitCode.NO_NODE,
        "calls_failed",
    ),
    "an unknown status": (lambda *_: raw_answer(999, b"\x90"), NoNode, ExitCode.NO_NODE, "calls_failed"),
    "a refusal": (lambda *_: refuse(Status.BUSY), NoNode, ExitCode.NO_NODE, "calls_failed"),
    "a status of a write": (
        lambda *_: refuse(Status.SEQ_TOO_LOW, 2**64 - 1, bytes(32)),
        NoNode,
        ExitCode.NO_NODE,
        "calls_failed",
    ),
    "the half of an answer": (lambda *_: hang_up, NoNode, ExitCode.NO_NODE, "calls_failed"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_node_alone_makes_a_client_raise_what_is_documented(
    liar: Liar, clock: Time, anna: Identity, lie: str
) -> None:
    script, error, exit_code, counter = LIES[lie]
    liar.on_get = script(anna, clock)

    async with client_of(liar.url, identity=anna, clock=clock) as dht:
        caught = await refusal_of(dht.get("note"), error)

        assert caught.exit_code == exit_code
        assert not counter or dht.counters.get(counter) >= 1


@pytest.mark.parametrize("is_liar_first", [True, False])
@pytest.mark.parametrize("lie", LIES)
async def test_beside_a_lying_node_the_honest_record_is_returned(
    liar: Liar, url: str, clock: Time, anna: Identity, lie: str, *, is_liar_first: bool
) -> None:
    script, _, _, counter = LIES[lie]
    liar.on_get = script(anna, clock)
    seq = await store_honestly(url, anna, clock)
    urls = (liar.url, url) if is_liar_first else (url, liar.url)

    async with client_of(*urls, identity=anna, clock=clock) as dht:
        value = await dht.get("note")

        assert (value.data, value.seq) == (b"honest", seq)
        assert liar.asked(Method.GET) >= 1
        assert not counter or dht.counters.get(counter) >= 1


@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_node_hides_a_missing_record_from_nobody(
    liar: Liar, url: str, clock: Time, anna: Identity, lie: str
) -> None:
    liar.on_get = LIES[lie][0](anna, clock)

    async with client_of(liar.url, url, identity=anna, clock=clock) as dht:
        with pytest.raises(NotFound):
            await dht.get("note")
        assert await dht.get("note", default=None) is None


# Stale


async def test_an_older_record_than_the_other_node_shows_is_passed_over(
    liar: Liar, url: str, clock: Time, anna: Identity
) -> None:
    liar.on_get = show(sealed(anna, "note", b"old", OLD, clock))
    seq = await store_honestly(url, anna, clock)

    async with client_of(liar.url, url, identity=anna, clock=clock) as dht:
        value = await dht.get("note")

    assert (value.data, value.seq, value.is_conflict) == (b"honest", seq, False)


async def test_an_older_record_than_this_client_has_seen_is_stale(
    liar: Liar, clock: Time, anna: Identity
) -> None:
    async with client_of(liar.url, identity=anna, clock=clock) as dht:
        liar.on_get = show(sealed(anna, "note", b"new", NEW, clock))
        assert (await dht.get("note")).data == b"new"
        liar.on_get = show(sealed(anna, "note", b"old", OLD, clock))

        error = await refusal_of(dht.get("note"), StaleRecord)

    assert isinstance(error, StaleRecord)
    assert (error.seq, error.seen_seq, error.exit_code) == (OLD, NEW, ExitCode.STALE)


async def test_a_home_remembers_what_it_has_seen_over_a_restart(
    liar: Liar, url: str, clock: Time, tmp_path: Path
) -> None:
    async with Client((url,), home=tmp_path / "home", clock=clock) as dht:
        anna = dht.identity
        old = await dht.store("note", b"old")
        held = (await dht._nodes.read([target_of(anna, "note")]))[0][0].records  # type: ignore[union-attr] # it is connected
        new = await dht.store("note", b"new")
    liar.on_get = show(*held)

    async with Client((liar.url,), home=tmp_path / "home", clock=clock) as dht:
        error = await refusal_of(dht.get("note"), StaleRecord)
        assert isinstance(error, StaleRecord)
        assert (error.seq, error.seen_seq) == (old.seq, new.seq)
    async with Client((liar.url, url), home=tmp_path / "home", clock=clock) as dht:
        assert (await dht.get("note")).data == b"new"
    async with Client((liar.url,), identity=anna, clock=clock) as dht:
        assert (await dht.get("note")).data == b"old", "without a home nothing was seen before"


# Silence


async def test_a_silent_node_alone_is_given_up_at_the_deadline(
    liar: Liar, clock: Time, anna: Identity
) -> None:
    async with client_of(liar.url, identity=anna, clock=clock) as dht:
        reading = asyncio.ensure_future(dht.get("note"))
        await until(lambda: liar.asked(Method.GET))

        await clock.advance(DELEGATED_TIMEOUT_S)

        error = await refusal_of(reading, NoNode)
        assert "timeout" in str(error)
        assert dht.counters.get("calls_failed", "timeout") == 1


async def move_on_until_done(clock: Time, task: asyncio.Future[Value]) -> None:
    for _ in range(int(DELEGATED_TIMEOUT_S / CLIENT_PATIENCE_S)):
        await turns(50)
        if task.done():
            return
        await clock.advance(CLIENT_PATIENCE_S)


async def test_a_silent_node_does_not_hold_up_an_honest_one(
    liar: Liar, url: str, clock: Time, anna: Identity
) -> None:
    await store_honestly(url, anna, clock)

    async with client_of(liar.url, url, identity=anna, clock=clock) as dht:
        reading = asyncio.ensure_future(dht.get("note"))
        await until(lambda: liar.asked(Method.GET))
        await move_on_until_done(clock, reading)

        assert (await reading).data == b"honest"
        assert dht.counters.get("calls_failed", "timeout") == 0


async def test_two_silent_nodes_do_not_keep_a_third_from_being_asked(
    liar: Liar, url: str, clock: Time, anna: Identity
) -> None:
    other = Liar(clock)
    await other.listen()
    await store_honestly(url, anna, clock)

    async with client_of(liar.url, other.url, url, identity=anna, clock=clock) as dht:
        reading = asyncio.ensure_future(dht.get("note"))
        await until(lambda: liar.asked(Method.GET) and other.asked(Method.GET))
        await move_on_until_done(clock, reading)

        assert (await reading).data == b"honest"
        assert dht.counters.get("calls_failed", "timeout") == 0
    await other.sessions.close()


async def test_a_write_passes_over_a_silent_node_with_the_same_bytes(
    liar: Liar, url: str, clock: Time, anna: Identity
) -> None:
    await store_honestly(url, anna, clock)
    async with client_of(liar.url, url, identity=anna, clock=clock) as dht:
        await publish(dht, liar)
        count = liar.asked(Method.PUT)

        writing = asyncio.ensure_future(dht.store("note", b"2"))
        await until(lambda: liar.asked(Method.PUT) > count)
        await clock.advance(PUT_PATIENCE_S)
        receipt = await writing

        [sent] = [body for _, _, m, body in liar.requests[-1:] if m is Method.PUT]
        [readings] = await dht._nodes.read([target_of(anna, "note")])  # type: ignore[union-attr] # it is connected
        [stored] = [record for reading in readings for record in reading.records]
        assert sent.record == stored  # type: ignore[attr-defined] # the body of a PUT
        assert decode_record(stored).seq == receipt.seq


async def publish(dht: Client, liar: Liar) -> None:
    """Have the identity record out of the way."""
    liar.on_put = acknowledge()
    await dht.records.people.publish()
    liar.on_put, liar.on_get = silence, show()


# Writes


async def test_an_acknowledgement_for_nothing_cannot_hide_that_the_value_is_not_there(
    liar: Liar, url: str, clock: Time, anna: Identity
) -> None:
    """The node one stores through may lie about it; the next read through another one tells."""
    await store_honestly(url, anna, clock, b"1")
    liar.on_put, liar.on_get = acknowledge(), show()
    async with client_of(liar.url, url, identity=anna, clock=clock) as dht:
        await dht.get("note")
        receipt = await dht.store("note", b"2")

        error = await refusal_of(dht.get("note"), StaleRecord)

    assert isinstance(error, StaleRecord)
    assert error.seen_seq == receipt.seq


@pytest.mark.parametrize("answer", [acknowledge(0, 0), reply(Status.OK, Empty())])
async def test_an_acknowledgement_by_nobody_is_no_receipt(
    liar: Liar, clock: Time, anna: Identity, answer: Script
) -> None:
    liar.on_put, liar.on_get = answer, show()
    async with client_of(liar.url, identity=anna, clock=clock) as dht:
        await refusal_of(dht.store("note", b"1"), WriteQuorumFailed)


# What a liar may answer to a PUT, and what a client that has nobody else says.
REFUSALS: dict[str, tuple[Script, type[YzError], ExitCode]] = {
    "a seq from the far future": (
        refuse_put(Status.SEQ_TOO_LOW, 2**64 - 1, bytes(32)),
        Conflict,
        ExitCode.CONFLICT,
    ),
    "another body with a seq from the future": (
        refuse_put(Status.EQUIVOCATION, 2**63, bytes(32)),
        Conflict,
        ExitCode.CONFLICT,
    ),
    "a time long past": (refuse_put(Status.BAD_LIFETIME, 0), WriteQuorumFailed, ExitCode.QUORUM),
    "a time far ahead": (refuse_put(Status.BAD_LIFETIME, 2**64 - 1), WriteQuorumFailed, ExitCode.QUORUM),
    "a time that is no number": (
        refuse_put(Status.BAD_LIFETIME, bytes(32)),
        WriteQuorumFailed,
        ExitCode.QUORUM,
    ),
    "an endless wait": (
        refuse_put(Status.RATE_LIMITED, 2**64 - 1),
        WriteQuorumFailed,
        ExitCode.QUORUM,
    ),
    "an unknown refusal": (
        reply(Status.OK, PutDone(0, 1, 1, 2**32 - 1)),
        WriteQuorumFailed,
        ExitCode.QUORUM,
    ),
    "a refusal of the request": (refuse(Status.OVER_QUOTA), WriteQuorumFailed, ExitCode.QUORUM),
    "fewer than are needed": (acknowledge(1, 2), WriteQuorumFailed, ExitCode.QUORUM),
    "nonsense": (raw_answer(0, b"\xa5hello"), NoNode, ExitCode.NO_NODE),
    "too much": (raw_answer(0, bytes(HUGE + 1)), NoNode, ExitCode.NO_NODE),
    "the half of an answer": (hang_up, NoNode, ExitCode.NO_NODE),
    "a compare-and-swap nobody asked for": (
        refuse_put(Status.CAS_MISMATCH, 3, bytes(32)),
        CasMismatch,
        ExitCode.CONFLICT,
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refusal_of_a_lying_node_raises_what_is_documented(
    liar: Liar, clock: Time, anna: Identity, refusal: str
) -> None:
    script, error, exit_code = REFUSALS[refusal]
    liar.on_get = show()

    async with client_of(liar.url, identity=anna, clock=clock) as dht:
        liar.on_put = acknowledge()
        await dht.records.people.publish()
        liar.on_put = script
        caught = await refusal_of(dht.store("note", b"1"), error)

        assert caught.exit_code == exit_code
        liar.on_put = acknowledge()
        receipt = await dht.store("note", b"2")
        assert abs(receipt.seq / 1000 - clock.now().wall) < 60, "no number of a liar's was taken over"


@pytest.mark.parametrize(
    "refusal", [r for r, (_, error, _) in REFUSALS.items() if error in (WriteQuorumFailed, NoNode)]
)
async def test_a_write_goes_through_the_honest_node_where_the_first_one_does_not_do_it(
    liar: Liar, url: str, clock: Time, anna: Identity, refusal: str
) -> None:
    liar.on_get = show()
    liar.on_put = REFUSALS[refusal][0]

    async with client_of(liar.url, url, identity=anna, clock=clock) as dht:
        receipt = await dht.store("note", b"1")

        assert (receipt.accepted, receipt.needed) == (1, 1)
        assert (await dht.get("note")).data == b"1"


# Messages nobody asked for


async def test_messages_that_nobody_asked_for_change_nothing(liar: Liar, clock: Time, anna: Identity) -> None:
    def chatter(connection: Connection, number: int, method: Method, body: Body) -> None:
        for record_type in (RecordType.PUBSUB, RecordType.STREAM, RecordType.SIGNAL, RecordType.RELAY_DATA):
            say(connection, record_type, b"news")
        for odd in (0, 7, 2**32 - 1):
            answer = odd.to_bytes(4) + b"\0\0" + encode_body(Got((b"x",), 1, 1))
            say(connection, RecordType.RESPONSE, answer)
        say(connection, RecordType.LINK, bytes(24))
        say(connection, RecordType.PING, b"x" * 64)
        show(sealed(anna, "note", b"true", NEW, clock))(connection, number, method, body)
        show(sealed(anna, "note", b"late", NEWER, clock))(connection, number, method, body)

    liar.on_get = chatter

    async with client_of(liar.url, identity=anna, clock=clock) as dht:
        for _ in range(3):
            assert (await dht.get("note")).data == b"true"
        assert dht.counters.get("pushes_dropped") == 9
        assert dht.counters.get("pubsub_pushes_unreadable") == 3
        assert len(liar.sessions) == 1, "it was no breach of the protocol"


@pytest.mark.parametrize("method", [*Method, 0x00, 0xFF])
async def test_a_client_serves_nobody(liar: Liar, clock: Time, anna: Identity, method: int) -> None:
    async with client_of(liar.url, identity=anna, clock=clock) as dht:
        [before] = await dht.ping()
        [connection] = liar.sessions._all
        assert connection.session is not None

        say(connection, RecordType.REQUEST, (9).to_bytes(4) + bytes((method,)) + b"\x90")

        await until(lambda: connection.session is not None and connection.session.late_answers == 1)
        [after] = await dht.ping()
        assert before.node_id == after.node_id == liar.node_id


async def test_a_node_that_breaks_the_protocol_is_cut_off_and_dialled_again(
    liar: Liar, clock: Time, anna: Identity
) -> None:
    def break_it(connection: Connection, number: int, method: Method, body: Body) -> None:
        say(connection, RecordType.READY, b"")
        show(sealed(anna, "note", b"lie", NEW, clock))(connection, number, method, body)

    liar.on_get = break_it
    async with client_of(liar.url, identity=anna, clock=clock) as dht:
        await refusal_of(dht.get("note"), NoNode)
        assert dht.counters.get("sessions_faulted", "open") == 1

        liar.on_get = show(sealed(anna, "note", b"true", NEW, clock))
        assert (await dht.get("note")).data == b"true"
        assert dht.counters.get("sessions_opened") == 2


# Who answers


async def test_a_node_that_was_set_up_anew_is_met_again(liar: Liar, clock: Time, anna: Identity) -> None:
    """Two requests at once find another identity at the address; neither may break the client."""
    liar.on_get = liar.on_put = show()
    async with client_of(liar.url, identity=anna, clock=clock) as dht:
        await liar.sessions.close()
        anew = Liar(clock)
        anew.on_get = show()
        await anew.listen(port=int(liar.url.rpartition(":")[2]))

        await refusal_of(dht.delete("note"), NoNode)

        await refusal_of(dht.delete("note"), NotFound)
        await anew.sessions.close()


async def test_a_client_that_cannot_connect_leaves_nothing_open(
    liar: Liar, clock: Time, tmp_path: Path
) -> None:
    await liar.sessions.close()
    fds = psutil.Process(os.getpid()).num_fds()

    with pytest.raises(NoNode):
        async with Client((liar.url,), home=tmp_path / "home", clock=clock):
            pass
    with pytest.raises(UsageError):
        async with Client((liar.url,), home=tmp_path / "home", network_key=b"short", clock=clock):
            pass

    assert psutil.Process(os.getpid()).num_fds() == fds
