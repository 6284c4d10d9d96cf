from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.store.shelf import Shelf
from tests.store.topic_shelf import TopicShelf


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from yzdht.store.history_policy import HistoryQuotas
    from yzdht.store.policy import Quotas

    OpenShelf = Callable[..., Shelf]
    OpenTopics = Callable[..., TopicShelf]


@pytest.fixture
async def open_sqlite(tmp_path: Path) -> AsyncIterator[OpenShelf]:
    """Opens the store on disk, again and again in one folder; closes what was opened."""
    shelves: list[Shelf] = []

    def open_one(quotas: Quotas | None = None) -> Shelf:
        shelves.append(Shelf("sqlite", tmp_path, quotas))
        return shelves[-1]

    yield open_one
    for shelf in shelves:
        await shelf.store.close()


@pytest.fixture(params=["memory", "sqlite"])
async def open_shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenShelf]:
    """Opens each kind of store."""
    shelves: list[Shelf] = []

    def open_one(quotas: Quotas | None = None) -> Shelf:
        shelves.append(Shelf(request.param, tmp_path, quotas))
        return shelves[-1]

    yield open_one
    for shelf in shelves:
        await shelf.store.close()


@pytest.fixture(params=["memory", "sqlite"])
async def open_topics(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenTopics]:
    """Opens each kind of store of topics."""
    shelves: list[TopicShelf] = []

    def open_one(quotas: HistoryQuotas | None = None) -> TopicShelf:
        shelves.append(TopicShelf(request.param, tmp_path, quotas))
        return shelves[-1]

    yield open_one
    for shelf in shelves:
        await shelf.close()


@pytest.fixture
async def open_sqlite_topics(tmp_path: Path) -> AsyncIterator[OpenTopics]:
    """Opens the one on disk, again and again in one folder."""
    shelves: list[TopicShelf] = []

    def open_one(quotas: HistoryQuotas | None = None) -> TopicShelf:
        shelves.append(TopicShelf("sqlite", tmp_path, quotas))
        return shelves[-1]

    yield open_one
    for shelf in shelves:
        await shelf.close()
