"""The programs of examples/: they run as their first lines say, against real nodes, and are short enough to read at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from yzdht.client import Client
from yzdht.node import Node
from yzdht.pubsub.events import Message


if TYPE_CHECKING:
    from asyncio.subprocess import Process


ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LINES_MAX = 40
PATIENCE_S = 60


async def started(name: str, *words: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(ROOT / "examples" / name), *words,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        return (await process.stdout.readline()).decode().rstrip()


async def ended(process: Process) -> None:
    process.terminate()
    await process.communicate()


def url_of(node: Node) -> str:
    return f"ws://127.0.0.1:{node.port}"


def test_they_are_short_enough_to_read_at_once() -> None:
    assert len(EXAMPLES) == 3
    assert [path.name for path in EXAMPLES if len(path.read_text().splitlines()) >= LINES_MAX] == []


@pytest.mark.net
@pytest.mark.process
async def test_a_subscriber_shows_what_a_publisher_sends_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    cursor = tmp_path / "news.cursor"
    async with Node(0, host="127.0.0.1", allow_private=True) as node:
        url = url_of(node)
        publisher = await started("publisher.py", url, "news", "2")
        said, _ = await asyncio.wait_for(publisher.communicate(), PATIENCE_S)
        assert said.decode().splitlines() == ["0: stored by 1 of 1 hosts", "1: stored by 1 of 1 hosts"]

        first = await started("subscriber.py", url, "news", str(cursor))
        assert [await line_of(first), await line_of(first)] == ["news number 0", "news number 1"]
        async with Client.connect(url) as dht:
            await dht.publish("news", b"and more")
            assert await line_of(first) == "and more"
            await ended(first)
            await dht.publish("news", b"while it was away")

        second = await started("subscriber.py", url, "news", str(cursor))
        shown = [await line_of(second)]
        if shown == ["and more"]:  # it was ended between that and its cursor
            shown = [await line_of(second)]
        assert shown == ["while it was away"]
        await ended(second)


@pytest.mark.net
@pytest.mark.process
async def test_a_bot_answers_in_its_group(tmp_path: Path) -> None:
    home = tmp_path / "bot"
    async with Node(0, host="127.0.0.1", allow_private=True) as node, Client.connect(url_of(node)) as anna:
        async with Client.connect(url_of(node), home=home) as dht:
            await dht.store("hello", b"")  # publishes its keys
            key = dht.identity.public_key
        group = await anna.groups.create("team")
        await anna.groups.add("team", key)
        async with Client.connect(url_of(node), home=home) as dht:
            await dht.groups.adopt("team", group.group_key)

        bot = await started("chat_bot.py", url_of(node), str(home), "team")
        assert await line_of(bot) == "listening"
        async with anna.subscribe("chat", group="team") as messages:
            await anna.publish("chat", b"hello", group="team")
            await anna.publish("chat", b"What time is it?", group="team")
            async with asyncio.timeout(PATIENCE_S):
                answer = [await anext(messages) for _ in range(3)][-1]
        assert isinstance(answer, Message)
        assert answer.series.sender == key
        assert answer.data.startswith(b"it is ")
        await ended(bot)
