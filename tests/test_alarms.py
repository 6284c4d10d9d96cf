from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.transport.authority import Authority
from yzdht import Tls
from yzdht.alarms import CertificateAlarm, ClockAlarm, DiskAlarm
from yzdht.certificates import TlsMeans
from yzdht.errors import StoreError
from yzdht.limits import (
    CERTIFICATE_ENDS_SOON_S,
    CLOCK_BELIEVED_AFTER_S,
    CLOCK_SKEW_S,
    DAY_S,
    DISK_UNREADABLE_S,
    SWEEP_DOUBT_S,
)
from yzdht.ports import Now
from yzdht.telemetry import Telemetry
from yzdht.wire.rpc import Method, Status


if TYPE_CHECKING:
    from pathlib import Path


WALL = 1_000_000_000.0
FULL = StoreError("the disk is full", hint="free some space")
DAMAGED = StoreError("it is damaged", hint="restore it")


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def at(mono: float, ahead_s: float = 0.0) -> Now:
    """So long after the start, by a clock that is ahead by so much."""
    return Now(mono, WALL + mono + ahead_s)


def told(telemetry: Telemetry) -> list[str]:
    return [error.what for error in telemetry.errors()]


def test_a_disk_that_refuses_is_in_trouble_until_it_takes_something(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    disk = DiskAlarm(telemetry)
    disk.wrote(None, WALL)
    assert disk.trouble(0) is None

    disk.wrote(FULL, WALL)
    disk.wrote(StoreError("the disk is full"), WALL)
    assert [disk.is_refusing, str(disk.trouble(1e9))] == [True, "the disk is full"]
    disk.wrote(None, WALL)

    assert [disk.is_refusing, disk.trouble(0)] == [False, None]
    assert told(telemetry) == ["the disk refused records: the disk is full"]
    assert [record.getMessage() for record in caplog.records] == [
        "disk refuses records reason=the disk is full hint=free some space",
        "disk takes records again",
    ]


def test_what_cannot_be_read_is_trouble_for_a_while(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    disk = DiskAlarm(telemetry)

    disk.could_not_read(DAMAGED, at(10))
    disk.could_not_read(DAMAGED, at(20))

    assert not disk.is_refusing
    assert disk.trouble(20 + DISK_UNREADABLE_S - 1) is DAMAGED
    assert disk.trouble(20 + DISK_UNREADABLE_S) is None
    assert [(error.what, error.hint, error.times) for error in telemetry.errors()] == [
        ("records cannot be read: it is damaged", "restore it", 2)
    ]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("ahead_s", "direction"), [(DAY_S, "forward"), (-DAY_S, "back")])
def test_a_clock_that_is_set_is_noticed_once(telemetry: Telemetry, ahead_s: float, direction: str) -> None:
    clock = ClockAlarm(telemetry, at(0))

    assert not clock.has_jumped(at(100, CLOCK_SKEW_S))
    assert clock.has_jumped(at(200, CLOCK_SKEW_S + ahead_s))
    assert not clock.has_jumped(at(300, CLOCK_SKEW_S + ahead_s))

    assert told(telemetry) == [f"this machine's clock jumped {direction}"]


def test_a_clock_decides_on_deleting_once_it_ran_for_a_day(telemetry: Telemetry) -> None:
    clock = ClockAlarm(telemetry, at(0))
    day = CLOCK_BELIEVED_AFTER_S

    assert clock.sweep_before(at(day - 1)) == at(day - 1).wall - SWEEP_DOUBT_S
    assert clock.sweep_before(at(day)) == at(day).wall


def test_a_clock_that_jumped_decides_nothing_for_a_day_even_before_that_was_noticed(
    telemetry: Telemetry,
) -> None:
    clock = ClockAlarm(telemetry, at(0))
    jumped_at = CLOCK_BELIEVED_AFTER_S + 10

    ahead = at(jumped_at, DAY_S)
    assert clock.sweep_before(ahead) == ahead.wall - SWEEP_DOUBT_S
    assert clock.has_jumped(ahead)
    assert clock.sweep_before(ahead) == ahead.wall - SWEEP_DOUBT_S
    believed = at(jumped_at + CLOCK_BELIEVED_AFTER_S, DAY_S)
    assert clock.sweep_before(believed) == believed.wall


def test_a_clock_that_others_dispute_decides_nothing_until_they_agree(telemetry: Telemetry) -> None:
    clock = ClockAlarm(telemetry, at(0))
    now = at(2 * CLOCK_BELIEVED_AFTER_S)

    clock.refused(int(now.wall) - CLOCK_SKEW_S, now)
    assert clock.sweep_before(now) == now.wall
    clock.refused(int(now.wall) - DAY_S, now)
    clock.refused(int(now.wall) + DAY_S, now)
    assert clock.sweep_before(now) == now.wall - SWEEP_DOUBT_S
    clock.accepted()
    assert clock.sweep_before(now) == now.wall
    assert told(telemetry) == [
        "this machine's clock is behind those of others",
        "this machine's clock is ahead of those of others",
    ]


def test_where_most_of_what_others_bring_is_of_another_time_one_of_both_is_wrong(
    telemetry: Telemetry,
) -> None:
    clock = ClockAlarm(telemetry, at(0))

    def serve(refused: int, taken: int) -> None:
        for _ in range(refused):
            telemetry.served(Method.STORE, Status.BAD_LIFETIME)
        for _ in range(taken):
            telemetry.served(Method.STORE, Status.OK)
        clock.look_at_refusals(WALL)

    serve(refused=2, taken=0)
    serve(refused=3, taken=100)
    serve(refused=2, taken=0)
    assert told(telemetry) == []
    serve(refused=1, taken=0)
    assert told(telemetry) == ["records that others bring are of another time than this machine's"]


# Certificates


class Hand:
    """A clock that a test sets."""

    def __init__(self, wall: float) -> None:
        self.wall = wall

    def now(self) -> Now:
        return Now(self.wall - WALL, self.wall)


def test_a_certificate_is_warned_of_two_weeks_before_its_end_every_day_and_after_it(
    telemetry: Telemetry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    pair = authority.sign("node", days=(-1, 30))
    clock = Hand(time.time())  # noqa: TID251 - certificates are made by this machine's clock
    tls = TlsMeans(Tls(*pair), clock.wall)
    ends = tls.not_after
    assert ends is not None

    alarm = CertificateAlarm(tls, telemetry, clock)
    clock.wall = ends - CERTIFICATE_ENDS_SOON_S - 1
    alarm.look()
    assert caplog.messages == []
    clock.wall = ends - CERTIFICATE_ENDS_SOON_S + 1
    for _ in range(3):
        alarm.look()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("certificate ends soon day=20")
    for _ in range(13):
        clock.wall += DAY_S
        alarm.look()
    assert len(caplog.messages) == 14
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 14
    clock.wall = ends
    alarm.look()
    assert caplog.records[-1].levelname == "ERROR"
    assert "has ended" in caplog.messages[-1]
    assert len(told(telemetry)) == 2, "one text for each kind"

    authority.sign("node", days=(-1, 90))
    tls.reload(clock.wall)
    alarm.look()
    assert len(caplog.messages) == 15


def test_a_slow_key_is_warned_of_once_and_again_after_another(
    telemetry: Telemetry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    wall = time.time()  # noqa: TID251 - certificates are made by this machine's clock
    tls = TlsMeans(Tls(*authority.sign("node", rsa_bits=2_560)), wall)
    alarm = CertificateAlarm(tls, telemetry, Hand(wall))

    for rsa_bits in (2_560, 0, 2_560):
        authority.sign("node", rsa_bits=rsa_bits)
        tls.reload(wall)
        alarm.look()
        alarm.look()

    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert caplog.messages[0].startswith("certificate is slow reason=its RSA key of 2560 bits")
    assert len(told(telemetry)) == 1


def test_without_a_certificate_nobody_is_warned(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    CertificateAlarm(TlsMeans(Tls(), WALL), telemetry, Hand(WALL)).look()

    assert caplog.messages == []
