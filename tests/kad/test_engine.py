from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from tests.kad.kit import NODE, at
from tests.sim.authors import NET, WALL, NullChecks, Pen, forged
from tests.sim.node import SimRng
from tests.vectors.golden import OFF_CURVE
from yzdht.ids import NodeId, SessionId, Target
from yzdht.kad.contacts import Own
from yzdht.kad.engine import (
    CountedNotice,
    GotNotice,
    JoinedNotice,
    KadEngine,
    LeftNotice,
    MeasuredNotice,
    Notice,
    PutNotice,
)
from yzdht.kad.table import Entry
from yzdht.limits import (
    ALPHA,
    CONTACTS_PER_ANSWER_MAX,
    DAY_S,
    DELEGATED_BURST_REQUESTS,
    DELEGATED_REQUESTS_PER_PATH,
    IDENTITY_AGAIN_S,
    JOIN_WAIT_S_MAX,
    MULTI_ENTRIES_MAX,
    NODE_IDENTITY_LIFE_S,
    NODES_PER_PREFIX_MAX,
    OPERATIONS_MAX,
    PROBE_AGAIN_S,
    RECORD_BYTES_MAX,
    SMALL_NETWORK_NODES_MAX,
    VALUE_BYTES_MAX,
)
from yzdht.rpc.engine import PARTED, Answer, Call, Down, Failed, FailReason, Peer, Persist, Reply, Up
from yzdht.store.memory import MemoryStore
from yzdht.wire.address import Contact, address_of
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import (
    Empty,
    FindNode,
    FindValue,
    FoundNodes,
    FoundValue,
    Get,
    Got,
    Method,
    Put,
    PutDone,
    Refusal,
    Status,
    Store,
    WhoAmI,
    WireContact,
    decode_body,
    encode_body,
)
from yzdht.wire.slot import Stored


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.authors import Note
    from yzdht.ports import Now
    from yzdht.wire.rpc import Body
    from yzdht.wire.slot import Verdict


OWN = Pen(0)
SOMEWHERE = Target(bytes(32))
HERE = Pen(1).identity(["ws://10.0.0.9:8083"], int(NODE))
NOTE = Pen(90).mutable("name", 5, b"value")


def peer_of(pen: Pen, caps: Caps = NODE, host: str = "10.0.0.9") -> Peer:
    return Peer(pen.node_id, pen.public_key, caps, SessionId(pen.node_id[:16]), host, None)


def stranger_of(number: int) -> Peer:
    """A client at a public address."""
    return replace(peer_of(Pen(number), Caps.ALWAYS | Caps.CLIENT), prefix="8.8.8.0/24")


class Bench:
    """One engine and its store; what it wants done is done at once, but for its calls, which wait to be answered."""

    def __init__(
        self,
        caps: Caps = NODE,
        *,
        is_private_allowed: bool = False,
        typed_names: frozenset[str] = frozenset(),
    ) -> None:
        self.soon: list[Callable[[], None]] = []
        self.store = MemoryStore(self._on_verdicts, self.soon.append)
        contact = Contact(OWN.node_id, OWN.public_key, (), caps)
        own = Own(contact, is_private_allowed, typed_names=typed_names)
        self.engine = KadEngine(own, self.store, NullChecks(NET), SimRng("engine"))
        self.mono = 0.0
        self.calls: list[Call] = []
        self.replies: list[tuple[Status, Body]] = []
        self.notices: list[Notice] = []

    @property
    def now(self) -> Now:
        return at(self.mono)

    def _on_verdicts(self, batch: list[tuple[int, Verdict]]) -> None:
        for op, verdict in batch:
            self.engine.on_stored(op, verdict, self.now)

    def settle(self) -> None:
        while (outgoing := self.engine.take_outgoing()) or self.soon:
            for item in outgoing:
                match item:
                    case Call():
                        self.calls.append(item)
                    case Reply(_, status, body):
                        self.replies.append((status, body))
                    case Persist(op, write):
                        self.store.submit(op, write)
                    case _:
                        pass
            while self.soon:
                self.soon.pop(0)()
        self.notices += self.engine.take_notices()

    def take_calls(self, method: Method | None = None) -> list[Call]:
        self.settle()
        taken = [call for call in self.calls if method in (None, call.method)]
        self.calls = [call for call in self.calls if call not in taken]
        return taken

    def answer(self, call: Call, body: Body, status: Status = Status.OK) -> None:
        self.engine.on_answer(call.call, Answer(status, body), self.now)
        self.settle()

    def fail(self, call: Call, reason: FailReason = FailReason.UNREACHABLE) -> None:
        self.engine.on_answer(call.call, Failed(reason), self.now)
        self.settle()

    def ask(self, body: Body, method: Method, peer: Peer | None = None) -> tuple[Status, Body]:
        """Ask as a peer; the answer must come at once."""
        self.replies.clear()
        self.engine.on_request(1, peer or peer_of(Pen(80)), method, body, self.now)
        self.settle()
        (reply,) = self.replies
        return reply

    def meet(self, pen: Pen, caps: Caps = NODE, host: str = "10.0.0.9", *, learns: bool = True) -> None:
        """A session with a node begins, and its identity record comes."""
        self.engine.on_link(peer_of(pen, caps, host), Up(None), self.now)
        self.settle()
        if learns:
            self.tell_identity(pen, pen.identity([f"ws://{host}:8083"], int(caps)).raw)

    def tell_identity(self, pen: Pen, *raw: bytes) -> None:
        for call in self.take_calls(Method.FIND_VALUE):
            assert call.contact.node_id == pen.node_id
            self.answer(call, FoundValue(raw))

    def ring(self) -> None:
        at_mono = self.engine.next_timer()
        assert at_mono is not None
        self.mono = max(at_mono, self.mono)
        self.engine.handle_timer(self.now)
        self.settle()

    def be_quiet(self) -> None:
        """Answer lookups with nothing until none is left."""
        while calls := self.take_calls():
            for call in calls:
                self.answer(call, FoundNodes() if call.method is Method.FIND_NODE else Empty())

    def count_of(self, name: str, label: str = "") -> int:
        return self.notices.count(CountedNotice(name, label))

    @property
    def known(self) -> set[NodeId]:
        return {entry.node_id for entry in self.engine.table}


