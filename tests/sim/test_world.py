from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.sim.authors import Pen
from tests.sim.invariants import check_node
from tests.sim.weather import Weather
from tests.sim.world import World, seeds
from yzdht.ids import Target
from yzdht.limits import (
    BUCKET_SIZE,
    CLOCK_SKEW_S,
    DIAL_TIMEOUT_S,
    READ_TIMEOUT_S,
    SESSION_SILENT_S_MAX,
)
from yzdht.rpc.engine import Call, Failed, FailReason, Up
from yzdht.wire.rpc import Empty, Method, Status, WhoAmI


if TYPE_CHECKING:
    from yzdht.ports import Now
    from yzdht.rpc.engine import Down, Peer


ROOT = Path(__file__).parent.parent.parent
PLACE = Target(bytes(32))


def story(seed: int) -> int:
    """What happened in a small network with faults, as one number."""
    with World(seed) as world:
        nodes = world.add_network(5)
        world.weather.loss = 0.2
        note = Pen(100).mutable("name", 1, b"value")
        nodes[1].put(note.draft())
        world.kill(nodes[2])
        world.run_for(5)
        nodes[3].get(note.target)
        world.run_for(30)
    return world.trace


def test_a_seed_replays_to_the_byte() -> None:
    assert story(1) == story(1)
    assert story(1) != story(2)


def test_a_seed_replays_in_another_process() -> None:
    code = "from tests.sim.test_world import story; print(story(3))"
    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert traces == {f"{story(3)}\n"}


@pytest.mark.parametrize(("soak", "form"), [("", ""), ("1", "YZ_SOAK=1 ")])
def test_a_failure_names_the_line_that_replays_it(
    monkeypatch: pytest.MonkeyPatch, soak: str, form: str
) -> None:
    monkeypatch.setenv("YZ_SOAK", soak)
    with pytest.raises(AssertionError) as caught, World(17):
        raise AssertionError

    test = "tests/sim/test_world.py::test_a_failure_names_the_line_that_replays_it"
    assert caught.value.__notes__ == [f"replay with: {form}YZ_SEED=17 pytest -m '' '{test}'"]


def test_seeds_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YZ_SEED", raising=False)
    monkeypatch.delenv("YZ_SEEDS", raising=False)
    assert seeds(3) == [0, 1, 2]
    monkeypatch.setenv("YZ_SEEDS", "5")
    assert seeds(3) == [0, 1, 2, 3, 4]
    monkeypatch.setenv("YZ_SEED", "17")
    assert seeds(3) == [17]


def test_a_call_to_a_dead_node_fails_at_once() -> None:
    with World() as world:
        one, two = world.add_network(2)
        world.kill(two)
        world.run_for(1)
        began = world.now.mono
        result = world.get(one, PLACE)

        assert world.now.mono - began < 1
        assert (result.answered, result.asked) == (1, 2)


def test_a_broken_session_fails_its_calls_then_says_down() -> None:
    with World() as world:
        one, two = world.add_network(2)
        one.put(Pen(100).immutable(b"x").draft())
        world.kill(two)
        world.run_for(0.5)

        entry = one.engine.table.get(two.node_id)
        assert entry is not None
        assert not entry.has_session
        assert not one.flights


def test_a_session_to_a_silent_node_ends_after_a_minute() -> None:
    with World() as world:
        one, two = world.add_network(2)
        world.silence(two)
        world.run_for(SESSION_SILENT_S_MAX - 1)
        assert two.node_id in one.sessions
        world.run_for(2)
        assert two.node_id not in one.sessions


def test_a_short_cut_leaves_sessions_alone() -> None:
    with World() as world:
        one, two = world.add_network(2)
        session = one.sessions[two.node_id]
        world.partition([one], [two])
        world.run_for(20)
        world.heal()
        world.run_for(100)

        assert one.sessions[two.node_id] is session


def test_a_dial_across_a_cut_takes_its_time() -> None:
    with World() as world:
        one, two = world.add_node(), world.add_node()
        world.partition([one], [two])
        one.join(two)
        world.run_for(DIAL_TIMEOUT_S - 0.1)
        assert two.node_id in one.dials
        world.run_for(0.2)
        assert two.node_id not in one.dials
        assert not one.sessions


