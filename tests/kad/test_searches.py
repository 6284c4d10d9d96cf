from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.kad.crowd import Crowd, named
from tests.kad.kit import at, node_id, number_of
from tests.sim.authors import WALL, Pen
from tests.sim.world import seeds
from yzdht.ids import Target
from yzdht.kad.turns import NoRoom
from yzdht.kad.write import WriteResult
from yzdht.limits import CONTACTS_PER_ANSWER_MAX, DELEGATED_REQUESTS_PER_PATH, HOUR_S, REPLICAS
from yzdht.rpc.engine import Answer
from yzdht.wire.rpc import Empty, FindNode, FindValue, FoundNodes, FoundValue, Refusal, Status, Store


if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.authors import Note
    from yzdht.kad.read import Read, ReadResult
    from yzdht.wire.rpc import Body


PEN = Pen(100)
SIZE = 600


def note(number: int) -> Note:
    return PEN.mutable(f"name {number}", 5, b"value")


def put(crowd: Crowd, written: Note, cas: int | None = None) -> WriteResult:
    results: list[WriteResult] = []
    crowd.searches.write(written.draft(cas), b"", lambda result, _at: results.append(result), at(0.0))
    crowd.run()
    return results[0]


def get(crowd: Crowd, target: Target, paths: int = 1) -> ReadResult:
    results: list[ReadResult] = []
    crowd.searches.read(target, lambda result, _at: results.append(result), at(0.0), paths)
    crowd.run()
    return results[0]


def find(crowd: Crowd, target: Target, wanted: int) -> list[int]:
    found: list[list[int]] = []

    def finish(lookup: object, _at: object) -> None:
        found.append([number_of(c) for c in lookup.closest()])  # type: ignore[attr-defined] # a Lookup

    crowd.searches.find(target, wanted, finish, at(0.0))
    crowd.run()
    return found[0]


@pytest.mark.parametrize("seed", seeds(5)[:50])
@pytest.mark.parametrize(("dead_share", "missed_max"), [(0.0, 0), (0.2, 2), (0.5, 8)])
def test_a_lookup_finds_the_exact_nearest_live_nodes(seed: int, dead_share: float, missed_max: int) -> None:
    """The tables are those of before the deaths: with half of their nodes dead some of the living are known to nobody."""
    crowd = Crowd(seed, SIZE, int(SIZE * dead_share))
    targets = [crowd.target() for _ in range(10)]

    right = sum(len({*find(crowd, t, REPLICAS)} & {*crowd.nearest(t, REPLICAS)}) for t in targets)

    assert right >= REPLICAS * len(targets) - missed_max


@pytest.mark.parametrize("seed", seeds(5)[:50])
@pytest.mark.parametrize("dead_share", [0.0, 0.2])
def test_a_record_goes_to_the_nearest_live_nodes_and_is_found_there(seed: int, dead_share: float) -> None:
    crowd = Crowd(seed, SIZE, int(SIZE * dead_share))
    for number in range(5):
        written = note(number)
        result = put(crowd, written)
        assert result.accepted >= result.needed == 5
        nearest = {*crowd.nearest(written.target, REPLICAS, with_own=True)} - {crowd.own}
        assert len(nearest & crowd.holders(written.target)) >= len(nearest) - 1

        assert get(crowd, written.target).records == [written.record]


def test_what_nobody_holds_is_not_found_by_a_full_quorum() -> None:
    crowd = Crowd(1, SIZE)
    result = get(crowd, note(1).target)

    assert result.records == []
    assert result.answered == result.asked == REPLICAS


def test_everybody_on_the_way_is_asked_once() -> None:
    crowd = Crowd(1, SIZE)
    get(crowd, note(1).target)
    asked = [point for point, _ in crowd.asked]

    assert len(asked) == len(set(asked)) <= 3 * REPLICAS


def test_a_far_write_with_cas_reads_first_and_stores_once() -> None:
    crowd = Crowd(1, SIZE)
    first, second = PEN.mutable("name", 1), PEN.mutable("name", 2)
    assert put(crowd, first, cas=0).refusal is Status.OK
    assert put(crowd, second, cas=0) == WriteResult(
        0, 8, 5, Status.CAS_MISMATCH, Refusal(1, first.record.hash)
    )
    assert put(crowd, second, cas=1).accepted >= 5

    assert get(crowd, first.target).records == [second.record]