def urls_known(bench: Bench, pen: Pen) -> list[str]:
    entry = bench.engine.table.get(pen.node_id)
    assert entry is not None
    return [address.url for address in entry.addresses]


# Who is known


def test_a_peer_whose_handshake_is_done_is_in_the_table() -> None:
    bench = Bench()
    bench.meet(Pen(1))

    assert bench.known == {Pen(1).node_id}


def test_a_client_is_never_in_the_table() -> None:
    bench = Bench()
    bench.engine.on_link(peer_of(Pen(1), NODE | Caps.CLIENT), Up(None), bench.now)

    assert bench.known == set()
    assert bench.take_calls() == []


def test_a_peer_is_asked_for_its_own_addresses() -> None:
    bench = Bench()
    bench.meet(Pen(1), learns=False)
    (call,) = bench.take_calls(Method.FIND_VALUE)
    assert call.body == FindValue(Target(Pen(1).node_id))
    bench.answer(call, FoundValue((Pen(1).identity(["ws://10.0.0.9:8083"], int(NODE)).raw,)))

    assert urls_known(bench, Pen(1)) == ["ws://10.0.0.9:8083"]


@pytest.mark.parametrize(
    "raw",
    [
        Pen(2).identity(["ws://10.0.0.9:1"], int(NODE)).raw,
        forged(Pen(1).identity(["ws://10.0.0.9:1"], int(NODE))),
        NOTE.raw,
        b"garbage",
    ],
    ids=["another's", "forged", "no identity", "garbage"],
)
def test_a_false_identity_record_is_counted_and_ignored(raw: bytes) -> None:
    bench = Bench()
    bench.meet(Pen(1), learns=False)
    bench.tell_identity(Pen(1), raw)

    assert urls_known(bench, Pen(1)) == []
    assert bench.count_of("rejected_records") == 1


@pytest.mark.parametrize(
    ("age_s", "is_used"), [(NODE_IDENTITY_LIFE_S, True), (NODE_IDENTITY_LIFE_S + 1, False)]
)
def test_addresses_of_an_old_identity_record_are_ignored(age_s: int, is_used: bool) -> None:  # noqa: FBT001 - a case
    bench = Bench()
    bench.meet(Pen(1), learns=False)
    old = Pen(1).identity(["ws://10.0.0.9:1"], int(NODE), created=WALL - age_s, life_s=30 * DAY_S)
    bench.tell_identity(Pen(1), old.raw)

    assert bool(urls_known(bench, Pen(1))) == is_used


@pytest.mark.parametrize(
    ("reason", "after_s", "is_asked"),
    [
        (PARTED, 60.0, False),
        (PARTED, IDENTITY_AGAIN_S + 1, True),
        ("closed", 60.0, True),
    ],
)
def test_whose_session_only_gave_its_place_away_is_not_asked_who_it_is_at_each_turn(
    reason: str,
    after_s: float,
    is_asked: bool,  # noqa: FBT001 - a case
) -> None:
    bench = Bench()
    bench.meet(Pen(1))
    bench.engine.on_link(peer_of(Pen(1)), Down(reason), bench.now)
    bench.mono += after_s
    assert bench.take_calls(Method.FIND_VALUE) == []

    bench.engine.on_link(peer_of(Pen(1)), Up("ws://10.0.0.9:8083"), bench.now)

    assert bool(bench.take_calls(Method.FIND_VALUE)) is is_asked


def test_whose_session_made_place_before_it_said_who_it_is_is_asked_again_at_the_next() -> None:
    bench = Bench()
    bench.meet(Pen(1), learns=False)
    (cut_off,) = bench.take_calls(Method.FIND_VALUE)
    bench.engine.on_link(peer_of(Pen(1)), Down(PARTED), bench.now)
    bench.fail(cut_off, FailReason.CLOSED)

    bench.meet(Pen(1))

    assert urls_known(bench, Pen(1)) == ["ws://10.0.0.9:8083"]