def test_a_lost_call_ends_at_its_deadline() -> None:
    with World() as world:
        one, two = world.add_network(2)
        world.weather.loss = 2.0
        began = world.now.mono
        world.run_until(lambda: not one.flights)
        one.put(Pen(100).immutable(b"x").draft())
        assert one.flights
        world.run_until(lambda: not one.flights)

        assert world.now.mono - began >= READ_TIMEOUT_S
        assert two.node_id in one.sessions


def test_another_node_at_an_address_is_the_wrong_one() -> None:
    with World() as world:
        one, two, three = (world.add_node() for _ in range(3))
        outcomes: list[object] = []
        one._tell = lambda number, outcome: outcomes.append(outcome)  # type: ignore[method-assign] # noqa: ARG005 - a witness
        one.join(two)
        world.run_for(1)
        wrong = replace(three.contact, urls=(two.url,))
        world.call(one, Call(1_000_000, wrong, Method.PING, Empty(), 1.0))
        world.run_for(5)

        assert Failed(FailReason.WRONG_ID) in outcomes


def test_a_restarted_node_has_its_records_and_its_peers() -> None:
    with World() as world:
        nodes = world.add_network(4)
        note = Pen(100).mutable("name", 1, b"value")
        world.put(nodes[0], note.draft())
        world.run_for(1)
        world.kill(nodes[3])
        world.run_for(60)
        world.restart(nodes[3])
        world.run_for(1)

        assert nodes[3].held_seq(note.target) == 1
        assert len(nodes[3].engine.table) == 3
        assert all(nodes[3].node_id in node.sessions for node in nodes[:3])


def test_an_answer_that_does_not_decode_is_garbage() -> None:
    with World() as world:
        one, two = world.add_network(2)
        two.responder = lambda _peer, _method, _body: (Status.OK, WhoAmI("host", 1, "ws"))
        world.get(one, PLACE)

        assert one.counts["garbage_answers", ""] >= 1


def test_verdicts_of_an_earlier_life_are_not_told() -> None:
    with World() as world:
        (node,) = world.add_network(1)
        world.weather.disk_s = 1.0
        op = node.put(Pen(100).immutable(b"x").draft())
        world.kill(node)
        world.restart(node)
        world.run_for(3)

        assert op not in node.results


# Worlds without sessions


def loose(size: int, **weather: Any) -> World:
    world = World(is_connected=False)
    world.weather = Weather(is_stable=True, spread=0.1, **weather)
    world.add_converged(size)
    return world


def loose_story(seed: int) -> int:
    with World(seed, is_connected=False) as world:
        world.weather = Weather(loss=0.1, doubling=0.1, overtaking=0.1, is_stable=True, dial_rtts=2)
        nodes = world.add_joined(12)
        note = Pen(100).mutable("name", 1, b"value")
        world.put(nodes[3], note.draft())
        world.kill(nodes[2])
        world.get(nodes[5], note.target)
        world.run_for(20)
    return world.trace


def test_a_world_without_sessions_replays_too() -> None:
    assert loose_story(1) == loose_story(1)
    assert loose_story(1) != loose_story(2)


def test_nodes_without_sessions_join_and_know_everybody() -> None:
    with World(is_connected=False) as world:
        world.add_joined(12)

        assert world.is_complete


def test_two_that_speak_are_told_so_once_in_their_lives() -> None:
    with World(is_connected=False) as world:
        one, two = world.add_joined(2)
        links: list[object] = []
        tell_engine = two.engine.on_link

        def note(peer: Peer, change: Up | Down, now: Now) -> None:
            links.append(change)
            tell_engine(peer, change, now)

        two.engine.on_link = note  # type: ignore[method-assign] # a witness
        world.get(one, PLACE)
        world.get(one, PLACE)
        assert links == []
        world.kill(one)
        world.restart(one, through=[two])
        world.run_for(5)

        assert links == [Up(None)]
        assert not any(entry.has_session for entry in [*one.engine.table, *two.engine.table])


def test_a_call_to_a_dead_node_without_a_session_ends_by_its_deadline() -> None:
    with loose(2) as world:
        one, two = world.nodes
        world.kill(two)
        one.get(PLACE)
        (call,) = one.flights
        began = world.now.mono
        world.run_until(lambda: call not in one.flights)

        assert world.now.mono - began == pytest.approx(READ_TIMEOUT_S)