def test_a_liar_that_invents_neighbours_denies_no_write_with_cas() -> None:
    crowd = Crowd(4, SIZE)
    written = note(7)
    invented = [int.from_bytes(written.target) ^ n for n in range(1, 21)]
    for liar in crowd.nearest(written.target, 12)[8:]:
        crowd.liars[liar] = lambda _body: Answer(Status.OK, FoundValue((), named(invented)))
    crowd.dead.update(invented)

    result = put(crowd, written, cas=0)

    assert (result.refusal, result.accepted >= result.needed) == (Status.OK, True)


@pytest.mark.parametrize("reachable", [0, 1, 3])
def test_a_write_does_not_count_itself_enough_where_nobody_can_be_reached(reachable: int) -> None:
    crowd = Crowd(1, SIZE)
    written = note(1)
    crowd.unreachable = {*crowd.points} - {*crowd.nearest(written.target, reachable)}
    result = put(crowd, written)

    assert (result.asked, result.needed) == (REPLICAS, REPLICAS // 2 + 1)
    assert result.accepted < result.needed


@pytest.mark.parametrize(("size", "dead"), [(2, 0), (3, 1), (9, 2)])
def test_few_nodes_are_no_crowd_however_near(size: int, dead: int) -> None:
    crowd = Crowd(3, size, dead)
    crowd.table._refuse(1)  # diversity kept somebody out: from now on not everybody is known
    assert not crowd.table.knows_everybody
    for number in range(60):
        result = put(crowd, note(number))
        assert result.accepted >= result.needed

    assert not crowd.counted


# Disjoint paths


def silent_about(crowd: Crowd, colluders: list[int]) -> None:
    """Colluders show no record and name only each other."""

    def lie(body: Body) -> Answer:
        if isinstance(body, Store):
            return Answer(Status.OK, Empty())
        others = named(colluders[:CONTACTS_PER_ANSWER_MAX])
        is_walk = isinstance(body, FindNode)
        return Answer(Status.OK, FoundNodes(others) if is_walk else FoundValue((), others))

    crowd.liars.update(dict.fromkeys(colluders, lie))


def test_paths_are_disjoint_and_the_record_is_found_where_the_nearest_hide_it() -> None:
    crowd = Crowd(2, SIZE)
    written = note(3)
    put(crowd, written)
    ground = crowd.add_nearest(written.target, 40)
    silent_about(crowd, ground)
    crowd.asked.clear()

    assert get(crowd, written.target, paths=3).records == [written.record]
    walks = [point for point, body in crowd.asked if isinstance(body, FindNode)]
    assert len(walks) == len(set(walks))


def test_a_record_written_among_ground_ids_is_found_around_them() -> None:
    crowd = Crowd(2, SIZE)
    written = note(3)
    ground = crowd.add_nearest(written.target, 40)
    silent_about(crowd, ground)
    result = put(crowd, written)
    assert crowd.counted == ["crowds_met"]
    assert result.accepted >= result.needed

    assert get(crowd, written.target, paths=3).records == [written.record]


def besieged(written: Note, stale: Note | None = None) -> Crowd:
    """A record that forty ground ids hide, or show an older one of."""
    crowd = Crowd(2, SIZE)
    put(crowd, written)
    ground = crowd.add_nearest(written.target, 40)
    silent_about(crowd, ground)
    if stale is not None:
        shown = Answer(Status.OK, FoundValue((stale.raw,), named(ground[:CONTACTS_PER_ANSWER_MAX])))
        silent = crowd.liars[ground[0]]
        for point in ground:
            crowd.liars[point] = lambda body: shown if isinstance(body, FindValue) else silent(body)
    crowd.asked.clear()
    return crowd


@pytest.mark.parametrize("paths", [1, 3])
@pytest.mark.parametrize("stale", [None, PEN.mutable("name 3", 4, b"older")])
def test_a_crowd_neither_hides_a_record_nor_makes_an_older_one_pass(paths: int, stale: Note | None) -> None:
    written = note(3)
    crowd = besieged(written, stale)

    assert get(crowd, written.target, paths).records == [written.record]


def test_a_crowd_that_is_wider_than_it_seems_is_gone_around_all_the_same() -> None:
    crowd = Crowd(3, SIZE)
    written = note(3)
    usual = 2**256 * REPLICAS // SIZE
    middle = int.from_bytes(written.target)
    spread = [middle ^ crowd.random.randrange(usual) for _ in range(200)]
    ground = crowd.add_nearest(written.target, 40)
    for point in crowd.nearest(written.target, 64):
        if point not in ground:
            crowd._tables[point] = crowd._table_of(point) + spread
    for point in spread:
        crowd._tables[point] = spread
    crowd.points += spread
    silent_about(crowd, [*ground, *spread])

    result = put(crowd, written)

    honest = crowd.holders(written.target) - {*crowd.liars}
    assert result.accepted >= result.needed
    assert len(honest) >= REPLICAS - 2
    assert get(crowd, written.target).records == [written.record]


def test_a_crowd_costs_a_read_three_walks_more() -> None:
    written = note(3)
    crowd = besieged(written)
    get(crowd, written.target)

    assert "crowds_met" in crowd.counted
    assert len(crowd.asked) <= 6 * DELEGATED_REQUESTS_PER_PATH


def test_what_is_missing_around_a_crowd_too_is_not_found() -> None:
    crowd = besieged(note(3))
    crowd.records.clear()
    result = get(crowd, note(3).target)

    assert (result.records, result.answered >= result.needed) == ([], True)


def refusing(crowd: Crowd, answer: Answer) -> None:
    """Whoever lies refuses every record as well."""
    for point, lie in crowd.liars.copy().items():
        crowd.liars[point] = partial(_refuse, answer, lie)


def _refuse(answer: Answer, lie: Callable[[Body], Answer], body: Body) -> Answer:
    return answer if isinstance(body, Store) else lie(body)


def _show(answer: Answer, lie: Callable[[Body], Answer], body: Body) -> Answer:
    return answer if isinstance(body, FindValue) else lie(body)


REFUSALS = [
    Answer(Status.SEQ_TOO_LOW, Refusal(2**40, bytes(32))),
    Answer(Status.CAS_MISMATCH, Refusal(2**40, bytes(32))),
    Answer(Status.OVER_QUOTA, Refusal()),
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_crowd_that_refuses_has_no_veto(refusal: Answer) -> None:
    written = note(3)
    crowd = besieged(PEN.mutable("name 3", 4, b"older"))
    refusing(crowd, refusal)
    result = put(crowd, written)

    assert result.accepted >= result.needed
    assert len(crowd.holders(written.target)) >= REPLICAS
    assert get(crowd, written.target).records == [written.record]


def test_what_a_crowd_alone_takes_is_not_stored() -> None:
    crowd = besieged(note(3))
    shown = Answer(Status.OK, FoundValue((note(3).raw,)))
    others = [point for point in crowd.points if point not in crowd.liars]
    for point in others:
        honest = partial(crowd._answer, point)
        crowd.liars[point] = partial(_refuse, Answer(Status.BUSY, Refusal()), honest)
    for point in crowd.points[len(others) :]:
        crowd.liars[point] = partial(_show, shown, crowd.liars[point])
    crowd.searches.is_storing = False
    result = put(crowd, note(3))

    assert result.accepted < result.needed


def test_a_crowd_that_has_something_newer_and_shows_it_refuses_with_reason() -> None:
    newer = PEN.mutable("name 3", 6, b"newer")
    crowd = besieged(note(3), stale=newer)
    refusing(crowd, REFUSALS[0])
    result = put(crowd, note(3))

    assert (result.accepted, result.refusal) == (0, Status.SEQ_TOO_LOW)


def test_a_record_beside_a_crowd_is_looked_after_around_it() -> None:
    written = PEN.mutable("name", 5, b"value", created=WALL - HOUR_S)
    crowd = besieged(written)
    *lost, keeper = crowd.nearest(written.target, 48)[40:]
    for point in lost:
        del crowd.records[point]
    assert crowd.holders(written.target) == {keeper}
    reads: list[Read] = []
    crowd.searches.look_after(written.target, {}, NoRoom(), lambda read, _at: reads.append(read), at(0.0))
    crowd.run()

    assert reads[0].plan.is_around
    assert reads[0].requests == len(crowd.asked)
    assert len(crowd.holders(written.target) - {*crowd.liars}) >= REPLICAS - 1


def test_a_holder_in_the_midst_of_a_crowd_looks_after_what_only_it_has() -> None:
    crowd = Crowd(2, SIZE)
    target_here = Target((crowd.own ^ 1).to_bytes(32))
    silent_about(crowd, crowd.add_nearest(target_here, 40))
    crowd.asked.clear()
    reads: list[Read] = []
    crowd.searches.look_after(target_here, {}, NoRoom(), lambda read, _at: reads.append(read), at(0.0))
    crowd.run()

    assert reads[0].plan.is_around
    assert node_id(crowd.own) in reads[0].plan.witnesses


def test_what_no_crowd_is_at_is_looked_after_where_it_is() -> None:
    crowd = Crowd(2, SIZE)
    put(crowd, note(3))
    crowd.asked.clear()
    reads: list[Read] = []
    crowd.searches.look_after(note(3).target, {}, NoRoom(), lambda read, _at: reads.append(read), at(0.0))
    crowd.run()

    assert not reads[0].plan.is_around
    assert not any(isinstance(body, FindNode) for _, body in crowd.asked)


def test_nodes_that_are_only_named_and_do_not_answer_are_no_crowd() -> None:
    crowd = Crowd(4, SIZE)
    written = note(7)
    put(crowd, written)
    invented = [int.from_bytes(written.target) ^ n for n in range(1, 21)]
    for liar in crowd.nearest(written.target, 12)[8:]:
        crowd.liars[liar] = lambda _body: Answer(Status.OK, FoundValue((), named(invented)))
    crowd.dead.update(invented)

    assert get(crowd, written.target).records == [written.record]
    assert "crowds_met" not in crowd.counted


@pytest.mark.parametrize("is_write", [False, True])
def test_where_too_few_are_reached_around_a_crowd_it_has_the_say(*, is_write: bool) -> None:
    written = note(3)
    crowd = besieged(written)
    others = {*crowd.points} - {*crowd.liars}
    answers = crowd.liars.copy()

    def answer_and_cut_off(point: int, body: Body) -> Answer:
        if len({p for p, _ in crowd.asked} & {*answers}) == REPLICAS:
            crowd.unreachable = others
        return answers[point](body)

    crowd.liars.update({point: partial(answer_and_cut_off, point) for point in answers})
    if is_write:
        crowd.searches.is_storing = False
        result = put(crowd, written)
        assert (crowd.counted, result.accepted >= result.needed) == (["crowds_met"], True)
    else:
        crowd.records.clear()
        found = get(crowd, written.target)
        assert (crowd.counted, found.records, found.answered >= found.needed) == (["crowds_met"], [], True)


def test_a_record_beside_the_target_of_ground_ids_is_written_around_them_too() -> None:
    crowd = Crowd(3, SIZE)
    written = note(3)
    usual = 2**256 * REPLICAS // SIZE
    attacked = Target((int.from_bytes(written.target) ^ usual // 3).to_bytes(32))
    ground = crowd.add_nearest(attacked, 40)
    silent_about(crowd, ground)
    near = crowd.nearest(written.target, REPLICAS)
    assert {*near} <= {*ground}

    result = put(crowd, written)

    assert crowd.counted == ["crowds_met"]
    assert result.accepted >= result.needed
    assert len(crowd.holders(written.target)) >= REPLICAS
    assert get(crowd, written.target, paths=3).records == [written.record]


def test_paths_in_a_small_network_ask_all_of_the_nearest() -> None:
    crowd = Crowd(2, 60)
    written = note(3)
    put(crowd, written)
    crowd.asked.clear()

    assert get(crowd, written.target, paths=3).records == [written.record]
    assert {p for p, _ in crowd.asked} >= {*crowd.nearest(written.target, REPLICAS, with_own=True)} - {
        crowd.own
    }


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_paths_end_however_few_are_known(size: int) -> None:
    crowd = Crowd(2, size)

    assert get(crowd, note(3).target, paths=3).records == []


def test_points_that_were_reached_are_told() -> None:
    crowd = Crowd(1, SIZE)
    reached: list[object] = []
    crowd.searches.on_approached = lambda point, _now: reached.append(point)
    written = note(1)
    put(crowd, written)
    get(crowd, written.target)
    find(crowd, written.target, 3)

    assert reached == [written.target] * 3