@pytest.mark.parametrize("reason", list(FailReason))
def test_who_did_not_say_who_it_is_is_asked_again_once_it_answers_something(reason: FailReason) -> None:
    bench = Bench()
    bench.meet(Pen(1), learns=False)
    (unanswered,) = bench.take_calls(Method.FIND_VALUE)
    bench.be_quiet()
    bench.fail(unanswered, reason)
    asked, _ = asked_within(bench, 60.0, lambda call: bench.answer(call, FoundValue((HERE.raw,))))

    assert asked == 1
    assert urls_known(bench, Pen(1)) == ["ws://10.0.0.9:8083"]


@pytest.mark.parametrize(
    "outcome",
    [
        *map(Failed, FailReason),
        Answer(Status.BUSY, Refusal()),
        Answer(Status.OK, FoundValue()),
        Answer(Status.OK, FoundValue((b"no record",))),
    ],
)
def test_who_never_says_who_it_is_is_asked_ever_more_seldom(outcome: Answer | Failed) -> None:
    bench = Bench()
    bench.meet(Pen(1), learns=False)
    asked, probed = asked_within(
        bench, 3_600.0, lambda call: bench.engine.on_answer(call.call, outcome, bench.now)
    )

    assert 2 <= asked <= 14
    assert probed <= asked + 6


def test_who_did_not_say_who_it_is_and_can_be_dialled_is_probed_soon_so_that_it_answers() -> None:
    bench = Bench()
    bench.engine.on_link(peer_of(Pen(1)), Up("ws://10.0.0.9:8083"), bench.now)
    (cut_off,) = bench.take_calls(Method.FIND_VALUE)
    bench.fail(cut_off, FailReason.CLOSED)

    assert len(probes_until(bench, 2 * PROBE_AGAIN_S)) == 1


def test_who_did_not_say_who_it_is_and_cannot_be_dialled_is_not_probed_for_that() -> None:
    bench = Bench()
    bench.meet(Pen(1), learns=False)
    (cut_off,) = bench.take_calls(Method.FIND_VALUE)
    bench.fail(cut_off, FailReason.CLOSED)
    bench.engine.on_link(peer_of(Pen(1)), Down(PARTED), bench.now)

    assert probes_until(bench, 60.0) == []
    assert bench.known == {Pen(1).node_id}


def probes_until(bench: Bench, mono: float) -> list[Call]:
    """What nodes are asked for a sign of life; nothing is answered."""
    probes = []
    while (due := bench.engine.next_timer()) is not None and due <= mono:
        bench.ring()
        probes += bench.take_calls(Method.PING)
    return probes


def asked_within(bench: Bench, seconds: float, say: Callable[[Call], None]) -> tuple[int, int]:
    """How often somebody is asked who it is, and says that, and is probed, and answers."""
    asked = probed = 0
    end = bench.mono + seconds
    while True:
        for call in bench.take_calls():
            if call.method is Method.FIND_VALUE:
                asked += 1
                assert asked < 1_000
                say(call)
            else:
                probed += call.method is Method.PING
                bench.answer(call, FoundNodes() if call.method is Method.FIND_NODE else Empty())
        if bench.calls:
            continue
        due = bench.engine.next_timer()
        if due is None or due > end:
            bench.mono = end
            return asked, probed
        bench.ring()


def test_private_addresses_in_an_identity_record_are_those_of_its_own_scope() -> None:
    bench = Bench()
    bench.meet(Pen(1), host="8.8.8.8", learns=False)
    urls = ["ws://8.8.8.8:1", "ws://10.0.0.1:1", "ws://127.0.0.1:1", "wss://name.example"]
    bench.tell_identity(Pen(1), Pen(1).identity(urls, int(NODE)).raw)

    assert urls_known(bench, Pen(1)) == ["ws://8.8.8.8:1", "wss://name.example:443"]


def test_a_node_that_is_gone_is_probed_and_leaves_after_three_misses() -> None:
    bench = Bench()
    bench.meet(Pen(1))
    bench.be_quiet()
    bench.engine.on_link(peer_of(Pen(1)), Down("closed"), bench.now)
    misses = 0
    while bench.known:
        bench.ring()
        for call in bench.take_calls():
            misses += call.method is Method.PING
            bench.fail(call)

    assert misses == 3
    assert bench.count_of("left_table") == 1


def test_calls_that_fail_together_are_one_missed_probe() -> None:
    bench = Bench()
    bench.meet(Pen(1))
    bench.be_quiet()
    for _ in range(5):
        bench.engine.get(SOMEWHERE, bench.now)
    for call in bench.take_calls():
        bench.fail(call, FailReason.TIMEOUT)
    bench.ring()
    probes = bench.take_calls(Method.PING)
    assert len(probes) == 1
    for probe in probes:
        bench.fail(probe, FailReason.TIMEOUT)

    assert bench.known == {Pen(1).node_id}


