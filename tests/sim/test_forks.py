from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.sim.forks import StoryFailed, tell
from tests.sim.world import World, replay_of


ROOT = Path(__file__).parent.parent.parent
LONG_TEST = """
import pytest
from tests.sim.forks import tell
from tests.sim.test_forks import fail_at_two, small
from tests.sim.world import seeds

@pytest.mark.soak
def test_long_form():
    tell(small, [fail_at_two], seeds(1))
"""
SETTINGS = """
[pytest]
addopts = -p no:cacheprovider -m "not soak"
markers = soak: the long form
"""


def small() -> World:
    world = World(5)
    world.add_network(3)
    return world


def draw(world: World) -> list[object]:
    world.run_for(1)
    return [world.seed, world.random.random(), len(world.nodes)]


def fail_at_two(world: World) -> int:
    assert world.seed != 2, "two is wrong"
    return world.seed


def die_at_one(world: World) -> int:
    if world.seed == 1:
        os._exit(7)
    return world.seed


def last_for_ever(world: World) -> None:
    while True:
        world.seed += 1


def refuse() -> World:
    raise ValueError("no world today")


def test_every_seed_continues_the_same_world_in_its_own_way() -> None:
    told = tell(small, [draw], range(5))

    assert sorted(told.results[0]) == [0, 1, 2, 3, 4]
    assert all(result[0] == seed and result[2] == 3 for seed, result in told.results[0].items())
    assert len({result[1] for result in told.results[0].values()}) == 5
    assert told.cpu_s > 0


def test_several_stories_share_a_world() -> None:
    told = tell(small, [draw, fail_at_two], [0, 1])

    assert told.results[1] == {0: 0, 1: 1}
    assert told.results[0].keys() == {0, 1}


def test_a_seed_alone_tells_what_it_told_among_others() -> None:
    assert tell(small, [draw], [3]).results[0][3] == tell(small, [draw], range(4)).results[0][3]


def test_a_failure_comes_back_with_the_line_that_replays_it() -> None:
    with pytest.raises(StoryFailed) as caught:
        tell(small, [fail_at_two], range(4))

    text = str(caught.value)
    test = "tests/sim/test_forks.py::test_a_failure_comes_back_with_the_line_that_replays_it"
    assert "two is wrong" in text
    assert replay_of(2).endswith(f"YZ_SEED=2 pytest -m '' '{test}'")
    assert replay_of(2) in text
    assert "1 of 4 stories failed" in text


def test_the_line_that_replays_a_failure_of_a_long_form_does_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "test_long.py").write_text(LONG_TEST)
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "test_long.py::test_long_form (call)")
    line = replay_of(2).removeprefix("replay with: ")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["/bin/sh", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "two is wrong" in done.stdout
    assert line in done.stdout


def test_a_child_that_dies_is_a_failure() -> None:
    with pytest.raises(StoryFailed, match="the story of seed 1 died"):
        tell(small, [die_at_one], range(3))


def test_a_story_that_does_not_end_is_ended() -> None:
    with pytest.raises(StoryFailed, match="took too long"):
        tell(small, [last_for_ever], [1], within_s=1.0)


def test_a_world_that_cannot_be_built_is_a_failure() -> None:
    with pytest.raises(StoryFailed, match="no world today"):
        tell(refuse, [draw], [1])


def test_nothing_is_left_behind() -> None:
    before = set(psutil.Process().children(recursive=True))
    tell(small, [draw], range(3))
    with pytest.raises(StoryFailed):
        tell(small, [last_for_ever], range(2), within_s=0.5)

    assert set(psutil.Process().children(recursive=True)) == before
    assert gc.get_freeze_count() == 0
