"""Who publishes and who listens when delivery is measured: nodes of yzdht, its clients, and nodes of OpenDHT, in forked processes.

A message carries its number and when it was published, by the clock that all processes of a machine share; how long it took is
read where the application has it.
"""

from __future__ import annotations

import asyncio
import os
import struct
import tempfile
import time
from collections import Counter
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.kit.contenders import HOST
from yzdht import Client, Identity, Node
from yzdht.errors import YzError
from yzdht.limits import SESSIONS_MAX, SUBSCRIPTION_MESSAGES_MAX
from yzdht.wire.group_state import Member, Role


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yzdht.pubsub.events import Heard
    from yzdht.subscription import Subscription


MESSAGE_BYTES = 1024
TOPIC = "measured"
GROUP = "measured"
_HEAD = struct.Struct(">IQ")
_PADDING = os.urandom(MESSAGE_BYTES - _HEAD.size)


def _message(number: int) -> bytes:
    return _HEAD.pack(number, time.monotonic_ns()) + _PADDING


class _Heard:
    """What came, and how late."""

    def __init__(self) -> None:
        self.took_ms: list[float] = []
        self.times: Counter[int] = Counter()
        self.last_ns = 0

    def take(self, data: bytes) -> None:
        self.last_ns = time.monotonic_ns()
        number, published_ns = _HEAD.unpack_from(data)
        self.times[number] += 1
        self.took_ms.append((self.last_ns - published_ns) / 1e6)

    def hand_over(self) -> dict[str, object]:
        """Milliseconds of each, how often each of the different ones came, and when the last one did; begins anew."""
        told = {"took_ms": self.took_ms, "times": list(self.times.values()), "last_ns": self.last_ns}
        self.__init__()  # type: ignore[misc]
        return told


async def _publish(
    publish: Callable[[bytes], Any], count: int, at_once: int, every_s: float
) -> dict[str, object]:
    """Publish messages, so many on their way at once; the next no sooner than that."""
    room, failed, began_ns = asyncio.Semaphore(at_once), 0, time.monotonic_ns()

    async def one(number: int) -> None:
        nonlocal failed
        try:
            failed += not await publish(_message(number))
        finally:
            room.release()

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await room.acquire()
            group.create_task(one(number))
            if every_s:
                await asyncio.sleep(every_s)
    return {"began_ns": began_ns, "failed": failed}


class Ours:
    """One node of yzdht, on disk as any other, and clients of it or of another one."""

    def __init__(self, group: str | None, folder: str) -> None:
        self._group = group
        self._folder = tempfile.mkdtemp(dir=folder)
        self._person = Identity.generate()
        self._node: Node
        self._clients: list[Client] = []
        self._subscriptions: list[Subscription[Heard]] = []
        self._reading: list[asyncio.Task[None]] = []
        self._heard = _Heard()

    async def do(self, what: str, **more: Any) -> object:  # noqa: ANN401 - decoded from JSON
        return await getattr(self, what)(**more)

    async def start(self, bootstrap: list[str]) -> str:
        self._node = Node(
            0,
            host=HOST,
            bootstrap=bootstrap,
            data=f"{self._folder}/node",
            home=f"{self._folder}/home",
            identity=self._person,
            allow_private=True,
            max_sessions=SESSIONS_MAX,
        )
        await self._node.start()
        return f"tcp://{HOST}:{self._node.port}"

    async def settle(self, network: int) -> None:
        while len(self._node.engine.table) < network - 1:  # noqa: ASYNC110 - a table tells nobody
            await asyncio.sleep(0.1)

    async def member(self) -> list[str]:
        return [self._person.public_key.hex(), self._person.kem[0].key.public_key.hex()]

    async def found(self, members: list[list[str]]) -> str:
        """Make a group; its key."""
        info = await self._node.groups.create(GROUP)
        for key, kem in members:
            member = Member(bytes.fromhex(key), bytes.fromhex(kem), Role.MEMBER)  # type: ignore[arg-type]
            await self._node.groups.add(GROUP, member)
        return info.group_key.hex()

    async def adopt(self, key: str) -> None:
        await self._node.groups.adopt(GROUP, bytes.fromhex(key))  # type: ignore[arg-type]

    async def listen(self) -> None:
        await self._subscribe(self._node)

    async def connect(self, urls: Sequence[str], count: int) -> None:
        """Have so many clients listen, each by itself."""
        for _ in range(count):
            client = await Client.connect(*urls).__aenter__()
            self._clients.append(client)
            await self._subscribe(client)

    async def _subscribe(self, at: Node | Client) -> None:
        subscription = at.subscribe(TOPIC, group=self._group, size=SUBSCRIPTION_MESSAGES_MAX)
        await subscription.__aenter__()
        self._subscriptions.append(subscription)
        self._reading.append(asyncio.create_task(self._read(subscription)))

    async def _read(self, subscription: Subscription[Heard]) -> None:
        async for message in subscription:
            self._heard.take(message.data)  # type: ignore[union-attr]

    async def publish(self, count: int, at_once: int, every_s: float) -> object:
        async def publish(data: bytes) -> bool:
            try:
                await self._node.publish(TOPIC, data, group=self._group)
            except YzError:
                return False
            return True

        return await _publish(publish, count, at_once, every_s)

    async def came(self) -> int:
        return len(self._heard.took_ms)

    async def heard(self) -> object:
        return self._heard.hand_over()


class Theirs:
    """One node of OpenDHT: values in plaintext, in memory, without its rate limit."""

    def __init__(self, _folder: str) -> None:
        self._opendht: Any = import_module("opendht")  # of Linux alone; `--ours` leaves it out
        self._node = self._opendht.DhtRunner()
        self._key = self._opendht.InfoHash.get(TOPIC)
        self._heard = _Heard()

    async def do(self, what: str, **more: Any) -> object:  # noqa: ANN401 - decoded from JSON
        return await getattr(self, what)(**more)

    async def start(self, bootstrap: list[str]) -> str:
        config = self._opendht.DhtConfig()
        config.setRateLimit(-1, -1)
        self._node.run(port=0, config=config)
        for port in bootstrap:
            self._node.bootstrap(HOST, str(port))
        return str(self._node.getBound().getPort())

    async def settle(self, network: int) -> None:
        """Nothing says how many nodes it knows."""
        await asyncio.sleep(3.0)

    async def listen(self) -> None:
        def came(value: Any, is_expired: bool) -> bool:  # noqa: ANN401, FBT001 - of an untyped package
            if not is_expired:
                self._heard.take(value.data)
            return True

        self._token = self._node.listen(self._key, came)
        await asyncio.sleep(1.0)

    async def publish(self, count: int, at_once: int, every_s: float) -> object:
        loop = asyncio.get_running_loop()

        def publish(data: bytes) -> asyncio.Future[bool]:
            done: asyncio.Future[bool] = loop.create_future()
            self._node.put(
                self._key,
                self._opendht.Value(data),
                lambda ok, _nodes: loop.call_soon_threadsafe(done.set_result, ok),
            )
            return done

        return await _publish(publish, count, at_once, every_s)

    async def came(self) -> int:
        return len(self._heard.took_ms)

    async def heard(self) -> object:
        return self._heard.hand_over()