@pytest.mark.parametrize("reason", [FailReason.CLOSED, FailReason.BUSY])
def test_a_probe_that_was_not_sent_is_no_miss_and_is_repeated(reason: FailReason) -> None:
    bench = Bench()
    bench.meet(Pen(1))
    bench.be_quiet()
    bench.engine.on_link(peer_of(Pen(1)), Down("closed"), bench.now)
    for _ in range(10):
        bench.ring()
        for call in bench.take_calls(Method.PING):
            bench.fail(call, reason)

    assert bench.known == {Pen(1).node_id}


def test_a_node_that_left_is_back_with_its_first_answer() -> None:
    bench = Bench()
    bench.meet(Pen(1))
    bench.be_quiet()
    bench.engine.on_link(peer_of(Pen(1)), Down("closed"), bench.now)
    while bench.known:
        bench.ring()
        for call in bench.take_calls():
            bench.fail(call)
    while not (probes := bench.take_calls(Method.PING)):
        bench.ring()
    bench.answer(probes[0], Empty())

    assert bench.known == {Pen(1).node_id}


def test_who_was_known_before_a_restart_is_dialled_at_once() -> None:
    bench = Bench()
    pen, address = Pen(1), address_of("ws://10.0.0.1:1")
    known = Entry(pen.node_id, pen.public_key, int.from_bytes(pen.node_id), NODE, (address,))
    bench.engine.remember(known, bench.now)
    bench.ring()
    (call,) = bench.take_calls()

    assert (call.method, call.contact.urls) == (Method.PING, ("ws://10.0.0.1:1",))
    assert [entry.node_id for entry in bench.engine.known()] == [Pen(1).node_id]


# A fleet behind a name

NAME = "wss://fleet.example:443"


def fleet_known(first_url: str | None, prefixes: tuple[str | None, ...] = ("8.8.8.0/24",)) -> int:
    """How many of a fleet of one prefix are known to a node that dialled one of them at a url.

    Args:
        first_url: Dialled; None if nobody was.
        prefixes: Where it was reached, one time after another.

    """
    bench = Bench(typed_names=frozenset({NAME}))
    for prefix in prefixes:
        bench.engine.on_link(replace(peer_of(Pen(1)), prefix=prefix), Up(first_url), bench.now)
    for number in range(2, 42):
        bench.engine.on_link(replace(peer_of(Pen(number)), prefix="8.8.8.0/24"), Up(None), bench.now)
    return sum(entry.prefix == "8.8.8.0/24" for entry in bench.engine.table)


def test_where_a_name_leads_that_the_operator_typed_any_number_of_nodes_is_known() -> None:
    assert fleet_known(NAME) == 41


@pytest.mark.parametrize("url", [None, "wss://other.example:443", "ws://8.8.8.8:8083"])
def test_a_node_that_was_met_in_another_way_brings_no_exemption(url: str | None) -> None:
    assert fleet_known(url) <= NODES_PER_PREFIX_MAX


@pytest.mark.parametrize("moved_to", ["8.8.9.0/24", None])
def test_where_a_typed_name_no_longer_leads_is_trusted_no_longer(moved_to: str | None) -> None:
    assert fleet_known(NAME, ("8.8.8.0/24", moved_to)) <= NODES_PER_PREFIX_MAX


# Joining


def test_a_node_has_joined_when_lookups_name_nobody_new() -> None:
    bench = Bench()
    bench.meet(Pen(1))
    assert JoinedNotice(1) not in bench.notices
    bench.be_quiet()

    assert bench.engine.is_joined
    assert JoinedNotice(1) in bench.notices


def test_who_is_named_is_dialled() -> None:
    bench = Bench()
    bench.meet(Pen(1))
    (lookup,) = bench.take_calls(Method.FIND_NODE)
    named = WireContact(Pen(2).public_key, ("ws://10.0.0.2:1",), int(NODE))
    bench.answer(lookup, FoundNodes((named,)))
    dials = bench.take_calls(Method.PING)

    assert [call.contact.node_id for call in dials] == [Pen(2).node_id]
    assert not bench.engine.is_joined


def test_a_large_table_has_joined_whoever_else_is_named() -> None:
    bench = Bench()
    bench.meet(Pen(1))
    far = Pen(2).node_id[0] & 0x80 ^ OWN.node_id[0] & 0x80
    named = (
        Pen(2) if far else next(p for p in map(Pen, range(3, 99)) if (p.node_id[0] ^ OWN.node_id[0]) & 0x80)
    )
    first = named.node_id[0] & 0x80
    for number in range(SMALL_NETWORK_NODES_MAX + 1):
        node_id = NodeId(bytes((first,)) + number.to_bytes(31))
        bench.engine.table.admit(Entry(node_id, Pen(1).public_key, int.from_bytes(node_id), NODE))
    assert not bench.engine.table.is_small
    while calls := bench.take_calls(Method.FIND_NODE):
        for call in calls:
            bench.answer(call, FoundNodes((WireContact(named.public_key, ("ws://10.0.0.2:1",), int(NODE)),)))

    assert bench.take_calls(Method.PING) == []
    assert bench.engine.is_joined


