from __future__ import annotations

import pytest

from yzdht.kad.quorum import Quorum, quorum_of


@pytest.mark.parametrize(
    ("candidates", "n", "write", "read"),
    [
        (0, 0, 1, 1),
        (1, 1, 1, 1),
        (2, 2, 2, 1),
        (3, 3, 2, 2),
        (4, 4, 3, 2),
        (5, 5, 3, 3),
        (6, 6, 4, 3),
        (7, 7, 4, 4),
        (8, 8, 5, 4),
        (9, 8, 5, 4),
        (256, 8, 5, 4),
    ],
)
def test_quorum_sizes(candidates: int, n: int, write: int, read: int) -> None:
    assert quorum_of(candidates) == Quorum(n, write, read)


@pytest.mark.parametrize("candidates", range(1, 20))
def test_a_write_and_a_read_share_a_node_and_so_do_two_writes(candidates: int) -> None:
    n, write, read = quorum_of(candidates)

    assert write + read > n
    assert 2 * write > n
