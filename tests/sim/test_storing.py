"""Puts and gets among real engines: quorums, failures, silence, repair, cas, delegation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sim.authors import WALL, Note, Pen
from tests.sim.world import CLIENT, NODE, World, seeds
from yzdht.ids import SessionId, Target
from yzdht.kad.write import WriteResult
from yzdht.limits import CAS_REMEMBERS_S, DAY_S, MISSED_PROBES_MAX, READ_TIMEOUT_S
from yzdht.rpc.engine import Peer
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Get, Got, Method, Put, PutDone, Refusal, Status


if TYPE_CHECKING:
    from tests.sim.node import SimNode
    from yzdht.wire.record import Record


PEN = Pen(100)
ONE = PEN.mutable("name", 1, b"one", created=WALL - 60)
TWO = PEN.mutable("name", 2, b"two", created=WALL - 60)
ASKER = Peer(Pen(200).node_id, Pen(200).public_key, CLIENT, SessionId(bytes(16)), "10.0.9.9", None)


def holders(world: World, note: Note) -> list[SimNode]:
    return [node for node in world.nodes if node.held_seq(note.target) is not None]


def seqs(records: list[Record]) -> list[int]:
    return [record.seq for record in records]


def notes(count: int) -> list[Note]:
    return [PEN.mutable(f"name {number}", 1, b"value") for number in range(count)]


# Put, then get


@pytest.mark.parametrize("is_signed", [False, True], ids=["null signatures", "real signatures"])
def test_what_one_node_puts_every_other_gets(is_signed: bool) -> None:  # noqa: FBT001 - a case
    with World(is_signed=is_signed) as world:
        nodes = world.add_network(12)
        note = Pen(100, is_signed=is_signed).mutable("name", 1, b"value")
        result = world.put(nodes[0], note.draft())
        assert result.accepted >= result.needed == 5

        for node in nodes:
            assert world.get(node, note.target).records == [note.record]


@pytest.mark.parametrize("seed", seeds(5))
def test_the_n_nearest_hold_a_record_and_nobody_else(seed: int) -> None:
    with World(seed) as world:
        nodes = world.add_network(12)
        written = notes(6)
        for note in written:
            world.put(world.random.choice(nodes), note.draft())
        world.run_for(3)

        for note in written:
            nearest = world.nearest(note.target, 8)
            assert set(holders(world, note)) >= set(nearest)
            assert len(holders(world, note)) <= 10  # a late one was replaced, then stored it all the same


def test_a_put_returns_at_w_and_the_others_go_on() -> None:
    with World() as world:
        nodes = world.add_network(8)
        slow = world.nearest(ONE.target, 3, nodes[1:])
        world.silence(*slow)
        result = world.put(nodes[0], ONE.draft())

        assert result == WriteResult(5, 8, 5, Status.OK, Refusal())


@pytest.mark.parametrize(("size", "n", "write"), [(1, 1, 1), (2, 2, 2), (3, 3, 2), (5, 5, 3)])
def test_small_networks_have_small_quorums(size: int, n: int, write: int) -> None:
    with World() as world:
        nodes = world.add_network(size)
        result = world.put(nodes[-1], ONE.draft())

        assert (result.asked, result.needed) == (n, write)
        assert seqs(world.get(nodes[0], ONE.target).records) == [1]


def test_a_node_without_storage_is_no_candidate() -> None:
    with World() as world:
        nodes = [world.add_node() for _ in range(4)] + [world.add_node(caps=NODE & ~Caps.STORAGE)]
        for node in nodes[1:]:
            node.join(nodes[0])
        world.run_for(5)
        result = world.put(nodes[4], ONE.draft())
        world.run_for(2)

        assert result.asked == 4
        assert nodes[4] not in holders(world, ONE)
        assert seqs(world.get(nodes[4], ONE.target).records) == [1]


def test_putting_the_same_again_changes_nothing() -> None:
    with World() as world:
        nodes = world.add_network(5)
        for _ in range(3):
            assert world.put(nodes[0], ONE.draft()).refusal is Status.OK
        repeated = world.put(nodes[3], ONE.draft(cas=0))
        assert (repeated.refusal, repeated.detail.number) == (Status.CAS_MISMATCH, ONE.record.seq)

        assert seqs(world.get(nodes[1], ONE.target).records) == [1]


def test_an_old_record_is_refused_with_what_is_stored() -> None:
    with World() as world:
        nodes = world.add_network(5)
        world.put(nodes[0], TWO.draft())
        world.run_for(1)
        result = world.put(nodes[1], ONE.draft())

        assert result.accepted == 0
        assert (result.refusal, result.detail) == (Status.SEQ_TOO_LOW, Refusal(2, TWO.record.hash))


def test_a_deleted_record_is_a_tombstone_to_every_reader() -> None:
    with World() as world:
        nodes = world.add_network(8)
        world.put(nodes[0], ONE.draft())
        grave = PEN.tombstone("name", 2)
        world.put(nodes[1], grave.draft())

        for node in nodes:
            assert world.get(node, ONE.target).records == [grave.record]


def test_entries_of_several_publishers_are_merged() -> None:
    with World() as world:
        nodes = world.add_network(8)
        entries = [Pen(number).multi("place", number, b"entry") for number in range(100, 110)]
        for number, note in enumerate(entries):
            world.put(nodes[number % 8], note.draft())
        world.run_for(1)

        for node in nodes:
            found = world.get(node, entries[0].target).records
            assert {r.hash for r in found} == {n.record.hash for n in entries}


def test_an_immutable_record_is_found_at_its_one_holder() -> None:
    with World() as world:
        nodes = world.add_network(8)
        note = PEN.immutable(b"chunk")
        world.nearest(note.target, 8)[7].hold(note, WALL + DAY_S)

        for node in nodes:
            assert world.get(node, note.target).records == [note.record]


def test_two_bodies_of_one_seq_stay_where_they_are_until_their_owner_rewrites() -> None:
    with World() as world:
        nodes = world.add_network(8)
        twin = PEN.mutable("name", 1, b"another")
        for number, node in enumerate(world.nearest(ONE.target, 8)):
            node.hold(ONE if number % 2 else twin)
        for node in nodes:
            assert world.get(node, ONE.target).records[0] in (ONE.record, twin.record)
        world.run_for(1)
        held = [node.store.get(ONE.target, world.now.wall)[0].head.hash for node in nodes]
        assert sorted(held) == sorted([ONE.record.hash, twin.record.hash] * 4)
        result = world.put(nodes[0], twin.draft())
        assert (result.refusal, result.detail) == (Status.EQUIVOCATION, Refusal(1, ONE.record.hash))
        world.put(nodes[0], TWO.draft())

        for node in nodes:
            assert world.get(node, ONE.target).records == [TWO.record]


# Failures


@pytest.mark.parametrize("seed", seeds(6))
def test_four_of_twelve_die_at_once_and_every_acknowledged_record_is_found(seed: int) -> None:
    with World(seed) as world:
        nodes = world.add_network(12)
        written = notes(15)
        for note in written:
            assert world.put(world.random.choice(nodes), note.draft()).accepted >= 5
        dead = world.random.sample(nodes, 4)
        world.kill(*dead)

        for note in written:
            reader = world.random.choice([node for node in nodes if node.is_up])
            assert seqs(world.get(reader, note.target).records) == [1]


@pytest.mark.parametrize("seed", seeds(4))
def test_puts_go_on_when_four_of_twelve_have_died(seed: int) -> None:
    with World(seed) as world:
        nodes = world.add_network(12)
        world.kill(*nodes[4:8])
        for note in notes(5):
            assert world.put(nodes[0], note.draft()).accepted >= 5
            assert seqs(world.get(nodes[9], note.target).records) == [1]


def test_a_write_quorum_that_fails_names_the_counts() -> None:
    with World() as world:
        nodes = world.add_network(8)
        world.kill(*nodes[4:])
        result = world.put(nodes[0], ONE.draft())

        assert result == WriteResult(4, 8, 5, Status.OK, Refusal())


def test_a_read_quorum_that_fails_names_the_counts() -> None:
    with World() as world:
        nodes = world.add_network(8)
        world.put(nodes[0], ONE.draft())
        world.kill(*nodes[3:])
        result = world.get(nodes[0], ONE.target)

        assert result == ([], 3, 4, 8)


def test_when_the_dead_have_left_the_table_the_quorum_is_that_of_the_living() -> None:
    with World() as world:
        nodes = world.add_network(8)
        world.kill(*nodes[3:])
        world.run_for(20)
        result = world.put(nodes[0], ONE.draft())

        assert (result.asked, result.needed) == (3, 2)
        assert MISSED_PROBES_MAX == 3


def test_silent_nodes_do_not_slow_a_get_beyond_soft_deadlines() -> None:
    with World() as world:
        nodes = world.add_network(12)
        world.put(nodes[0], ONE.draft())
        world.run_for(1)
        reader = next(n for n in nodes if n not in world.nearest(ONE.target, 8))
        world.silence(*world.nearest(ONE.target, 3))
        began = world.now.mono
        result = world.get(reader, ONE.target)

        assert seqs(result.records) == [1]
        assert world.now.mono - began < 1.0 < READ_TIMEOUT_S


def test_a_get_waits_for_the_hard_deadline_only_when_it_must() -> None:
    with World() as world:
        nodes = world.add_network(8)
        world.silence(*nodes[5:])
        began = world.now.mono
        result = world.get(nodes[0], ONE.target)

        assert (result.records, result.answered) == ([], 5)
        assert READ_TIMEOUT_S <= world.now.mono - began < READ_TIMEOUT_S + 1  # the silent were asked twice


def test_late_answers_count() -> None:
    with World() as world:
        nodes = world.add_network(3)
        world.put(nodes[0], ONE.draft())
        world.run_for(60)
        world.weather.rtt_s = 2.0
        world.weather.spread = 0.01
        result = world.get(nodes[0], ONE.target)

        assert seqs(result.records) == [1]


def test_a_body_is_sent_once() -> None:
    with World() as world:
        nodes = world.add_network(12)
        big = PEN.mutable("name", 1, bytes(50_000))
        world.put(nodes[0], big.draft())
        world.run_for(1)
        reader = next(n for n in nodes if n not in holders(world, big))
        reader.sent.clear()
        world.get(reader, big.target)
        wanted = [call.body.body_max for _, call in reader.sent if call.method is Method.FIND_VALUE]  # type: ignore[attr-defined] # FindValue

        assert sorted(wanted)[:-1] == [0] * (len(wanted) - 1)


# Repair


def test_a_read_brings_lagging_holders_up() -> None:
    with World() as world:
        nodes = world.add_network(8)
        for node in nodes:
            node.hold(ONE)
        world.nearest(TWO.target, 8)[1].hold(TWO)
        reader = world.nearest(TWO.target, 8)[0]
        assert seqs(world.get(reader, TWO.target).records) == [2]
        world.run_for(1)

        assert sum(node.held_seq(TWO.target) == 2 for node in nodes) >= 4


def test_reads_from_everywhere_bring_everybody_up() -> None:
    with World() as world:
        nodes = world.add_network(8)
        for node in nodes:
            node.hold(ONE)
        world.nearest(TWO.target, 8)[7].hold(TWO)
        for node in nodes * 2:  # its holder shows it to the nearest, and they to everybody
            world.get(node, TWO.target)
            world.run_for(1)

        assert [node.held_seq(TWO.target) for node in nodes] == [2] * 8


def test_a_tombstone_is_repaired_like_a_record() -> None:
    with World() as world:
        nodes = world.add_network(3)
        grave = PEN.tombstone("name", 2, created=WALL - 60)
        nodes[0].hold(ONE)
        nodes[1].hold(grave)
        assert [r.is_tombstone for r in world.get(nodes[1], ONE.target).records] == [True]
        for node in nodes:
            world.get(node, ONE.target)
            world.run_for(1)

        assert [node.held_seq(ONE.target) for node in nodes] == [2] * 3


# Cas


def test_cas_takes_the_expected_record_only() -> None:
    with World() as world:
        nodes = world.add_network(8)
        assert world.put(nodes[0], ONE.draft(cas=0)).accepted >= 5
        wrong = world.put(nodes[1], TWO.draft(cas=0))
        assert (wrong.refusal, wrong.detail) == (Status.CAS_MISMATCH, Refusal(1, ONE.record.hash))
        assert world.put(nodes[1], TWO.draft(cas=1)).accepted >= 5
        late = world.put(nodes[2], PEN.mutable("name", 3).draft(cas=1))
        assert (late.accepted, late.refusal, late.detail.number) == (0, Status.CAS_MISMATCH, 2)


def test_cas_on_nothing_is_a_mismatch() -> None:
    with World() as world:
        nodes = world.add_network(8)
        result = world.put(nodes[0], TWO.draft(cas=1))

        assert (result.refusal, result.detail) == (Status.CAS_MISMATCH, Refusal())


@pytest.mark.parametrize("lag", [None, ONE], ids=["nothing", "an older record"])
def test_a_nearest_holder_that_missed_the_last_write_is_repaired_by_the_next_with_cas(
    lag: Note | None,
) -> None:
    with World() as world:
        nodes = world.add_network(8)
        for node in world.nearest(TWO.target, 8)[1:]:
            node.hold(TWO)
        if lag is not None:
            world.nearest(TWO.target, 8)[0].hold(lag)
        three = PEN.mutable("name", 3, b"three")
        result = world.put(nodes[0], three.draft(cas=2))
        world.run_for(2)

        assert result.accepted >= 5
        assert [node.held_seq(TWO.target) for node in nodes] == [3] * 8


def race(world: World, writers: list[SimNode], cas: int) -> list[int]:
    """Writers with cas at once; which of them succeeded."""
    drafts = [PEN.mutable("name", 10 + i, b"%d" % i).draft(cas=cas) for i in range(len(writers))]
    ops = []
    for node, draft in zip(writers, drafts, strict=True):
        world.run_for(world.random.choice([0, 0, 0.01, 0.05, 0.1]))
        ops.append((node, node.put(draft)))
    world.run_until(lambda: all(op in node.results for node, op in ops))
    results = [node.results[op] for node, op in ops]
    return [i for i, r in enumerate(results) if r.accepted >= r.needed]


@pytest.mark.parametrize("cas", [0, 1])
@pytest.mark.parametrize("seed", seeds(15))
def test_of_two_writers_with_cas_one_succeeds_at_most(seed: int, cas: int) -> None:
    with World(seed) as world:
        nodes = world.add_network(world.random.choice([2, 3, 5, 8, 9]))
        if cas:
            for node in nodes:
                node.hold(ONE)
        world.weather.spread = 1.0
        world.weather.loss = world.random.choice([0, 0, 0.1, 0.3])
        won = race(world, world.random.sample(nodes, 2), cas)

        assert len(won) <= 1
        if world.weather.loss == 0 and len(nodes) > 2:
            assert len(won) == 1


@pytest.mark.parametrize("cas", [0, 1])
@pytest.mark.parametrize("seed", seeds(12))
def test_two_sides_of_a_partition_never_both_succeed_with_cas(seed: int, cas: int) -> None:
    with World(seed) as world:
        nodes = world.add_network(world.random.choice([3, 4, 8, 10]))
        if cas:
            for node in nodes:
                node.hold(ONE)
        shuffled = world.random.sample(nodes, len(nodes))
        cut = world.random.randrange(1, len(nodes))
        left, right = shuffled[:cut], shuffled[cut:]
        world.partition(left, right)
        world.run_for(world.random.choice([0, 10, 100]))
        won = race(world, [left[0], right[0]], cas)
        assert len(won) <= 1
        world.heal()
        world.run_for(world.random.choice([0, 5, 700]))
        won += race(world, [left[0], right[0]], cas)  # the same records: whoever won may win again

        assert len(set(won)) <= 1


def test_after_a_day_the_dead_no_longer_count_for_cas() -> None:
    with World() as world:
        nodes = world.add_network(8)
        world.kill(*nodes[3:])
        world.run_for(60)
        early = world.put(nodes[0], ONE.draft(cas=0))
        assert (early.asked, early.needed) == (8, 5)
        assert early.accepted <= 3
        world.run_for(CAS_REMEMBERS_S)
        fresh = PEN.mutable("name", 2, created=int(world.now.wall))
        held = nodes[1].held_seq(ONE.target) or 0
        late = world.put(nodes[0], fresh.draft(cas=held))

        assert (late.asked, late.needed) == (3, 2)
        assert late.accepted >= 2


# Delegation


def test_a_delegated_write_and_read_are_those_of_the_network() -> None:
    with World() as world:
        nodes = world.add_network(12)
        status, done = world.ask(nodes[3], ASKER, Method.PUT, Put(ONE.target, ONE.raw))
        assert status is Status.OK
        assert isinstance(done, PutDone)
        assert (done.accepted >= 5, done.asked, done.needed) == (True, 8, 5)
        for node in nodes:
            status, got = world.ask(node, ASKER, Method.GET, Get(ONE.target))
            assert isinstance(got, Got)
            assert got.records == (ONE.raw,)


def test_a_delegated_read_tells_not_found_from_no_quorum() -> None:
    with World() as world:
        nodes = world.add_network(8)
        assert world.ask(nodes[0], ASKER, Method.GET, Get(ONE.target)) == (Status.OK, Got((), 8, 4))
        world.kill(*nodes[3:])
        assert world.ask(nodes[0], ASKER, Method.GET, Get(ONE.target)) == (Status.OK, Got((), 3, 4))


def test_a_delegated_write_names_the_refusal_with_its_body() -> None:
    with World() as world:
        nodes = world.add_network(8)
        world.put(nodes[0], TWO.draft())
        world.run_for(1)
        _, low = world.ask(nodes[1], ASKER, Method.PUT, Put(ONE.target, ONE.raw))
        _, cas = world.ask(nodes[1], ASKER, Method.PUT, Put(ONE.target, ONE.raw, 1))

        assert isinstance(low, PutDone)
        assert isinstance(cas, PutDone)
        assert (low.refusal, low.detail) == (Status.SEQ_TOO_LOW, (2, TWO.record.hash))
        assert (cas.accepted, cas.refusal, cas.detail) == (0, Status.CAS_MISMATCH, (2, TWO.record.hash))


def test_a_delegated_write_whose_clock_is_wrong_learns_the_holders_time() -> None:
    with World() as world:
        nodes = world.add_network(3)
        ahead = PEN.mutable("name", 1, created=WALL + DAY_S)
        _, done = world.ask(nodes[0], ASKER, Method.PUT, Put(ahead.target, ahead.raw))

        assert isinstance(done, PutDone)
        assert (done.accepted, done.refusal) == (0, Status.BAD_LIFETIME)
        assert done.detail[0] == int(world.now.wall)


# Prefixes


def test_answers_span_two_public_prefixes_where_the_nodes_do() -> None:
    with World() as world:
        reader = world.add_node("9.9.9.9", NODE & ~Caps.STORAGE)
        fleet = [world.add_node(f"8.8.8.{number}") for number in range(1, 8)]
        other = world.add_node("8.8.4.4")
        for node in [*fleet, other]:
            node.join(reader)
        world.run_for(10)
        for node in fleet:
            node.hold(ONE)
        other.hold(TWO)

        assert seqs(world.get(reader, ONE.target).records) == [2]


def test_a_client_is_served_and_never_known() -> None:
    with World() as world:
        nodes = world.add_network(3)
        client = world.add_node(caps=CLIENT)
        client.join(nodes[0])
        world.run_for(5)

        assert client.node_id in nodes[0].sessions
        assert all(client.node_id not in {e.node_id for e in n.engine.table} for n in nodes)
        assert isinstance(world.get(nodes[0], Target(bytes(32))).answered, int)