def test_operations_wait_until_the_node_has_joined() -> None:
    bench = Bench()
    bench.engine.expect_peers(bench.now)
    op = bench.engine.get(SOMEWHERE, bench.now)
    bench.meet(Pen(1))
    assert bench.take_calls(Method.FIND_VALUE) == []
    lookups = bench.take_calls(Method.FIND_NODE)
    while lookups:
        for call in lookups:
            bench.answer(call, FoundNodes())
        lookups = bench.take_calls(Method.FIND_NODE)
    (read,) = bench.take_calls(Method.FIND_VALUE)
    bench.answer(read, FoundValue())

    assert [n.op for n in bench.notices if isinstance(n, GotNotice)] == [op]


def test_operations_wait_five_seconds_at_most() -> None:
    bench = Bench()
    bench.engine.expect_peers(bench.now)
    bench.engine.put(NOTE.draft(), bench.now)
    bench.settle()
    assert bench.notices == []
    assert bench.engine.next_timer() == JOIN_WAIT_S_MAX
    bench.ring()

    assert [n.result.accepted for n in bench.notices if isinstance(n, PutNotice)] == [1]


def test_operations_do_not_wait_when_nobody_could_be_reached() -> None:
    bench = Bench()
    bench.engine.expect_peers(bench.now)
    bench.engine.put(NOTE.draft(), bench.now)
    bench.engine.stop_waiting(bench.now)
    bench.settle()

    assert [n.result.accepted for n in bench.notices if isinstance(n, PutNotice)] == [1]


# The scope rule on hearsay


@pytest.mark.parametrize(
    ("namer", "url", "is_dialled"),
    [
        ("10.0.0.9", "ws://10.1.2.3:1", True),
        ("10.0.0.9", "ws://192.168.1.1:1", False),
        ("10.0.0.9", "ws://127.0.0.1:1", False),
        ("10.0.0.9", "ws://8.8.8.8:1", True),
        ("8.8.8.8", "ws://10.1.2.3:1", False),
        ("8.8.8.8", "ws://127.0.0.1:22", False),
        ("8.8.8.8", "ws://169.254.169.254:80", False),
        ("8.8.8.8", "ws://[::ffff:10.0.0.1]:1", False),
        ("8.8.8.8", "ws://0.0.0.0:1", False),
        ("8.8.8.8", "ws://224.0.0.1:1", False),
        ("8.8.8.8", "ws://name.example:1", True),
        ("127.0.0.1", "ws://127.0.0.1:1", True),
        ("fd00:1:2::1", "ws://[fd00:1:2::9]:1", True),
        ("fd00:1:2::1", "ws://[fd00:1:3::9]:1", False),
        ("8.8.8.8", "quic://8.8.4.4:1", False),
        ("8.8.8.8", "nonsense", False),
    ],
)
def test_an_address_that_others_name_is_dialled_in_their_own_scope_or_in_public(
    namer: str,
    url: str,
    is_dialled: bool,  # noqa: FBT001 - a case
) -> None:
    bench = Bench()
    bench.meet(Pen(1), host=namer, learns=False)
    for call in bench.take_calls():
        body = FoundNodes((WireContact(Pen(2).public_key, (url,), int(NODE)),))
        bench.answer(call, body if call.method is Method.FIND_NODE else FoundValue())

    assert bool(bench.take_calls(Method.PING)) == is_dialled


def test_an_operator_may_allow_private_addresses() -> None:
    bench = Bench(is_private_allowed=True)
    bench.meet(Pen(1), host="8.8.8.8", learns=False)
    for call in bench.take_calls(Method.FIND_NODE):
        bench.answer(call, FoundNodes((WireContact(Pen(2).public_key, ("ws://10.0.0.1:1",), int(NODE)),)))

    assert len(bench.take_calls(Method.PING)) == 1


@pytest.mark.parametrize(
    "named",
    [
        WireContact(Pen(2).public_key, ("ws://10.0.0.1:1",), int(NODE | Caps.CLIENT)),
        WireContact(Pen(2).public_key, ("ws://10.0.0.1:1",), int(NODE & ~Caps.ROUTING)),
        WireContact(Pen(2).public_key, (), int(NODE)),
        WireContact(OWN.public_key, ("ws://10.0.0.1:1",), int(NODE)),
        WireContact(Pen(1).public_key, ("ws://10.0.0.1:1",), int(NODE)),
        WireContact(OFF_CURVE, ("ws://10.0.0.1:1",), int(NODE)),
    ],
    ids=["client", "no routing", "no address", "oneself", "known", "no key"],
)
def test_contacts_that_nobody_should_dial_are_not(named: WireContact) -> None:
    bench = Bench()
    bench.meet(Pen(1))
    for call in bench.take_calls(Method.FIND_NODE):
        bench.answer(call, FoundNodes((named,)))

    assert bench.take_calls(Method.PING) == []


@given(st.text(max_size=600), st.integers(0, 2**32 - 1))
def test_whatever_is_named_breaks_nothing(url: str, caps: int) -> None:
    bench = Bench()
    bench.meet(Pen(1))
    for call in bench.take_calls(Method.FIND_NODE):
        bench.answer(call, FoundNodes((WireContact(Pen(2).public_key, (url,), caps),)))


