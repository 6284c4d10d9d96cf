"""Requests in turns of the loop: who asked little goes before who has had its share."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given, strategies as st

from yzdht.limits import (
    REQUESTS_OF_BUSY_PER_LOOP_TURN,
    REQUESTS_OF_HEAVY_PER_LOOP_TURN,
    REQUESTS_PER_LOOP_TURN,
    REQUESTS_PER_SESSION_AND_LOOP_TURN,
    TURNS_WITHOUT_LIGHT,
)
from yzdht.sessions.request_turns import RequestTurns


EACH = REQUESTS_PER_SESSION_AND_LOOP_TURN
SERVED_PER_TURN_MAX = REQUESTS_PER_LOOP_TURN + REQUESTS_OF_HEAVY_PER_LOOP_TURN


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Desk:
    """Sessions with what they ask, and who was served in which order."""

    def __init__(self) -> None:
        self.turns = RequestTurns(
            asyncio.get_running_loop(), self.serve, lambda comer: comer.startswith("node")
        )
        self.backlog: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        self.served: list[str] = []

    def ask(self, comer: str, times: int = 1, *, is_busy: bool = False) -> int:
        """Send so many requests within this turn; return how many are served at once."""
        at_once = 0
        waiting = self.late if is_busy else self.backlog
        for _ in range(times):
            if not waiting[comer] and self.turns.is_now(comer, is_busy=is_busy):
                at_once += 1
            else:
                waiting[comer] += 1
        return at_once

    def serve(self, comer: str, *, is_busy: bool) -> None:
        self.served.append(comer)
        is_late = (is_busy is not False and self.late[comer] > 0) or not self.backlog[comer]
        (self.late if is_late else self.backlog)[comer] -= 1
        assert self.late[comer] >= 0
        if self.backlog[comer]:
            self.turns.wait(comer)
        if self.late[comer]:
            self.turns.wait(comer, is_busy=True)


async def test_who_asks_little_is_served_at_once() -> None:
    desk = Desk()

    assert desk.ask("a", EACH) == EACH
    assert desk.ask("b") == 1


async def test_who_asks_much_has_its_share_in_each_turn() -> None:
    desk = Desk()

    assert desk.ask("a", 3 * EACH) == EACH
    assert desk.served == []
    await turns(1)
    assert desk.served == ["a"] * REQUESTS_OF_HEAVY_PER_LOOP_TURN
    await turns(2 * EACH)
    assert desk.served == ["a"] * 2 * EACH


async def test_a_turn_serves_so_many() -> None:
    desk = Desk()

    assert (
        sum(desk.ask(f"s{number}") for number in range(3 * REQUESTS_PER_LOOP_TURN)) == REQUESTS_PER_LOOP_TURN
    )
    await turns(1)
    assert len(desk.served) == REQUESTS_PER_LOOP_TURN
    await turns(2)
    assert desk.served == [
        f"s{number}" for number in range(REQUESTS_PER_LOOP_TURN, 3 * REQUESTS_PER_LOOP_TURN)
    ]


async def test_a_crowd_that_asks_much_keeps_nobody_waiting_who_asks_little() -> None:
    desk = Desk()
    crowd = [f"crowd {number}" for number in range(100)]
    for each in crowd:
        desk.turns.wait(each, is_heavy=True)
        desk.backlog[each] = 50

    for turn in range(20):
        await turns(1)
        assert desk.ask(f"little {turn}") == 1
    assert len(desk.served) == 20 * REQUESTS_OF_HEAVY_PER_LOOP_TURN
    assert desk.served == crowd[: len(desk.served)]


async def test_a_crowd_that_asks_little_leaves_a_share_to_who_asks_much() -> None:
    desk = Desk()
    desk.ask("much", 100)

    for turn in range(10):
        for number in range(2 * REQUESTS_PER_LOOP_TURN):
            desk.ask(f"{turn} {number}")
        await turns(1)
    assert desk.served.count("much") == 10 * REQUESTS_OF_HEAVY_PER_LOOP_TURN


async def test_while_a_crowd_asks_about_the_same_whoever_asks_about_something_else_is_served_at_once() -> (
    None
):
    desk = Desk()
    crowd = [f"crowd {number}" for number in range(200)]
    at_once = sum(desk.ask(each, is_busy=True) for each in crowd)
    assert at_once == REQUESTS_PER_LOOP_TURN // 2

    for turn in range(20):
        await turns(1)
        assert desk.ask(f"other {turn}") == 1
        assert desk.ask(crowd[0], is_busy=True) == 0
    assert len(desk.served) == 20 * REQUESTS_OF_BUSY_PER_LOOP_TURN
    assert desk.served == crowd[at_once:][: len(desk.served)]


async def test_a_crowd_that_asks_about_the_same_has_whole_turns_while_nobody_else_comes() -> None:
    desk = Desk()
    crowd = [f"crowd {number}" for number in range(200)]
    for each in crowd:
        desk.ask(each, is_busy=True)
    await turns(TURNS_WITHOUT_LIGHT)
    assert len(desk.served) == TURNS_WITHOUT_LIGHT * REQUESTS_OF_BUSY_PER_LOOP_TURN

    await turns(1)
    assert len(desk.served) == TURNS_WITHOUT_LIGHT * REQUESTS_OF_BUSY_PER_LOOP_TURN + REQUESTS_PER_LOOP_TURN


async def test_others_leave_a_share_to_a_crowd_that_asks_about_the_same() -> None:
    desk = Desk()
    for number in range(100):
        desk.ask(f"crowd {number}", is_busy=True)

    for turn in range(10):
        for number in range(2 * REQUESTS_PER_LOOP_TURN):
            desk.ask(f"{turn} {number}")
        await turns(1)
    assert len([each for each in desk.served if each.startswith("crowd")]) == (
        10 * REQUESTS_OF_BUSY_PER_LOOP_TURN
    )


async def test_one_node_of_the_table_has_half_of_what_is_served_to_a_crowd_that_asks_about_the_same() -> None:
    desk = Desk()
    crowd = [f"crowd {number}" for number in range(200)]
    for each in crowd:
        desk.turns.wait(each, is_busy=True)
        desk.late[each] = 10
    assert desk.ask("node", 10, is_busy=True) == 0

    for turn in range(5):
        await turns(1)
        assert desk.ask(f"other {turn}") == 1
    assert len(desk.served) == 5 * REQUESTS_OF_BUSY_PER_LOOP_TURN
    assert desk.served[::2] == ["node"] * 10
    assert desk.served[1::2] == crowd[:10]


async def test_nodes_of_the_table_take_turns_and_leave_half_to_strangers() -> None:
    desk = Desk()
    nodes = [f"node {number}" for number in range(20)]
    for each in (*nodes, "stranger"):
        desk.turns.wait(each, is_busy=True)
        desk.late[each] = 30

    for _ in range(5):
        await turns(1)
        desk.ask("other")
    assert desk.served[::2] == nodes[: 5 * REQUESTS_OF_BUSY_PER_LOOP_TURN // 2]
    assert set(desk.served[1::2]) == {"stranger"}


async def test_where_only_nodes_of_the_table_wait_or_only_strangers_they_have_all_of_it() -> None:
    for comer in ("node", "stranger"):
        desk = Desk()
        desk.turns.wait(comer, is_busy=True)
        desk.late[comer] = 3 * REQUESTS_OF_BUSY_PER_LOOP_TURN
        await turns(3)
        assert desk.served == [comer] * 3 * REQUESTS_OF_BUSY_PER_LOOP_TURN


async def test_nodes_of_the_table_that_wait_are_not_overtaken_and_none_is_left_waiting() -> None:
    desk = Desk()
    nodes = [f"node {number}" for number in range(3 * REQUESTS_OF_BUSY_PER_LOOP_TURN)]
    for each in nodes:
        desk.turns.wait(each, is_busy=True)
        desk.late[each] = 1
    assert len(desk.turns) == len(nodes)
    assert desk.ask("stranger", is_busy=True) == 0

    desk.turns.forget(nodes[-1])
    await turns(4)
    assert set(desk.served) == {*nodes[:-1], "stranger"}
    assert len(desk.turns) == 0


async def test_who_enters_or_leaves_the_table_while_it_waits_waits_once() -> None:
    known: set[str] = set()
    served: list[str] = []

    def serve(comer: str, *, is_busy: bool) -> None:
        assert is_busy
        served.append(comer)

    line = RequestTurns(asyncio.get_running_loop(), serve, known.__contains__)
    line.wait("a", is_busy=True)
    known.add("a")
    line.wait("a", is_busy=True)
    assert len(line) == 1
    await turns(1)

    line.wait("a", is_busy=True)
    known.clear()
    line.wait("a", is_busy=True)
    assert len(line) == 1
    await turns(2)
    assert served == ["a", "a"]


async def test_what_a_node_of_the_table_asks_about_other_things_has_its_share_all_the_same() -> None:
    desk = Desk()
    for number in range(100):
        desk.turns.wait(f"crowd {number}", is_busy=True)
        desk.late[f"crowd {number}"] = 50
        desk.turns.wait(f"much {number}", is_heavy=True)
        desk.backlog[f"much {number}"] = 50
    desk.ask("node", 500, is_busy=True)

    for is_alone in (False, True):
        for turn in range(2 * TURNS_WITHOUT_LIGHT):
            if not is_alone:
                desk.ask(f"other {is_alone} {turn}")
            await turns(1)
        before = desk.late["node"]
        at_once = desk.ask("node", EACH)
        await turns(1)
        assert at_once + desk.served[-SERVED_PER_TURN_MAX:].count("node") >= EACH
        assert desk.backlog["node"] == 0
        assert desk.late["node"] < before


async def test_a_session_that_brings_both_has_the_others_served_before_those_about_the_same() -> None:
    desk = Desk()
    for number in range(100):
        desk.ask(f"crowd {number}", is_busy=True)
    desk.ask("link", 50, is_busy=True)

    for _ in range(10):
        assert desk.ask("link") == 1
        await turns(1)
    assert "link" not in desk.served


async def test_what_goes_after_others_has_no_part_of_what_is_for_who_asked_much() -> None:
    desk = Desk()
    for number in range(300):
        desk.turns.wait(f"crowd {number}", is_busy=True)
        desk.late[f"crowd {number}"] = 50
    desk.ask("much", 3 * EACH)

    await turns(2)
    assert desk.served.count("much") == 2 * EACH
    assert len(desk.served) == 2 * EACH + 2 * REQUESTS_OF_BUSY_PER_LOOP_TURN


async def test_who_is_forgotten_is_not_served() -> None:
    desk = Desk()
    desk.ask("a", EACH + 1)
    desk.ask("b", EACH + 1)
    assert len(desk.turns) == 2

    desk.turns.forget("a")
    desk.turns.forget("nobody")
    await turns(2)

    assert desk.served == ["b"]
    assert len(desk.turns) == 0


async def test_one_that_is_served_may_have_others_forgotten() -> None:
    loop = asyncio.get_running_loop()
    served: list[int] = []

    def serve(comer: int, *, is_busy: bool) -> None:
        assert not is_busy
        served.append(comer)
        line.forget(comer + 1)

    line = RequestTurns(loop, serve)
    for comer in range(4):
        line.wait(comer, is_heavy=True)
    for comer in range(10, 14):
        line.wait(comer)
    await turns(3)

    assert served == [0, 2, 10, 12]


async def test_who_waits_waits_once() -> None:
    desk = Desk()
    desk.backlog["a"] = 1
    for _ in range(3):
        desk.turns.wait("a")
        desk.turns.wait("a", is_heavy=True)

    assert len(desk.turns) == 1
    desk.late["a"] = 1
    for _ in range(3):
        desk.turns.wait("a", is_busy=True)
    assert len(desk.turns) == 2
    await turns(3)
    assert desk.served == ["a", "a"]


async def test_a_line_that_is_empty_leaves_the_loop_alone() -> None:
    desk = Desk()
    desk.ask("a")
    await turns(2)

    assert not desk.turns._is_armed


@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(("a", "b", "c", "d", "node e", "node f")), st.integers(1, 60), st.booleans()
            ),
            max_size=12,
        ),
        max_size=12,
    )
)
def test_everybody_is_served_what_it_asked_and_a_turn_no_more_than_its_bound(
    asked: list[list[tuple[str, int, bool]]],
) -> None:
    async def story() -> None:
        desk = Desk()
        expected: Counter[str] = Counter()
        done: Counter[str] = Counter()
        for burst in asked:
            before, at_once = len(desk.served), 0
            for comer, times, is_busy in burst:
                expected[comer] += times
                now = desk.ask(comer, times, is_busy=is_busy)
                done[comer] += now
                at_once += now
            assert at_once <= REQUESTS_PER_LOOP_TURN
            await turns(1)
            assert len(desk.served) - before <= SERVED_PER_TURN_MAX
        await turns(sum(expected.values()) + 2)
        assert done + Counter(desk.served) == expected
        assert len(desk.turns) == 0

    asyncio.run(story())
