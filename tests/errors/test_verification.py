"""What errors of the peer's carry beside their words."""

from __future__ import annotations

from yzdht.errors import GroupForked, PersonMoved


def test_a_fork_names_its_epoch_and_both_records() -> None:
    error = GroupForked(3, b"\x01" * 32, b"\x02" * 32)

    assert (error.epoch, error.known, error.other) == (3, b"\x01" * 32, b"\x02" * 32)
    assert str(error) == f"epoch 3 of the group has two states: {'01' * 32} and {'02' * 32}"


def test_somebody_who_moved_is_told_with_the_key_that_takes_over() -> None:
    error = PersonMoved("anna goes on under another key", b"\x02" * 33)

    assert error.successor == b"\x02" * 33
    assert error.hint == PersonMoved.default_hint
    assert PersonMoved("moved", b"", hint="ask them").hint == "ask them"