# Serving


def test_a_ping_is_answered() -> None:
    assert Bench().ask(Empty(), Method.PING) == (Status.OK, Empty())


@pytest.mark.parametrize("method", [Method.DIAL_BACK, Method.SUBSCRIBE, Method.WHOAMI])
def test_methods_of_others_are_unknown_here(method: Method) -> None:
    assert Bench().ask(WhoAmI(), method)[0] is Status.UNKNOWN_METHOD


def test_contacts_are_the_nearest_without_the_asker() -> None:
    bench = Bench()
    pens = [Pen(number) for number in range(1, 31)]
    for pen in pens:
        bench.meet(pen)
    asker = peer_of(pens[0])
    target = Target(pens[0].node_id)
    order = sorted(pens[1:], key=lambda p: int.from_bytes(p.node_id) ^ int.from_bytes(target))
    _, body = bench.ask(FindNode(target, 1_000), Method.FIND_NODE, asker)

    assert isinstance(body, FoundNodes)
    assert [c.public_key for c in body.contacts] == [p.public_key for p in order[:CONTACTS_PER_ANSWER_MAX]]
    _, body = bench.ask(FindNode(target, 3), Method.FIND_NODE, asker)
    assert isinstance(body, FoundNodes)
    assert len(body.contacts) == 3


def test_contacts_are_those_that_the_asker_can_use() -> None:
    bench = Bench()
    bench.meet(Pen(1), learns=False)
    bench.tell_identity(Pen(1), Pen(1).identity(["ws://10.0.0.9:1", "wss://a.example"], int(NODE)).raw)
    bench.meet(Pen(2), learns=False)
    bench.tell_identity(Pen(2), Pen(2).identity(["ws://10.0.0.9:2"], int(NODE)).raw)
    bench.meet(Pen(3), learns=False)
    _, python = bench.ask(FindNode(SOMEWHERE), Method.FIND_NODE)
    browser = peer_of(Pen(80), Caps.ALWAYS | Caps.CLIENT | Caps.BROWSER)
    _, page = bench.ask(FindNode(SOMEWHERE), Method.FIND_NODE, browser)

    assert isinstance(python, FoundNodes)
    assert isinstance(page, FoundNodes)
    assert {c.public_key for c in python.contacts} == {Pen(1).public_key, Pen(2).public_key}
    assert [c.urls for c in page.contacts] == [("wss://a.example:443",)]


def test_a_value_comes_with_contacts_closer_or_with_the_eight_nearest() -> None:
    bench = Bench()
    pens = [Pen(number) for number in range(1, 31)]
    for pen in pens:
        bench.meet(pen)

    def shown(target: Target) -> int:
        _, body = bench.ask(FindValue(target), Method.FIND_VALUE)
        assert isinstance(body, FoundValue)
        return len(body.contacts)

    farthest = Target(bytes(255 - byte for byte in OWN.node_id))
    assert shown(Target(OWN.node_id)) == ALPHA
    assert shown(farthest) == CONTACTS_PER_ANSWER_MAX


def test_a_record_is_answered_for_once_it_is_durable() -> None:
    bench = Bench()
    bench.engine.on_request(1, peer_of(Pen(80)), Method.STORE, Store(NOTE.target, NOTE.raw), bench.now)
    (persist,) = bench.engine.take_outgoing()
    assert isinstance(persist, Persist)
    bench.engine.on_stored(persist.op, Stored(), bench.now)
    bench.settle()

    assert bench.replies == [(Status.OK, Empty())]


def test_what_a_node_of_the_table_brings_is_told_from_what_a_stranger_does() -> None:
    for is_met in (False, True):
        bench = Bench()
        if is_met:
            bench.meet(Pen(80))
        bench.take_calls()
        bench.engine.on_request(1, peer_of(Pen(80)), Method.STORE, Store(NOTE.target, NOTE.raw), bench.now)
        (persist,) = (o for o in bench.engine.take_outgoing() if isinstance(o, Persist))

        assert persist.write.is_from_table is is_met


def test_storing_again_is_the_same_as_storing_once() -> None:
    bench = Bench()
    replies = [bench.ask(Store(NOTE.target, NOTE.raw), Method.STORE) for _ in range(3)]

    assert replies == [(Status.OK, Empty())] * 3
    assert len(bench.store.get(NOTE.target, bench.now.wall)) == 1


def test_refusals_are_answered_and_counted() -> None:
    bench = Bench()
    bench.ask(Store(NOTE.target, NOTE.raw), Method.STORE)
    old = Pen(90).mutable("name", 4)

    assert bench.ask(Store(old.target, old.raw), Method.STORE) == (
        Status.SEQ_TOO_LOW,
        Refusal(5, NOTE.record.hash),
    )
    assert bench.count_of("refused", "seq_too_low") == 1


def test_a_node_without_storage_refuses_records() -> None:
    bench = Bench(NODE & ~Caps.STORAGE)

    assert bench.ask(Store(NOTE.target, NOTE.raw), Method.STORE) == (Status.REFUSED, Refusal())


