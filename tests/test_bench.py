"""The scripts of bench/ that start networks: tiny runs, to see that they work; their figures are for `make bench`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.kit.aims import Aim, percentile


ROOT = Path(__file__).parent.parent
TINY = ("--nodes", "4", "--rounds", "1", "--count", "4", "--killed-gets", "10", "--classic-gets", "0")
TALK = ("--rounds", "1", "--count", "5")


def run(script: str, *flags: str) -> str:
    command = [sys.executable, str(ROOT / "bench" / script), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout


def rows(script: str, *names: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(run(script, *TINY, "--json", *(f"--only={name}" for name in names)))
    return shown


@pytest.mark.process
@pytest.mark.parametrize("script", ["network.py", "forked.py"])
def test_a_trial_measures_every_network_before_and_after_a_part_of_it_was_killed(script: str) -> None:
    shown = rows(script, "yzdht, no fsync", "kademlia, ksize 8")

    assert list(shown) == ["yzdht, no fsync", "kademlia, ksize 8"]
    for row in shown.values():
        assert row["failed"] == {"before": 0, "killed": 0}
        assert all(len(row["cpu_ms"][verb]) == 1 and row["cpu_ms"][verb][0] > 0 for verb in ("put", "get"))
        assert all(len(row["took_ms"][verb]) == 4 for verb in ("put", "get"))
    assert len(shown["yzdht, no fsync"]["killed_ms"]["get"]) == 10
    assert len(shown["yzdht, no fsync"]["killed_ms"]["put"]) == 10


@pytest.mark.process
def test_the_footprint_of_a_node_alone_and_of_a_small_network_is_shown_beside_the_aims() -> None:
    shown = run("footprint.py", "--nodes", "2", "--records", "3")

    assert shown.count(" aim ") == 4
    assert "2 nodes of yz testnet, 3 records" in shown


def test_sealing_and_opening_is_measured_for_every_kind_of_reader() -> None:
    lines = run("sealing.py", "--rounds", "1", "--count", "1").splitlines()

    names = [line[:24].strip() for line in lines[2:]]
    assert names == [
        "public",
        "for oneself",
        "for 1 people",
        "for 8 people",
        "for 32 people",
        "for a group",
        "a state of 50 members",
        "a state of 255 members",
    ]
    assert all(line.count("x") >= 3 for line in lines[2:])


@pytest.mark.process
def test_the_share_of_encryption_is_measured_for_puts_and_gets() -> None:
    shown = json.loads(run("sealing_share.py", "--nodes", "3", "--rounds", "1", "--count", "2", "--json"))

    assert list(shown) == ["yzdht, fsync", "yzdht, no fsync"]
    for verbs in shown.values():
        assert list(verbs) == ["put", "get"]
        for row in verbs.values():
            [cpu_ms], [encryption_ms] = row["cpu_ms"], row["encryption_ms"]
            assert 0 < encryption_ms < cpu_ms
            assert len(row["took_ms"]) == len(row["path_ms"]) == 2
            assert all(0 < path < took for path, took in zip(row["path_ms"], row["took_ms"], strict=True))
        assert verbs["put"]["signatures_ms"][0] > 0


@pytest.mark.process
def test_every_road_is_measured_for_sessions_and_for_the_channel_below_them() -> None:
    flags = ("--rounds", "1", "--count", "10", "--set-ups", "2", "--idle", "3", "--handshakes", "2", "--json")
    shown = json.loads(run("roads.py", *flags))

    overheads = {name: row["overhead"] for name, row in shown["roads"].items()}
    assert overheads == {
        "tcp, sessions": [19.0, 19.0],
        "tcp, channels": [2.0, 2.0],
        "ws, sessions": [25.0, 21.0],
        "ws, channels": [8.0, 4.0],
        "wss, sessions": [47.0, 43.0],
        "wss, channels": [30.0, 26.0],
        "nginx, sessions": [47.0, 43.0],
        "nginx, channels": [30.0, 26.0],
    }
    for row in shown["roads"].values():
        assert len(row["took_us"]) == 10
        assert min(row["took_us"]) > 0
        assert all(min(*row["cpu_us"][side], *row["cpu_ms_mb"][side]) > 0 for side in ("client", "server"))
        assert row["mb_s"][0] > 0
    for name, turns in (("tcp", 2), ("ws", 3), ("wss", 4), ("nginx", 4)):
        row = shown["roads"][f"{name}, sessions"]
        assert len(row["set_up_ms"]) == 2
        assert all(round(tried) >= turns for tried in row["turns"])  # a busy machine adds to them
    assert all(shown["roads"][f"{name}, sessions"]["idle_mb"] > 0 for name in ("tcp", "ws", "wss"))
    sent = [results[0][2:] for results in shown["handshakes"].values()]
    assert sent[0] == [39 + 120, 157 + 17]
    assert sent[-1] == [32 + 64, 96]
    assert all(len(results) == 2 and min(map(min, results)) > 0 for results in shown["handshakes"].values())


@pytest.mark.process
def test_roads_and_handshakes_are_shown_beside_each_other_and_beside_their_aims() -> None:
    flags = ("--rounds", "1", "--count", "10", "--set-ups", "1", "--idle", "3", "--handshakes", "2")
    shown = run("roads.py", *flags, "--only", "tcp", "--only", "ws", "--profile")

    assert shown.count(" aim ") == 7
    assert [line.split(",")[0] for line in shown.splitlines() if ", sessions" in line] == ["tcp", "ws"]
    assert shown.count("under the profiler") == 2


@pytest.mark.process
def test_delivery_to_subscribers_is_measured_for_a_group_and_in_public() -> None:
    shown = json.loads(run("pubsub.py", *TALK, "--only", "listen", "--subscribers", "2", "--ours", "--json"))

    assert list(shown["listen"]) == ["yzdht, group", "yzdht, public"]
    for row in shown["listen"].values():
        assert (row["lost"], row["twice"], row["failed"]) == (0, 0, 0)
        figures = {name: of for name, of in row.items() if isinstance(of, list)}
        assert len(figures) == 8
        assert all(of[0] > 0 for of in figures.values())


@pytest.mark.process
def test_relaying_to_clients_is_measured_and_shown_beside_its_aim() -> None:
    shown = run("pubsub.py", *TALK, "--only", "relay", "--clients", "8")

    assert "1 to 8 clients through one node" in shown
    assert shown.count(" aim ") == 2
    assert " lost 0\n" in shown


def test_an_aim_says_by_how_much_it_is_missed() -> None:
    assert Aim("put", 5.0, 6.0, "ms").line().split() == ["put", "5.00", "ms", "aim", "6:", "met"]
    assert Aim("put", 7.5, 6.0, "ms").line().endswith("aim 6: missed by 1.50 ms")


def test_a_percentile_is_the_value_that_this_share_is_not_above() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert percentile([], 0.5) != percentile([], 0.5)


def test_keeping_a_message_is_measured_beside_a_record() -> None:
    lines = run("histories.py", "--count", "3", "--rounds", "1").splitlines()

    assert [line.split("  ")[0] for line in lines[1:]] == [
        "a record",
        "a message, topic not full",
        "topic full",
        "full, ever new senders",
        "held, one sender",
        "held, one sender, a gap after every other",
        "held, as many senders",
    ]
