from __future__ import annotations

from typing import TYPE_CHECKING

from yzdht.store.entropy import SystemRng


if TYPE_CHECKING:
    from yzdht.ports import Rng


def test_tokens_have_the_size_asked_for_and_differ() -> None:
    rng: Rng = SystemRng()

    assert [len(rng.token(size)) for size in (0, 1, 32)] == [0, 1, 32]
    assert rng.token(16) != rng.token(16)


def test_uniform_stays_in_its_range() -> None:
    rng = SystemRng()

    assert all(2.0 <= rng.uniform(2.0, 2.5) <= 2.5 for _ in range(200))
    assert rng.uniform(3.0, 3.0) == 3.0