def test_a_node_alone_answers_delegated_reads_and_writes() -> None:
    bench = Bench()

    assert bench.ask(Put(NOTE.target, NOTE.raw), Method.PUT) == (Status.OK, PutDone(1, 1, 1, 0, ()))
    assert bench.ask(Get(NOTE.target), Method.GET) == (Status.OK, Got((NOTE.raw,), 1, 1))
    assert bench.ask(Get(SOMEWHERE), Method.GET) == (Status.OK, Got((), 1, 1))


def test_a_delegated_write_names_the_refusal_and_its_body() -> None:
    bench = Bench()
    bench.ask(Put(NOTE.target, NOTE.raw), Method.PUT)
    old = Pen(90).mutable("name", 4)

    assert bench.ask(Put(old.target, old.raw), Method.PUT) == (
        Status.OK,
        PutDone(0, 1, 1, Status.SEQ_TOO_LOW, (5, NOTE.record.hash)),
    )
    expired = Pen(90).mutable("name", 6, created=WALL - 100, expires=WALL)
    assert bench.ask(Put(expired.target, expired.raw), Method.PUT) == (
        Status.OK,
        PutDone(0, 1, 1, Status.BAD_LIFETIME, (WALL,)),
    )


BIG = Pen(90).mutable("name", 5, bytes(VALUE_BYTES_MAX))


@pytest.mark.parametrize(
    ("target", "raw", "status"),
    [
        (NOTE.target, b"garbage", Status.BAD_REQUEST),
        (SOMEWHERE, NOTE.raw, Status.BAD_SIGNATURE),
        (NOTE.target, bytes(65_537), Status.RECORD_TOO_BIG),
        (BIG.target, BIG.raw[:-64] + bytes(65), Status.RECORD_TOO_BIG),
    ],
)
def test_a_delegated_write_that_every_holder_would_refuse_is_not_tried(
    target: Target, raw: bytes, status: Status
) -> None:
    bench = Bench()
    bench.meet(Pen(1))
    bench.be_quiet()

    assert bench.ask(Put(target, raw), Method.PUT) == (status, Refusal())
    assert bench.take_calls() == []


def test_what_a_delegated_write_stores_here_is_not_pinned() -> None:
    bench = Bench()
    bench.ask(Put(NOTE.target, NOTE.raw), Method.PUT)
    head = bench.store.head(NOTE.target, NOTE.record.publisher)

    assert head is not None
    assert not head.is_pinned


def test_a_delegated_read_of_a_shared_target_fits_its_answer() -> None:
    bench = Bench()
    notes: list[Note] = [Pen(number).multi("name", 1) for number in range(1, 65)]
    for note in notes[:MULTI_ENTRIES_MAX]:
        bench.ask(Store(note.target, note.raw), Method.STORE)
    bench.meet(Pen(100))
    bench.be_quiet()
    bench.replies.clear()
    bench.engine.on_request(1, peer_of(Pen(80)), Method.GET, Get(notes[0].target), bench.now)
    for call in bench.take_calls(Method.FIND_VALUE):
        bench.answer(call, FoundValue(tuple(n.raw for n in notes[MULTI_ENTRIES_MAX:])))
    ((status, body),) = bench.replies

    assert status is Status.OK
    assert len(decode_body(encode_body(body), Got).records) == MULTI_ENTRIES_MAX


def test_more_operations_than_the_bound_are_busy() -> None:
    bench = Bench()
    bench.meet(Pen(1))
    bench.be_quiet()
    for _ in range(OPERATIONS_MAX):
        bench.engine.get(SOMEWHERE, bench.now)

    assert bench.ask(Get(SOMEWHERE), Method.GET)[0] is Status.BUSY
    assert bench.ask(Put(NOTE.target, NOTE.raw), Method.PUT)[0] is Status.BUSY


def test_a_stranger_that_asks_for_too_much_is_told_when_to_come_back() -> None:
    bench = Bench()
    wide, stranger = Get(SOMEWHERE, paths=3), stranger_of(80)
    allowed = int(DELEGATED_BURST_REQUESTS / DELEGATED_REQUESTS_PER_PATH / 3)
    served = [bench.ask(wide, Method.GET, stranger)[0] for _ in range(allowed)]
    status, told = bench.ask(wide, Method.GET, stranger)

    assert set(served) == {Status.OK}
    assert status is Status.RATE_LIMITED
    assert bench.ask(wide, Method.GET, stranger_of(81))[0] is Status.OK
    assert isinstance(told, Refusal)
    bench.mono = told.number / 1000
    assert bench.ask(wide, Method.GET, stranger)[0] is Status.OK
    assert bench.count_of("refused", "rate_limited") == 1


