from __future__ import annotations

import dataclasses

import pytest

from tests.process.vitals import History, Vitals, request_of, row, shown, smaps


NOTHING = Vitals(*([0] * 12))


def history(values: list[int], measure: str = "rss") -> History:
    made = History("n")
    for minute, value in enumerate(values):
        made.looks.append(dataclasses.replace(NOTHING, at_s=60.0 * minute, **{measure: value}))
    return made


def test_growth_is_told_from_medians_of_the_last_and_the_second_quarter() -> None:
    flat = history([900, 50, 40, 70, 70, 70, 70, 999, 70, 71, 70, 71])
    assert flat.quarters("rss") == [50, 70, 70, 71]
    assert flat.growth("rss") == 1


def test_a_leak_has_a_slope_and_one_outlier_has_none() -> None:
    assert history(list(range(0, 600, 10))).slope_per_h("rss") == pytest.approx(600)
    assert history([5] * 50 + [5_000] + [5] * 9).slope_per_h("rss") == 0


def test_a_table_names_every_measure() -> None:
    lines = history([1 << 20] * 8, "pss").table()
    assert len(lines) == 12
    assert lines[2].split()[:5] == ["pss", "1.00", "1.00", "1.00", "1.00"]
    assert row(3, [NOTHING, dataclasses.replace(NOTHING, tasks=4)]).count("tasks 2.0 (4.0)") == 1


def test_the_kernels_figures_become_bytes() -> None:
    assert smaps("00-ff ---p 0 0:0 0 [rollup]\nRss:  20 kB\nPss:   3 kB\n") == {"Rss": 20_480, "Pss": 3_072}


def test_sessions_of_every_kind_are_counted_together() -> None:
    text = b'yz_tasks 7.0\nyz_sessions{kind="node"} 11.0\nyz_sessions{kind="client"} 2.0\nyz_tasksome 9\n'
    assert shown(text) == {
        "yz_tasks": 7,
        "yz_sessions": 13,
        "yz_stored_records": 0,
        "yz_record_verifications_total": 0,
    }


def test_a_request_is_one_that_every_server_takes() -> None:
    assert request_of("/metrics") == b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