def test_a_new_connection_takes_round_trips_and_a_warm_one_none() -> None:
    took = []
    with loose(2, dial_rtts=2) as world:
        one, two = world.nodes
        world.weather.spread = 0.0
        for _ in range(2):
            began = world.now.mono
            world.get(one, PLACE)
            took.append(world.now.mono - began)

        assert took[0] == pytest.approx(3 * took[1])
        assert two.node_id in one.rtts


def test_a_pair_has_its_own_latency() -> None:
    with loose(30) as world:
        weather = world.weather
        usual = [weather.usual_s(a, b) for a in world.nodes for b in world.nodes if a is not b]
        pair = [world.delay(*world.nodes[:2]) for _ in range(100)]

        assert max(usual) > 2 * min(usual)
        assert max(pair) < 2 * min(pair)
        assert weather.usual_s(*world.nodes[:2]) == weather.usual_s(*world.nodes[1::-1])


def test_messages_that_arrive_twice_and_out_of_order_break_nothing() -> None:
    with loose(12, doubling=0.5, overtaking=0.3, loss=0.05) as world:
        note = Pen(100).mutable("name", 1, b"value")
        assert world.put(world.nodes[0], note.draft()).accepted >= 5
        for node in world.nodes:
            assert world.get(node, note.target).records == [note.record]


def test_clocks_may_be_wrong() -> None:
    with loose(8) as world:
        early, fast = world.nodes[:2]
        early.skew_s, fast.drift = 1_000.0, 0.01
        world.run_for(100)
        ahead = Pen(100).mutable("name", 1, b"value", created=int(early.now().wall))

        assert fast.now().mono - world.now.mono == pytest.approx(0.01 * world.now.mono)
        assert world.put(early, ahead.draft()).refusal is Status.BAD_LIFETIME
        note = Pen(100).mutable("name", 2, b"value")
        world.put(fast, note.draft())
        assert world.get(fast, note.target).records == [note.record]


def test_spoiled_clocks_differ_by_less_than_is_allowed() -> None:
    with World(is_connected=False) as world:
        world.spoil_clocks()
        nodes = [world.add_node() for _ in range(20)]
        walls = [node.now().wall for node in nodes]

        assert CLOCK_SKEW_S / 2 < max(walls) - min(walls) < CLOCK_SKEW_S
        assert len({node.drift for node in nodes}) == 20


def test_who_leaves_is_gone() -> None:
    with loose(12) as world:
        note = Pen(100).mutable("name", 1, b"value")
        world.put(world.nodes[0], note.draft())
        world.run_for(1)
        leaver = world.nearest(note.target, 1)[0]
        world.leave(leaver)
        world.run_for(30)

        assert not leaver.is_up
        assert leaver.has_left


def test_converged_tables_hold_what_a_network_at_rest_knows() -> None:
    with loose(400) as world:
        for node in world.nodes[::40]:
            table = node.engine.table
            assert not table.is_small
            for index, entries, _ in table.bucket_sizes():
                others = (int.from_bytes(n.node_id) for n in world.nodes if n is not node)
                own = int.from_bytes(node.node_id)
                there = sum(1 for other in others if 256 - (other ^ own).bit_length() == index)
                assert entries == min(there, BUCKET_SIZE)
            check_node(node)
    with loose(50) as world:
        assert world.is_complete


def test_invariants_are_looked_at_while_time_passes() -> None:
    with loose(5) as world:
        world.check_every = 1
        world.run_for(1)
        world.nodes[3].engine._errands[77] = None  # type: ignore[assignment] # whatever it is, nobody carries it
        with pytest.raises(AssertionError, match="node 3 waits for calls that nobody carries"):
            world.get(world.nodes[0], PLACE)


def test_a_call_that_no_session_and_no_dial_carries_is_noticed() -> None:
    with World() as world:
        nodes = world.add_network(4)
        assert world.check_every > 0
        nodes[2].engine._errands[77] = None  # type: ignore[assignment] # whatever it is, nobody carries it
        with pytest.raises(AssertionError, match="node 2 waits for calls that nobody carries"):
            world.run_for(3_600)