def test_delegated_writes_are_charged_too() -> None:
    bench = Bench()
    for number in range(1, 8):
        bench.meet(Pen(number))
    bench.be_quiet()
    wide, stranger = Get(SOMEWHERE, paths=3), stranger_of(80)
    while bench.engine._delegation.charge_get(stranger, wide, bench.now) is None:
        pass
    while bench.engine._delegation.charge_get(stranger, Get(SOMEWHERE), bench.now) is None:
        pass

    assert bench.ask(Put(NOTE.target, NOTE.raw), Method.PUT, stranger)[0] is Status.RATE_LIMITED
    assert bench.take_calls() == []


def test_a_write_that_is_refused_for_its_work_has_not_paid_its_bytes() -> None:
    bench, stranger = Bench(), stranger_of(80)
    while bench.engine._delegation.charge_get(stranger, Get(SOMEWHERE), bench.now) is None:
        pass
    for _ in range(9):
        assert bench.ask(Put(NOTE.target, NOTE.raw), Method.PUT, stranger)[0] is Status.RATE_LIMITED

    assert stranger.node_id not in bench.engine._holder._peers._levels


def test_a_write_that_is_refused_for_its_bytes_or_as_one_too_many_has_not_paid_its_work() -> None:
    bench, stranger = Bench(), stranger_of(80)
    holder, delegation = bench.engine._holder, bench.engine._delegation
    while holder.charge(stranger, RECORD_BYTES_MAX, bench.now, is_table_peer=False) is None:
        pass
    while holder.charge(stranger, 1, bench.now, is_table_peer=False) is None:
        pass
    put = Put(NOTE.target, NOTE.raw)
    for _ in range(9):
        assert bench.ask(put, Method.PUT, stranger)[0] is Status.RATE_LIMITED
    bench.meet(Pen(1))
    bench.be_quiet()
    for _ in range(OPERATIONS_MAX):
        bench.engine.get(SOMEWHERE, bench.now)
    for _ in range(9):
        assert bench.ask(put, Method.PUT, stranger)[0] is Status.BUSY
        assert bench.ask(Get(SOMEWHERE), Method.GET, stranger)[0] is Status.BUSY

    everything = int(DELEGATED_BURST_REQUESTS / DELEGATED_REQUESTS_PER_PATH / 3)
    wide = Get(SOMEWHERE, paths=3)
    assert [delegation.charge_get(stranger, wide, bench.now) for _ in range(everything)] == [
        None
    ] * everything


def test_its_own_user_is_not_charged() -> None:
    bench = Bench()
    for _ in range(int(DELEGATED_BURST_REQUESTS / DELEGATED_REQUESTS_PER_PATH / 3) + 1):
        bench.engine.get(SOMEWHERE, bench.now, 3)
    bench.settle()

    assert bench.count_of("refused", "rate_limited") == 0


# Answers


def test_an_answer_that_was_garbage_is_counted_and_no_sign_of_life() -> None:
    bench = Bench()
    bench.meet(Pen(1))
    for call in bench.take_calls(Method.FIND_NODE):
        bench.fail(call, FailReason.GARBAGE)
    bench.ring()

    assert bench.count_of("garbage_answers") == 1
    assert len(bench.take_calls(Method.PING)) == 1


def test_a_read_that_met_a_lie_is_counted() -> None:
    bench = Bench()
    bench.meet(Pen(1))
    bench.be_quiet()
    bench.engine.get(NOTE.target, bench.now)
    for call in bench.take_calls(Method.FIND_VALUE):
        bench.answer(call, FoundValue((forged(NOTE),)))

    assert bench.count_of("rejected_records") == 1


# The end


def test_stop_reports_every_operation() -> None:
    bench = Bench()
    bench.meet(Pen(1))
    bench.be_quiet()
    bench.engine.expect_peers(bench.now)
    ops = {bench.engine.get(SOMEWHERE, bench.now), bench.engine.put(NOTE.draft(), bench.now)}
    ops |= {bench.engine.put(NOTE.draft(cas=4), bench.now), bench.engine.find(SOMEWHERE, 3, bench.now)}
    bench.engine.stop(bench.now)
    bench.settle()

    without_op = JoinedNotice | CountedNotice | MeasuredNotice | LeftNotice
    assert {n.op for n in bench.notices if not isinstance(n, without_op)} == ops


def test_stop_reports_what_waited_to_join() -> None:
    bench = Bench(NODE & ~Caps.STORAGE)
    bench.engine.expect_peers(bench.now)
    ops = {bench.engine.get(SOMEWHERE, bench.now), bench.engine.put(NOTE.draft(), bench.now)}
    bench.engine.stop(bench.now)
    bench.settle()

    assert {n.op for n in bench.notices if isinstance(n, GotNotice | PutNotice)} == ops


def test_a_node_that_knows_nobody_and_stores_nothing_reaches_no_quorum() -> None:
    bench = Bench(NODE & ~Caps.STORAGE)
    bench.engine.get(SOMEWHERE, bench.now)
    bench.engine.put(NOTE.draft(), bench.now)
    bench.engine.put(NOTE.draft(cas=0), bench.now)
    bench.settle()
    got, *put = [n.result for n in bench.notices if isinstance(n, GotNotice | PutNotice)]

    assert got[1:] == (0, 1, 0)
    assert [p[:3] for p in put] == [(0, 0, 1)] * 2
